package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	idl "github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/core"
)

func dataCases() []Case {
	return []Case{
		{Name: "every-literal-kind", Run: echoed("kinds")},
		{Name: "map-of-literals", Run: echoed("map")},
		{Name: "sdk-container", Run: sdkContainer},
		{Name: "sdk-raw-container", Run: sdkRawContainer},
		{Name: "sdk-sql", Run: sdkSQL},
		{Name: "outputs-file-based", Run: fileBased},
		{Name: "outputs-missing", Run: outputsMissing},
		{Name: "outputs-3.9-MiB", Run: largeOutputs(39 * 1024 * 1024 / 10)},
		{Name: "outputs-5-MiB", Run: largeOutputs(5 * 1024 * 1024)},
		{Name: "inputs-6-MiB", Run: largeInputs},
	}
}

func echoed(fixture string) func(context.Context, *Env, string) (string, error) {
	return func(ctx context.Context, e *Env, name string) (string, error) {
		task, err := e.runOne(ctx, name, TaskSpec{Fixture: fixture, Steer: steer{"label": name, "outputs": "echo"}}, time.Minute)
		if err != nil {
			return "", err
		}
		if err := task.Expect(core.PhaseSuccess); err != nil {
			return "", err
		}
		outputs, err := task.Outputs(ctx)
		if err != nil {
			return "", err
		}
		return fmt.Sprintf("%d outputs equal to the inputs", len(outputs.GetLiterals())), sameMap(task.inputs, outputs)
	}
}

func (e *Env) runSeen(ctx context.Context, name string, spec TaskSpec) (*Task, Job, error) {
	task, err := e.runOne(ctx, name, spec, time.Minute)
	if err != nil {
		return nil, Job{}, err
	}
	if err := task.Expect(core.PhaseSuccess); err != nil {
		return nil, Job{}, err
	}
	jobs, err := e.control.ExpectJobs(name, 1)
	if err != nil {
		return nil, Job{}, err
	}
	return task, jobs[0], nil
}

// sdkContainer checks that the arguments arrive as the engine rendered them, and are not rendered again.
func sdkContainer(ctx context.Context, e *Env, name string) (string, error) {
	task, job, err := e.runSeen(ctx, name, TaskSpec{Fixture: "container", Steer: steer{"label": name, "outputs": "file"}})
	if err != nil {
		return "", err
	}
	args := strings.Join(job.Seen.Args, " ")
	if strings.Contains(args, "{{") || !strings.Contains(args, string(task.prefix)) {
		return "", fmt.Errorf("the container's arguments are not rendered: %s", args)
	}
	return job.Seen.Image, nil
}

func sdkRawContainer(ctx context.Context, e *Env, name string) (string, error) {
	_, job, err := e.runSeen(ctx, name, TaskSpec{Fixture: "raw-container", Steer: steer{"label": name, "outputs": "file"}})
	if err == nil && job.Seen.Image != "docker.io/library/busybox:1" {
		err = fmt.Errorf("the plugin saw image %q", job.Seen.Image)
	}
	return strings.Join(job.Seen.Command, " "), err
}

func sdkSQL(ctx context.Context, e *Env, name string) (string, error) {
	_, job, err := e.runSeen(ctx, name, TaskSpec{Fixture: "sql", Steer: steer{"label": name}})
	if err == nil && !strings.Contains(job.Seen.Statement, "select * from t") {
		err = fmt.Errorf("the plugin saw statement %q", job.Seen.Statement)
	}
	return job.Seen.Statement, err
}

// fileBased has the job leave outputs.pb at the prefix; the answer's outputs must be unset, or the engine overwrites it.
func fileBased(ctx context.Context, e *Env, name string) (string, error) {
	task, job, err := e.runSeen(ctx, name, TaskSpec{Fixture: "text", Steer: steer{"label": name, "outputs": "file"}})
	if err != nil {
		return "", err
	}
	outputs, err := task.Outputs(ctx)
	if err == nil && textOf(outputs) != "written by "+job.ID {
		err = fmt.Errorf("outputs.pb holds %v", outputs)
	}
	return "the file the job wrote is untouched", err
}

// outputsMissing has the plugin leave out a declared output.
func outputsMissing(ctx context.Context, e *Env, name string) (string, error) {
	task, err := e.runOne(ctx, name, TaskSpec{Fixture: "text", Steer: steer{"label": name, "outputs": "missing"}}, time.Minute)
	if err != nil {
		return "", err
	}
	if !task.last.Phase().IsFailure() || !strings.Contains(task.Message(), "text") {
		return "", fmt.Errorf("expected a failure that names the missing output, got %s: %s", task.last.Phase(), task.Message())
	}
	return task.Message(), nil
}

func largeOutputs(size int) func(context.Context, *Env, string) (string, error) {
	return func(ctx context.Context, e *Env, name string) (string, error) {
		task, _, err := e.runSeen(ctx, name, TaskSpec{Fixture: "text", Steer: steer{"label": name, "outputs": "bytes", "bytes": size}})
		if err != nil {
			return "", err
		}
		outputs, err := task.Outputs(ctx)
		if err == nil && len(textOf(outputs)) != size {
			err = fmt.Errorf("expected %d characters, got %d", size, len(textOf(outputs)))
		}
		return fmt.Sprintf("%d bytes", size), err
	}
}

func largeInputs(ctx context.Context, e *Env, name string) (string, error) {
	text := &idl.Primitive{Value: &idl.Primitive_StringValue{StringValue: strings.Repeat("y", 6*1024*1024)}}
	inputs := &idl.LiteralMap{Literals: map[string]*idl.Literal{"a": {Value: &idl.Literal_Scalar{
		Scalar: &idl.Scalar{Value: &idl.Scalar_Primitive{Primitive: text}},
	}}}}
	_, job, err := e.runSeen(ctx, name, TaskSpec{Fixture: "text", Inputs: inputs, Steer: steer{"label": name, "outputs": "file"}})
	if err == nil && job.Seen.InputBytes != proto.Size(inputs) {
		err = fmt.Errorf("the plugin saw %d bytes of inputs, expected %d", job.Seen.InputBytes, proto.Size(inputs))
	}
	return fmt.Sprintf("%d bytes", job.Seen.InputBytes), err
}
