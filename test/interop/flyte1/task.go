package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	idl "github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/core"
	pluginio "github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/io"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/ioutils"
	"github.com/flyteorg/flyte/flytestdlib/storage"
)

// Task is one attempt of one node in the hands of an engine: its identity, what the engine persists of it, and the
// phases the engine saw.
type Task struct {
	engine   *Engine
	template *idl.TaskTemplate
	inputs   *idl.LiteralMap
	id       taskID
	prefix   storage.DataReference
	state    pluginState
	last     core.PhaseInfo
	seen     []string
	links    int
	failure  *pluginio.ExecutionError
}

// TaskSpec describes a task to start. Node is the raw node id that goes into the execution id; Instance the unique one
// that goes into the output prefix, as for one sub-workflow that is called twice.
type TaskSpec struct {
	Fixture  string
	Type     string
	Version  int32
	Inputs   *idl.LiteralMap
	Steer    map[string]interface{}
	Node     string
	Instance string
	Attempt  uint32
}

func (e *Engine) NewTask(execution string, spec TaskSpec) (*Task, error) {
	template, inputs, err := e.env.Fixture(spec.Fixture)
	if err != nil {
		return nil, err
	}
	if spec.Type != "" {
		template.Type = spec.Type
	}
	if spec.Version != 0 {
		template.TaskTypeVersion = spec.Version
	}
	if spec.Inputs != nil {
		inputs = spec.Inputs
	}
	if spec.Node == "" {
		spec.Node = "n0"
	}
	if spec.Instance == "" {
		spec.Instance = spec.Node
	}
	steer, err := structpb.NewStruct(spec.Steer)
	if err != nil {
		return nil, err
	}
	if template.Custom == nil {
		template.Custom = &structpb.Struct{Fields: map[string]*structpb.Value{}}
	}
	template.Custom.Fields["steer"] = structpb.NewStructValue(steer)
	name := fmt.Sprintf("%s-%s-%d", execution, spec.Instance, spec.Attempt)
	return &Task{
		engine:   e,
		template: template,
		inputs:   inputs,
		prefix:   storage.DataReference(fmt.Sprintf("file://%s/%s/%s/data/%d", e.env.dataDir, execution, spec.Instance, spec.Attempt)),
		id: taskID{name: name, unique: spec.Instance, id: &idl.TaskExecutionIdentifier{
			TaskId: template.GetId(),
			NodeExecutionId: &idl.NodeExecutionIdentifier{
				NodeId:      spec.Node,
				ExecutionId: &idl.WorkflowExecutionIdentifier{Project: "flytesnacks", Domain: "development", Name: execution},
			},
			RetryAttempt: spec.Attempt,
		}},
	}, nil
}

type inlineInputs struct {
	ioutils.SimpleInputFilePath
	inputs *idl.LiteralMap
}

func (r inlineInputs) Get(context.Context) (*idl.LiteralMap, error) { return r.inputs, nil }

func (t *Task) inputReader() pluginio.InputReader {
	paths := ioutils.NewInputFilePaths(context.Background(), t.engine.store, t.prefix)
	return inlineInputs{SimpleInputFilePath: paths, inputs: t.inputs}
}

func (t *Task) context() *taskContext {
	ctx := context.Background()
	raw := ioutils.NewRawOutputPaths(ctx, t.prefix+"/raw")
	paths := ioutils.NewCheckpointRemoteFilePaths(ctx, t.engine.store, t.prefix, raw, "")
	return &taskContext{task: t, writer: &stateWriter{}, output: ioutils.NewBufferedOutputWriter(ctx, paths)}
}

// Round is one evaluation of the node: Handle, and where it changed the state, the state is persisted. On success the
// outputs are validated and committed the way propeller does it.
func (t *Task) Round(ctx context.Context) error {
	tCtx := t.context()
	transition, err := t.engine.plugin.Handle(ctx, tCtx)
	if err != nil {
		return fmt.Errorf("system error: %w", err)
	}
	if tCtx.writer.written {
		t.state = tCtx.writer.state
	}
	t.last = transition.Info()
	if info := t.last.Info(); info != nil {
		t.links = max(t.links, len(info.Logs))
	}
	phase := t.last.Phase().String()
	if len(t.seen) == 0 || t.seen[len(t.seen)-1] != phase {
		t.seen = append(t.seen, phase)
	}
	if t.last.Phase() == core.PhaseSuccess {
		return t.commitOutputs(ctx, tCtx)
	}
	return nil
}

