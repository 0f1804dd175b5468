package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	idl "github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/core"
)

type steer = map[string]interface{}

func allCases() []Case {
	cases := append(phaseCases(), identityCases()...)
	return append(append(cases, dataCases()...), faultCases()...)
}

func phaseCases() []Case {
	return []Case{
		{Name: "phases-seen", Run: phasesSeen},
		{Name: "failure-permanent", Run: failureCase("permanent", core.PhasePermanentFailure)},
		{Name: "failure-retryable", Run: failureCase("retryable", core.PhaseRetryableFailure)},
		{Name: "failure-system", Run: failureCase("system", core.PhaseRetryableFailure)},
		{Name: "aborted-at-remote", Run: abortedAtRemote},
		{Name: "create-refused", Run: createRefused},
		{Name: "create-transient", Run: createTransient},
		{Name: "create-slow", Run: createSlow},
		{Name: "abort-running", Run: abortRunning},
		{Name: "abort-after-end", Run: abortAfterEnd},
		{Name: "abort-waiting", Run: abortWaiting},
		{Name: "quota-wait", Run: quotaWait},
		{Name: "two-plugins", Run: routed("job", "interop_other", 0)},
		{Name: "task-type-version", Run: routed("job", "interop_versioned", 2)},
		{Name: "unknown-type", Run: unknownType},
		{Name: "sync-success", Run: syncSuccess},
		{Name: "sync-failure", Run: syncFailure("permanent", core.PhasePermanentFailure)},
		{Name: "sync-retryable", Run: syncFailure("retryable", core.PhaseRetryableFailure)},
		{Name: "sync-throws", Run: syncFailure("throw", core.PhasePermanentFailure)},
		{Name: "sync-replay", Run: syncReplay},
	}
}

// runOne runs a task of the fixture to its end.
func (e *Env) runOne(ctx context.Context, execution string, spec TaskSpec, limit time.Duration) (*Task, error) {
	task, err := e.engine.NewTask(execution, spec)
	if err != nil {
		return nil, err
	}
	return task, task.Run(ctx, limit)
}

func phasesSeen(ctx context.Context, e *Env, name string) (string, error) {
	task, err := e.runOne(ctx, name, TaskSpec{Fixture: "job", Steer: steer{"label": name, "queueMs": 6000, "runMs": 8000}}, time.Minute)
	if err != nil {
		return "", err
	}
	if err := task.Expect(core.PhaseSuccess); err != nil {
		return "", err
	}
	seen := strings.Join(task.seen, " ")
	if !strings.Contains(seen, "PhaseRunning") {
		return "", fmt.Errorf("running was never seen: %s", seen)
	}
	if task.links == 0 {
		return "", fmt.Errorf("no log link was seen")
	}
	return seen, nil
}

func failureCase(outcome string, phase core.Phase) func(context.Context, *Env, string) (string, error) {
	return func(ctx context.Context, e *Env, name string) (string, error) {
		message := "disk full on node 7: " + outcome
		task, err := e.runOne(ctx, name, TaskSpec{Fixture: "text", Steer: steer{"label": name, "outcome": outcome, "message": message, "code": "DiskFull"}}, time.Minute)
		if err != nil {
			return "", err
		}
		if err := task.Expect(phase); err != nil {
			return "", err
		}
		wanted := []string{message, "DiskFull"}
		if outcome == "system" {
			wanted = append(wanted, "SYSTEM")
		}
		for _, part := range wanted {
			if !strings.Contains(task.Message(), part) {
				return "", fmt.Errorf("the message lacks %q: %s", part, task.Message())
			}
		}
		return task.Message(), nil
	}
}

func abortedAtRemote(ctx context.Context, e *Env, name string) (string, error) {
	task, err := e.runOne(ctx, name, TaskSpec{Fixture: "job", Steer: steer{"label": name, "outcome": "aborted", "message": "cancelled by the owner"}}, time.Minute)
	if err != nil {
		return "", err
	}
	if err := task.Expect(core.PhasePermanentFailure); err != nil {
		return "", err
	}
	if !strings.Contains(task.Message(), "cancelled by the owner") {
		return "", fmt.Errorf("the reason is lost: %s", task.Message())
	}
	return task.Message(), nil
}

func createRefused(ctx context.Context, e *Env, name string) (string, error) {
	task, err := e.runOne(ctx, name, TaskSpec{Fixture: "job", Steer: steer{"label": name, "refuse": 400, "message": "no such cluster"}}, time.Minute)
	if err != nil {
		return "", err
	}
	if err := task.Expect(core.PhasePermanentFailure); err != nil {
		return "", err
	}
	if !strings.Contains(task.Message(), "no such cluster") {
		return "", fmt.Errorf("the message is lost: %s", task.Message())
	}
	return task.Message(), nil
}

