package main

import (
	"bytes"
	"context"
	"fmt"
	"time"

	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/core"
)

func identityCases() []Case {
	return []Case{
		{Name: "sub-workflow-twice", Run: subWorkflowTwice},
		{Name: "retry-attempts", Run: retryAttempts},
		{Name: "same-attempt-twice", Run: sameAttemptTwice},
		{Name: "same-attempt-after-delete", Run: sameAttemptAfterDelete},
		{Name: "engine-restarted", Run: engineRestarted},
	}
}

// subWorkflowTwice has one sub-workflow called twice: equal execution ids (raw node id n0), different output prefixes.
func subWorkflowTwice(ctx context.Context, e *Env, name string) (string, error) {
	var tasks []*Task
	for _, instance := range []string{"n1-n0", "n2-n0"} {
		task, err := e.engine.NewTask(name, TaskSpec{Fixture: "text", Node: "n0", Instance: instance, Steer: steer{"label": name, "outputs": "file"}})
		if err != nil {
			return "", err
		}
		tasks = append(tasks, task)
	}
	texts := map[string]bool{}
	for _, task := range tasks {
		if err := task.Run(ctx, time.Minute); err != nil {
			return "", err
		}
		if err := task.Expect(core.PhaseSuccess); err != nil {
			return "", err
		}
		outputs, err := task.Outputs(ctx)
		if err != nil {
			return "", err
		}
		texts[textOf(outputs)] = true
	}
	if _, err := e.control.ExpectJobs(name, 2); err != nil {
		return "", err
	}
	if len(texts) != 2 {
		return "", fmt.Errorf("both calls got the same outputs: %v", texts)
	}
	return "two jobs, each with its own outputs", nil
}

// retryAttempts does what the engine does with a retryable failure: delete, then the next attempt under a new prefix.
func retryAttempts(ctx context.Context, e *Env, name string) (string, error) {
	for attempt, outcome := range []string{"retryable", "retryable", "success"} {
		spec := TaskSpec{Fixture: "job", Attempt: uint32(attempt), Steer: steer{"label": name, "outcome": outcome}}
		task, err := e.runOne(ctx, name, spec, time.Minute)
		if err != nil {
			return "", err
		}
		if outcome == "success" {
			if err := task.Expect(core.PhaseSuccess); err != nil {
				return "", err
			}
			continue
		}
		if err := task.Expect(core.PhaseRetryableFailure); err != nil {
			return "", err
		}
		if err := task.Abort(ctx); err != nil {
			return "", err
		}
	}
	_, err := e.control.ExpectJobs(name, 3)
	return "three attempts, three jobs", err
}

// sameAttemptTwice loses the state that the first round wrote, as after a failed status write: the engine creates again.
func sameAttemptTwice(ctx context.Context, e *Env, name string) (string, error) {
	spec := TaskSpec{Fixture: "job", Steer: steer{"label": name, "hold": true}}
	task, err := e.engine.NewTask(name, spec)
	if err != nil {
		return "", err
	}
	if err := task.RunUntil(ctx, time.Minute, task.created); err != nil {
		return "", err
	}
	first := task.state.bytes
	restarted, err := e.StartEngine(ctx)
	if err != nil {
		return "", err
	}
	again, err := restarted.NewTask(name, spec)
	if err != nil {
		return "", err
	}
	if err := again.RunUntil(ctx, time.Minute, again.created); err != nil {
		return "", err
	}
	if err := sameMeta(first, again.state.bytes); err != nil {
		return "", err
	}
	if err := e.letSucceed(ctx, again, name); err != nil {
		return "", err
	}
	_, err = e.control.ExpectJobs(name, 1)
	return "the same resource meta twice, one job", err
}

// sameMeta compares plugin states but for the time in them, which is when the engine asked for its own quota token.
func sameMeta(first, second []byte) error {
	if bytes.Equal(first, second) {
		return nil
	}
	one, err := metaOf(first)
	if err != nil {
		return err
	}
	two, err := metaOf(second)
	if err != nil {
		return err
	}
	if !bytes.Equal(one, two) {
		return fmt.Errorf("the repeated create answered another resource meta")
	}
	return nil
}

// sameAttemptAfterDelete aborts an attempt and creates the same attempt key anew, as a restarted parent does. A late
// delete with the old meta must not touch the new job.
func sameAttemptAfterDelete(ctx context.Context, e *Env, name string) (string, error) {
	spec := TaskSpec{Fixture: "job", Steer: steer{"label": name, "hold": true}}
	old, err := e.startRunning(ctx, name, spec)
	if err != nil {
		return "", err
	}
	if err := old.Abort(ctx); err != nil {
		return "", err
	}
	if _, err := e.expectStates(name, "cancelled"); err != nil {
		return "", err
	}
	restarted, err := e.StartEngine(ctx)
	if err != nil {
		return "", err
	}
	task, err := restarted.NewTask(name, spec)
	if err != nil {
		return "", err
	}
	if err := task.RunUntil(ctx, time.Minute, func() bool { return task.last.Phase() == core.PhaseRunning }); err != nil {
		return "", err
	}
	if err := old.Abort(ctx); err != nil {
		return "", fmt.Errorf("the late delete: %w", err)
	}
	if _, err := e.expectStates(name, "cancelled", "running"); err != nil {
		return "", err
	}
	if err := e.letSucceed(ctx, task, name); err != nil {
		return "", err
	}
	_, err = e.expectStates(name, "cancelled", "succeeded")
	return "a second job ran; the late delete touched nothing", err
}

// engineRestarted takes the persisted state into a fresh engine, whose cache is empty.
func engineRestarted(ctx context.Context, e *Env, name string) (string, error) {
	task, err := e.startRunning(ctx, name, TaskSpec{Fixture: "job", Steer: steer{"label": name, "hold": true}})
	if err != nil {
		return "", err
	}
	restarted, err := e.StartEngine(ctx)
	if err != nil {
		return "", err
	}
	task.engine = restarted
	if err := task.Round(ctx); err != nil {
		return "", err
	}
	if err := e.letSucceed(ctx, task, name); err != nil {
		return "", err
	}
	_, err = e.control.ExpectJobs(name, 1)
	return "taken up again, one job", err
}
