package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/core"
)

func faultCases() []Case {
	return []Case{
		{Name: "plugin-spins", Serial: true, Run: pluginSpins},
		{Name: "remote-throttles", Serial: true, Run: remoteFault("throttle", 15*time.Second)},
		{Name: "remote-unavailable", Serial: true, Run: remoteFault("unavailable", 15*time.Second)},
		// Longer than six of the engine's polls: by then it has given up on a service that failed them.
		{Name: "remote-down", Serial: true, Run: remoteFault("down", 7*pollEvery+5*time.Second)},
		{Name: "service-killed", Serial: true, Run: serviceKilled},
		{Name: "killed-at-every-stage", Serial: true, Run: killedAtEveryStage},
		{Name: "three-hundred", Serial: true, Run: threeHundred},
		{Name: "work", Serial: true, OnDemand: true, Run: work},
	}
}

// pluginSpins has one plugin burn its CPU in a read while the engine lists over fresh connections and another plugin's
// task goes on.
func pluginSpins(ctx context.Context, e *Env, name string) (string, error) {
	spinning, err := e.engine.NewTask(name, TaskSpec{Fixture: "job", Type: "interop_spin", Steer: steer{"label": name, "spinMs": 25000, "runMs": 1000}})
	if err != nil {
		return "", err
	}
	if err := spinning.Round(ctx); err != nil {
		return "", err
	}
	// Where the spinning stops the service, the cases that follow wait until it is over.
	defer func() { _ = eventually(40*time.Second, func() error { return e.listOnce(ctx, time.Second) }) }()
	slowest := time.Duration(0)
	until := time.Now().Add(20 * time.Second)
	for time.Now().Before(until) {
		started := time.Now()
		if err := e.listOnce(ctx, 3*time.Second); err != nil {
			return "", fmt.Errorf("listing while a plugin spins: %w", err)
		}
		slowest = max(slowest, time.Since(started))
		if err := spinning.Round(ctx); err != nil {
			return "", err
		}
		time.Sleep(time.Second)
	}
	other, err := e.runOne(ctx, name+"-other", TaskSpec{Fixture: "job", Type: "interop_other", Steer: steer{"label": name + "-other"}}, 30*time.Second)
	if err != nil {
		return "", err
	}
	if err := other.Expect(core.PhaseSuccess); err != nil {
		return "", err
	}
	if err := spinning.Run(ctx, 90*time.Second); err != nil {
		return "", err
	}
	return fmt.Sprintf("slowest listing %d ms", slowest.Milliseconds()), spinning.Expect(core.PhaseSuccess)
}