func createTransient(ctx context.Context, e *Env, name string) (string, error) {
	task, err := e.runOne(ctx, name, TaskSpec{Fixture: "job", Steer: steer{"label": name, "refuse": 503, "refuseTimes": 2}}, 90*time.Second)
	if err != nil {
		return "", err
	}
	if err := task.Expect(core.PhaseSuccess); err != nil {
		return "", err
	}
	_, err = e.control.ExpectJobs(name, 1)
	return "two refused creates, then one job", err
}

// createSlow has a remote that takes longer to answer than the engine's deadline.
func createSlow(ctx context.Context, e *Env, name string) (string, error) {
	task, err := e.runOne(ctx, name, TaskSpec{Fixture: "job", Steer: steer{"label": name, "createMs": 12000}}, 90*time.Second)
	if err != nil {
		return "", err
	}
	if err := task.Expect(core.PhaseSuccess); err != nil {
		return "", err
	}
	_, err = e.control.ExpectJobs(name, 1)
	return "the remote took 12 s to create; one job", err
}

func (e *Env) startRunning(ctx context.Context, name string, spec TaskSpec) (*Task, error) {
	task, err := e.engine.NewTask(name, spec)
	if err != nil {
		return nil, err
	}
	return task, task.RunUntil(ctx, time.Minute, func() bool { return task.last.Phase() == core.PhaseRunning })
}

// letSucceed releases the held job of a label and runs its task to success.
func (e *Env) letSucceed(ctx context.Context, task *Task, label string) error {
	if err := e.control.Release(label); err != nil {
		return err
	}
	if err := task.Run(ctx, time.Minute); err != nil {
		return err
	}
	return task.Expect(core.PhaseSuccess)
}

func (e *Env) expectStates(label string, states ...string) ([]Job, error) {
	var jobs []Job
	err := eventually(20*time.Second, func() error {
		var err error
		jobs, err = e.control.ExpectJobs(label, len(states))
		for i := range jobs {
			if err == nil && jobs[i].State != states[i] {
				err = fmt.Errorf("job %d is %s, expected %s", i+1, jobs[i].State, states[i])
			}
		}
		return err
	})
	return jobs, err
}

