package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	idl "github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/catalog"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/core"
	pluginio "github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/io"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/ioutils"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/nodes/task/codex"
	"github.com/flyteorg/flyte/flytestdlib/storage"
)

// pluginState is what the engine keeps of a plugin between rounds: bytes made by propeller's own codec. Each round
// reads what the round before wrote.
type pluginState struct {
	version uint8
	bytes   []byte
}

type stateReader struct{ state pluginState }

func (r stateReader) GetStateVersion() uint8 { return r.state.version }

func (r stateReader) Get(into interface{}) (uint8, error) {
	if r.state.bytes == nil {
		return r.state.version, nil
	}
	return r.state.version, codex.GobStateCodec{}.Decode(bytes.NewReader(r.state.bytes), into)
}

type stateWriter struct {
	written bool
	state   pluginState
}

func (w *stateWriter) Put(version uint8, value interface{}) error {
	var buffer bytes.Buffer
	if err := (codex.GobStateCodec{}).Encode(value, &buffer); err != nil {
		return err
	}
	w.written = true
	w.state = pluginState{version: version, bytes: buffer.Bytes()}
	return nil
}

func (w *stateWriter) Reset() error {
	w.written = true
	w.state = pluginState{}
	return nil
}

// taskID is the identity of one attempt, as propeller makes it: the generated name is unique per node instance, the
// execution id carries the raw node id.
type taskID struct {
	name   string
	id     *idl.TaskExecutionIdentifier
	unique string
}

func (t taskID) GetGeneratedName() string { return t.name }
func (t taskID) GetGeneratedNameWith(minLength, maxLength int) (string, error) {
	if len(t.name) > maxLength {
		return "", fmt.Errorf("generated name %q is longer than %d", t.name, maxLength)
	}
	return t.name + strings.Repeat("0", max(0, minLength-len(t.name))), nil
}
func (t taskID) GetID() idl.TaskExecutionIdentifier { return *t.id } //nolint:govet // the interface wants a value
func (t taskID) GetUniqueNodeID() string            { return t.unique }

type overrides struct{}

func (overrides) GetResources() *v1.ResourceRequirements       { return &v1.ResourceRequirements{} }
func (overrides) GetExtendedResources() *idl.ExtendedResources { return &idl.ExtendedResources{} }
func (overrides) GetContainerImage() string                    { return "" }
func (overrides) GetPodTemplate() *idl.K8SPod                  { return nil }
func (overrides) GetConfig() *v1.ConfigMap                     { return &v1.ConfigMap{} }

type metadata struct{ id taskID }

func (m metadata) GetOwnerID() types.NamespacedName {
	return types.NamespacedName{Namespace: "flytesnacks-development", Name: m.id.id.GetNodeExecutionId().GetExecutionId().GetName()}
}
func (m metadata) GetTaskExecutionID() core.TaskExecutionID { return m.id }
func (metadata) GetNamespace() string                       { return "flytesnacks-development" }
func (metadata) GetOwnerReference() metav1.OwnerReference   { return metav1.OwnerReference{} }
func (metadata) GetOverrides() core.TaskOverrides           { return overrides{} }
func (metadata) GetLabels() map[string]string               { return map[string]string{"team": "interop"} }
func (metadata) GetMaxAttempts() uint32                     { return 1 }
func (metadata) GetAnnotations() map[string]string          { return map[string]string{} }
func (metadata) GetK8sServiceAccount() string               { return "default" }
func (metadata) GetSecurityContext() idl.SecurityContext {
	return idl.SecurityContext{RunAs: &idl.Identity{ExecutionIdentity: "interop"}}
}
func (metadata) IsInterruptible() bool                          { return false }
func (metadata) GetPlatformResources() *v1.ResourceRequirements { return &v1.ResourceRequirements{} }
func (metadata) GetInterruptibleFailureThreshold() int32        { return 0 }
func (metadata) GetEnvironmentVariables() map[string]string     { return map[string]string{"INTEROP": "1"} }
func (metadata) GetConsoleURL() string                          { return "" }

type templateReader struct{ template *idl.TaskTemplate }

func (r templateReader) Path(context.Context) (storage.DataReference, error) {
	return "", fmt.Errorf("no plugin under test asks for the template's path")
}
func (r templateReader) Read(context.Context) (*idl.TaskTemplate, error) { return r.template, nil }

// grantAll is the engine's resource manager when it is configured as "noop", its default.
type grantAll struct{}

func (grantAll) GetID() string { return "noop" }
func (grantAll) AllocateResource(context.Context, core.ResourceNamespace, string, core.ResourceConstraintsSpec) (core.AllocationStatus, error) {
	return core.AllocationStatusGranted, nil
}
func (grantAll) ReleaseResource(context.Context, core.ResourceNamespace, string) error { return nil }

type noSecrets struct{}

func (noSecrets) Get(_ context.Context, key string) (string, error) {
	return "", fmt.Errorf("no secret %s", key)
}

type dropEvents struct{}

func (dropEvents) RecordRaw(context.Context, core.PhaseInfo) error { return nil }

// taskContext is one round's view of one task. A new one is made for every round, as propeller does.
type taskContext struct {
	task   *Task
	writer *stateWriter
	output *ioutils.BufferedOutputWriter
}

func (c *taskContext) ResourceManager() core.ResourceManager             { return grantAll{} }
func (c *taskContext) SecretManager() core.SecretManager                 { return noSecrets{} }
func (c *taskContext) TaskRefreshIndicator() core.SignalAsync            { return func(context.Context) {} }
func (c *taskContext) DataStore() *storage.DataStore                     { return c.task.engine.store }
func (c *taskContext) PluginStateReader() core.PluginStateReader         { return stateReader{c.task.state} }
func (c *taskContext) TaskReader() core.TaskReader                       { return templateReader{c.task.template} }
func (c *taskContext) InputReader() pluginio.InputReader                 { return c.task.inputReader() }
func (c *taskContext) TaskExecutionMetadata() core.TaskExecutionMetadata { return metadata{c.task.id} }
func (c *taskContext) OutputWriter() pluginio.OutputWriter               { return c.output }
func (c *taskContext) PluginStateWriter() core.PluginStateWriter         { return c.writer }
func (c *taskContext) Catalog() catalog.AsyncClient                      { return nil }
func (c *taskContext) EventsRecorder() core.EventsRecorder               { return dropEvents{} }
