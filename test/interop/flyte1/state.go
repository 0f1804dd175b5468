package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/flyteorg/flyte/flyteplugins/go/tasks/plugins/webapi/agent"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/plugins/webapi/connector"
	"github.com/flyteorg/flyte/flytepropeller/pkg/controller/nodes/task/codex"
)

// metaOf takes the service's resource meta out of a persisted plugin state.
func metaOf(state []byte) ([]byte, error) {
	var persisted struct{ ResourceMeta interface{} }
	if err := (codex.GobStateCodec{}).Decode(bytes.NewReader(state), &persisted); err != nil {
		return nil, err
	}
	switch meta := persisted.ResourceMeta.(type) {
	case agent.ResourceMetaWrapper:
		return meta.AgentResourceMeta, nil
	case connector.ResourceMetaWrapper:
		return meta.ConnectorResourceMeta, nil
	}
	return nil, fmt.Errorf("the state holds a %T, expected a resource meta", persisted.ResourceMeta)
}

// runAll evaluates many tasks side by side, as the engine's workers do, until all are over.
func runAll(ctx context.Context, tasks []*Task, workers int, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	for open := tasks; len(open) > 0; {
		if time.Now().After(deadline) {
			return fmt.Errorf("%d of %d tasks are not over after %s; one of them saw %v", len(open), len(tasks), limit, open[0].seen)
		}
		rounds := make(chan *Task)
		failed := make(chan error, len(open))
		done := make(chan struct{})
		for range workers {
			go func() {
				for task := range rounds {
					if err := task.Round(ctx); err != nil {
						failed <- err
					}
				}
				done <- struct{}{}
			}()
		}
		for _, task := range open {
			rounds <- task
		}
		close(rounds)
		for range workers {
			<-done
		}
		if len(failed) > 0 {
			return <-failed
		}
		var left []*Task
		for _, task := range open {
			if !task.last.Phase().IsTerminal() {
				left = append(left, task)
			}
		}
		open = left
		time.Sleep(roundEvery)
	}
	return nil
}