func (t *Task) commitOutputs(ctx context.Context, tCtx *taskContext) error {
	if len(t.template.GetInterface().GetOutputs().GetVariables()) == 0 {
		return nil
	}
	reader := tCtx.output.GetReader()
	if reader == nil {
		return fmt.Errorf("OutputsNotGenerated: the plugin gave no output reader")
	}
	failed, err := reader.IsError(ctx)
	if err != nil {
		return err
	}
	if failed {
		failure, err := reader.ReadError(ctx)
		t.failure = &failure
		return err
	}
	exists, err := reader.Exists(ctx)
	if err != nil {
		return fmt.Errorf("checking outputs: %w", err)
	}
	if !exists {
		return fmt.Errorf("OutputsNotFound: nothing lies at %s", t.prefix)
	}
	if reader.IsFile(ctx) {
		return nil
	}
	return ioutils.NewRemoteFileOutputWriter(ctx, t.engine.store, tCtx.OutputWriter()).Put(ctx, reader)
}

// Run evaluates the task until it is over, then finalizes it.
func (t *Task) Run(ctx context.Context, limit time.Duration) error {
	if err := t.RunUntil(ctx, limit, func() bool { return t.last.Phase().IsTerminal() }); err != nil {
		return err
	}
	return t.engine.plugin.Finalize(ctx, t.context())
}

// RunUntil evaluates the task until done answers true.
func (t *Task) RunUntil(ctx context.Context, limit time.Duration, done func() bool) error {
	deadline := time.Now().Add(limit)
	var last error
	for time.Now().Before(deadline) {
		if last = t.Round(ctx); last == nil && done() {
			return nil
		}
		if last == nil && t.last.Phase().IsTerminal() {
			return fmt.Errorf("ended as %s: %s", t.last.Phase(), t.Message())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(roundEvery):
		}
	}
	if last != nil {
		return fmt.Errorf("not reached in %s: %w", limit, last)
	}
	return fmt.Errorf("not reached in %s; phases seen: %s; last reason: %s", limit, strings.Join(t.seen, " "), t.last.Reason())
}

// created tells whether the service has answered a resource meta.
func (t *Task) created() bool {
	meta, err := metaOf(t.state.bytes)
	return err == nil && len(meta) > 0
}

// Abort is what the engine does when the execution is aborted or the attempt is given up.
func (t *Task) Abort(ctx context.Context) error {
	if err := t.engine.plugin.Abort(ctx, t.context()); err != nil {
		return err
	}
	return t.engine.plugin.Finalize(ctx, t.context())
}

// Outputs reads what ended up in outputs.pb.
func (t *Task) Outputs(ctx context.Context) (*idl.LiteralMap, error) {
	outputs := &idl.LiteralMap{}
	if err := t.engine.store.ReadProtobuf(ctx, t.prefix+"/outputs.pb", outputs); err != nil {
		return nil, err
	}
	return outputs, nil
}

// Expect fails unless the task ended in the phase.
func (t *Task) Expect(phase core.Phase) error {
	if t.last.Phase() != phase {
		return fmt.Errorf("expected %s, got %s (%s); phases seen: %s", phase, t.last.Phase(), t.Message(), strings.Join(t.seen, " "))
	}
	return nil
}

// Message is the error's message, else the reason.
func (t *Task) Message() string {
	if failure := t.last.Err(); failure != nil {
		return failure.GetMessage()
	}
	return t.last.Reason()
}

func sameMap(expected, got *idl.LiteralMap) error {
	if proto.Equal(expected, got) {
		return nil
	}
	for name, literal := range expected.GetLiterals() {
		if !proto.Equal(literal, got.GetLiterals()[name]) {
			return fmt.Errorf("output %q differs: expected %v, got %v", name, literal, got.GetLiterals()[name])
		}
	}
	return fmt.Errorf("expected %d outputs, got %d", len(expected.GetLiterals()), len(got.GetLiterals()))
}