// listOnce lists as the engine does: over a connection of its own, within its limit.
func (e *Env) listOnce(ctx context.Context, limit time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	connection, err := grpc.NewClient(e.endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	answer, err := service.NewAgentMetadataServiceClient(connection).ListAgents(ctx, &admin.ListAgentsRequest{})
	if err == nil && len(answer.GetAgents()) == 0 {
		err = fmt.Errorf("the list is empty")
	}
	return err
}

// remoteFault turns the remote bad for a while with one task running and another one created meanwhile.
func remoteFault(mode string, duration time.Duration) func(context.Context, *Env, string) (string, error) {
	return func(ctx context.Context, e *Env, name string) (string, error) {
		task, err := e.startRunning(ctx, name, TaskSpec{Fixture: "job", Steer: steer{"label": name, "hold": true}})
		if err != nil {
			return "", err
		}
		if err := e.control.Fault(mode); err != nil {
			return "", err
		}
		defer func() { _ = e.control.Fault("ok") }()
		late, err := e.engine.NewTask(name, TaskSpec{Fixture: "job", Instance: "n1", Steer: steer{"label": name + "-late"}})
		if err != nil {
			return "", err
		}
		until := time.Now().Add(duration)
		for time.Now().Before(until) {
			for _, one := range []*Task{task, late} {
				if err := one.Round(ctx); err != nil {
					return "", fmt.Errorf("while the remote was bad (%s): %w", mode, err)
				}
				if one.last.Phase().IsTerminal() {
					return "", fmt.Errorf("the task ended as %s while the remote was bad (%s): %s", one.last.Phase(), mode, one.Message())
				}
			}
			time.Sleep(roundEvery)
		}
		if err := e.control.Fault("ok"); err != nil {
			return "", err
		}
		if err := e.control.Release(name); err != nil {
			return "", err
		}
		for _, one := range []*Task{task, late} {
			if err := one.Run(ctx, 90*time.Second); err != nil {
				return "", err
			}
			if err := one.Expect(core.PhaseSuccess); err != nil {
				return "", err
			}
		}
		_, err = e.control.ExpectJobs(name, 1)
		return fmt.Sprintf("%s for %s, both tasks succeeded", mode, duration), err
	}
}

// serviceKilled kills the service in mid-task and starts it again with an empty disk.
func serviceKilled(ctx context.Context, e *Env, name string) (string, error) {
	task, err := e.startRunning(ctx, name, TaskSpec{Fixture: "job", Steer: steer{"label": name, "hold": true}})
	if err != nil {
		return "", err
	}
	aborted, err := e.engine.NewTask(name, TaskSpec{Fixture: "job", Instance: "n1", Steer: steer{"label": name + "-abort", "hold": true}})
	if err != nil {
		return "", err
	}
	if err := aborted.RunUntil(ctx, time.Minute, func() bool { return aborted.last.Phase() == core.PhaseRunning }); err != nil {
		return "", err
	}
	if err := e.control.RestartService(); err != nil {
		return "", err
	}
	// The engine's channel backs off after the kill; the engine repeats a failed abort.
	if err := eventually(30*time.Second, func() error { return aborted.Abort(ctx) }); err != nil {
		return "", fmt.Errorf("abort of a task unknown to the new service: %w", err)
	}
	if _, err := e.expectStates(name+"-abort", "cancelled"); err != nil {
		return "", err
	}
	if err := e.letSucceed(ctx, task, name); err != nil {
		return "", err
	}
	jobs, err := e.expectStates(name, "succeeded")
	if err == nil && jobs[0].Deletes > 0 {
		err = fmt.Errorf("the job was deleted")
	}
	return "taken up from the resource meta, one job; the other one cancelled", err
}

// killedAtEveryStage kills the service while one task is accepted, one is being created, one is live, one is over and one is
// being deleted, and starts it again with what it kept.
func killedAtEveryStage(ctx context.Context, e *Env, name string) (string, error) {
	quotaTurn.Lock()
	defer quotaTurn.Unlock()
	holder, accepted, err := e.holdQuota(ctx, name)
	if err != nil {
		return "", err
	}
	start := func(stage string, more steer) (*Task, error) {
		more["label"] = name + "-" + stage
		return e.engine.NewTask(name, TaskSpec{Fixture: "job", Instance: "n-" + stage, Steer: more})
	}
	held := map[string]*Task{}
	for _, stage := range []string{"live", "over", "gone"} {
		task, err := start(stage, steer{"hold": true})
		if err != nil {
			return "", err
		}
		held[stage] = task
		if err := task.RunUntil(ctx, time.Minute, func() bool { return task.last.Phase() == core.PhaseRunning }); err != nil {
			return "", err
		}
	}
	creating, err := start("creating", steer{"createMs": 15000})
	if err != nil {
		return "", err
	}
	if err := creating.RunUntil(ctx, 30*time.Second, creating.created); err != nil {
		return "", err
	}
	if _, err := e.control.ExpectJobs(name+"-creating", 1); err != nil {
		return "", err
	}
	// The service reads a young job often; the engine does not ask before the service is back.
	if err := e.control.Release(name + "-over"); err != nil {
		return "", err
	}
	time.Sleep(4 * time.Second)
	if err := e.control.Fault("unavailable"); err != nil {
		return "", err
	}
	defer func() { _ = e.control.Fault("ok") }()
	if err := held["gone"].Abort(ctx); err != nil {
		return "", err
	}
	if err := e.control.KillService(); err != nil {
		return "", err
	}
	if err := e.control.Fault("ok"); err != nil {
		return "", err
	}
	if _, err := e.expectStates(name+"-gone", "cancelled"); err != nil {
		return "", err
	}
	if _, err := e.control.ExpectJobs(name+"-b", 0); err != nil {
		return "", fmt.Errorf("the task without a token: %w", err)
	}
	for _, stage := range []string{"live", "a"} {
		if err := e.control.Release(name + "-" + stage); err != nil {
			return "", err
		}
	}
	for _, task := range []*Task{held["live"], held["over"], holder, accepted, creating} {
		if err := task.Run(ctx, 2*time.Minute); err != nil {
			return "", err
		}
		if err := task.Expect(core.PhaseSuccess); err != nil {
			return "", err
		}
	}
	for _, stage := range []string{"a", "b", "live", "over", "creating"} {
		jobs, err := e.expectStates(name+"-"+stage, "succeeded")
		if err != nil {
			return "", fmt.Errorf("%s: %w", stage, err)
		}
		if jobs[0].Deletes > 0 {
			return "", fmt.Errorf("the job of %s was deleted", stage)
		}
	}
	return "accepted, creating, live, over, deleting: one job each, and the deleted one cancelled", nil
}

// threeHundred starts 300 tasks at once; whoever runs this program checks the remote's calls against the limit.
func threeHundred(ctx context.Context, e *Env, name string) (string, error) {
	var tasks []*Task
	for i := range 300 {
		task, err := e.engine.NewTask(name, TaskSpec{Fixture: "job", Instance: fmt.Sprintf("n%d", i), Steer: steer{"label": name, "runMs": 3000 + i*20}})
		if err != nil {
			return "", err
		}
		tasks = append(tasks, task)
	}
	started := time.Now()
	if err := runAll(ctx, tasks, 20, 3*time.Minute); err != nil {
		return "", err
	}
	for _, task := range tasks {
		if err := task.Expect(core.PhaseSuccess); err != nil {
			return "", err
		}
	}
	_, err := e.control.ExpectJobs(name, 300)
	return fmt.Sprintf("300 tasks in %d s", int(time.Since(started).Seconds())), err
}
