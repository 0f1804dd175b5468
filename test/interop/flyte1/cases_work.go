package main

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteplugins/go/tasks/pluginmachinery/core"
)

const (
	// openAtOnce is how many nodes of the work are open at a time: more than its plugin has tokens.
	openAtOnce = 100
	// workRunMs is how long a job of the work runs.
	workRunMs = 2000
	// abortedEvery tells which tasks of the work are aborted while they run: one in so many.
	abortedEvery = 5
	// workTaskLimit is how long a task of the work may take, in a line of others.
	workTaskLimit = 4 * time.Minute
)

// work takes many tasks of one plugin from their first round to their end, so many at a time; whoever runs this program compares
// the remote's book with that of another service.
func work(ctx context.Context, e *Env, name string) (string, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	numbers := make(chan int)
	failed := make(chan error, openAtOnce)
	var engines sync.WaitGroup
	started := time.Now()
	for range openAtOnce {
		engines.Add(1)
		go func() {
			defer engines.Done()
			for number := range numbers {
				if err := workOne(ctx, e, name, number); err != nil {
					failed <- fmt.Errorf("task %d: %w", number, err)
					cancel()
					return
				}
			}
		}()
	}
	for number := 0; number < e.tasks && ctx.Err() == nil; number++ {
		select {
		case numbers <- number:
		case <-ctx.Done():
		}
	}
	close(numbers)
	engines.Wait()
	select {
	case err := <-failed:
		return "", err
	default:
	}
	_, err := e.control.ExpectJobs(name, e.tasks)
	return fmt.Sprintf("%d tasks in %d s", e.tasks, int(time.Since(started).Seconds())), err
}

func workOne(ctx context.Context, e *Env, name string, number int) error {
	task, err := e.engine.NewTask(name, TaskSpec{
		Fixture: "job", Type: "interop_other", Instance: fmt.Sprintf("n%d", number), Steer: steer{"label": name, "runMs": workRunMs},
	})
	if err != nil {
		return err
	}
	if number%abortedEvery == 0 {
		running := func() bool { return task.last.Phase() == core.PhaseRunning || task.last.Phase().IsTerminal() }
		if err := task.RunUntil(ctx, workTaskLimit, running); err != nil {
			return err
		}
		return task.Abort(ctx)
	}
	if err := task.Run(ctx, workTaskLimit); err != nil {
		return err
	}
	return task.Expect(core.PhaseSuccess)
}