func eventually(limit time.Duration, check func() error) error {
	deadline := time.Now().Add(limit)
	for {
		err := check()
		if err == nil || time.Now().After(deadline) {
			return err
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func abortRunning(ctx context.Context, e *Env, name string) (string, error) {
	task, err := e.startRunning(ctx, name, TaskSpec{Fixture: "job", Steer: steer{"label": name, "hold": true}})
	if err != nil {
		return "", err
	}
	if err := task.Abort(ctx); err != nil {
		return "", err
	}
	_, err = e.expectStates(name, "cancelled")
	return "the job was cancelled at the remote", err
}

func abortAfterEnd(ctx context.Context, e *Env, name string) (string, error) {
	task, err := e.runOne(ctx, name, TaskSpec{Fixture: "text", Steer: steer{"label": name, "outcome": "retryable"}}, time.Minute)
	if err != nil {
		return "", err
	}
	if err := task.Abort(ctx); err != nil {
		return "", err
	}
	jobs, err := e.expectStates(name, "failed")
	if err == nil && jobs[0].Deletes != 0 {
		err = fmt.Errorf("the remote was asked %d times to delete a job that was over", jobs[0].Deletes)
	}
	return "the remote was not asked to delete a finished job", err
}

func unknownType(ctx context.Context, e *Env, name string) (string, error) {
	task, err := e.runOne(ctx, name, TaskSpec{Fixture: "job", Type: "interop_nobody", Steer: steer{"label": name}}, time.Minute)
	if err != nil {
		return "", err
	}
	if err := task.Expect(core.PhaseRetryableFailure); err != nil {
		return "", err
	}
	if !strings.Contains(task.Message(), "interop_nobody") {
		return "", fmt.Errorf("the message does not name the type: %s", task.Message())
	}
	_, err = e.control.ExpectJobs(name, 0)
	return task.Message(), err
}

func routed(fixture, taskType string, version int32) func(context.Context, *Env, string) (string, error) {
	return func(ctx context.Context, e *Env, name string) (string, error) {
		task, err := e.runOne(ctx, name, TaskSpec{Fixture: fixture, Type: taskType, Version: version, Steer: steer{"label": name}}, time.Minute)
		if err != nil {
			return "", err
		}
		if err := task.Expect(core.PhaseSuccess); err != nil {
			return "", err
		}
		jobs, err := e.control.ExpectJobs(name, 1)
		if err == nil && (jobs[0].Seen.Type != taskType || jobs[0].Seen.Version != version) {
			err = fmt.Errorf("the plugin saw %s version %d", jobs[0].Seen.Type, jobs[0].Seen.Version)
		}
		return fmt.Sprintf("%s version %d", taskType, version), err
	}
}

func syncSuccess(ctx context.Context, e *Env, name string) (string, error) {
	task, err := e.runOne(ctx, name, TaskSpec{Fixture: "sync", Steer: steer{"label": name}}, time.Minute)
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
	times := outputs.GetLiterals()["times"].GetScalar().GetPrimitive().GetInteger()
	if times != 1 {
		return "", fmt.Errorf("expected times = 1, got %v", outputs)
	}
	return "outputs written", nil
}

func syncFailure(outcome string, phase core.Phase) func(context.Context, *Env, string) (string, error) {
	return func(ctx context.Context, e *Env, name string) (string, error) {
		task, err := e.runOne(ctx, name, TaskSpec{Fixture: "sync", Steer: steer{"label": name, "outcome": outcome, "message": "no quota left for " + outcome}}, time.Minute)
		if err != nil {
			return "", err
		}
		if err := task.Expect(phase); err != nil {
			return "", err
		}
		if !strings.Contains(task.Message(), "no quota left for "+outcome) {
			return "", fmt.Errorf("the message is lost: %s", task.Message())
		}
		return task.Message(), nil
	}
}

// syncReplay has the engine lose the result (a failed event write) and run the round again.
func syncReplay(ctx context.Context, e *Env, name string) (string, error) {
	task, err := e.engine.NewTask(name, TaskSpec{Fixture: "sync", Steer: steer{"label": name}})
	if err != nil {
		return "", err
	}
	over := func() bool { return task.last.Phase().IsTerminal() }
	for range 2 {
		task.state, task.last = pluginState{}, core.PhaseInfo{}
		if err := task.RunUntil(ctx, time.Minute, over); err != nil {
			return "", err
		}
		if err := task.Expect(core.PhaseSuccess); err != nil {
			return "", err
		}
	}
	runs, err := e.control.Runs(name)
	if err == nil && runs != 1 {
		err = fmt.Errorf("the work was done %d times", runs)
	}
	return "replayed, done once", err
}

func textOf(outputs *idl.LiteralMap) string {
	return outputs.GetLiterals()["text"].GetScalar().GetPrimitive().GetStringValue()
}

// holdQuota starts a task that takes the only token, and a second one that has to wait.
func (e *Env) holdQuota(ctx context.Context, name string) (first, second *Task, err error) {
	first, err = e.startRunning(ctx, name+"-a", TaskSpec{Fixture: "job", Type: "interop_quota", Steer: steer{"label": name + "-a", "hold": true}})
	if err != nil {
		return nil, nil, err
	}
	second, err = e.engine.NewTask(name+"-b", TaskSpec{Fixture: "job", Type: "interop_quota", Steer: steer{"label": name + "-b"}})
	if err != nil {
		return nil, nil, err
	}
	waiting := func() bool { return second.last.Phase() == core.PhaseWaitingForResources && second.state.bytes != nil }
	return first, second, second.RunUntil(ctx, 30*time.Second, waiting)
}

// quotaWait keeps the token for longer than the engine's deadline.
func quotaWait(ctx context.Context, e *Env, name string) (string, error) {
	quotaTurn.Lock()
	defer quotaTurn.Unlock()
	_, second, err := e.holdQuota(ctx, name)
	if err != nil {
		return "", err
	}
	reason := second.last.Reason()
	until := time.Now().Add(15 * time.Second)
	for time.Now().Before(until) {
		if err := second.Round(ctx); err != nil {
			return "", err
		}
		if second.last.Phase().IsTerminal() {
			return "", fmt.Errorf("a task without quota ended as %s: %s", second.last.Phase(), second.Message())
		}
		time.Sleep(roundEvery)
	}
	if _, err := e.control.ExpectJobs(name+"-b", 0); err != nil {
		return "", err
	}
	if err := e.control.Release(name + "-a"); err != nil {
		return "", err
	}
	if err := second.Run(ctx, time.Minute); err != nil {
		return "", err
	}
	return reason, second.Expect(core.PhaseSuccess)
}

// abortWaiting aborts a task that never got a token: it leaves the line, and no job is made.
func abortWaiting(ctx context.Context, e *Env, name string) (string, error) {
	quotaTurn.Lock()
	defer quotaTurn.Unlock()
	first, second, err := e.holdQuota(ctx, name)
	if err != nil {
		return "", err
	}
	if err := second.Abort(ctx); err != nil {
		return "", err
	}
	if err := e.letSucceed(ctx, first, name+"-a"); err != nil {
		return "", err
	}
	_, err = e.control.ExpectJobs(name+"-b", 0)
	return "no job was made", err
}

// quotaTurn keeps the cases apart that need the single token.
var quotaTurn sync.Mutex
