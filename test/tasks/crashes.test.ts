import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { type PhaseState, phaseRank, phaseState } from '../../src/model/phase-state.js';
import { Dead } from '../state/engines.js';
import { created, fail, type Harness, HINTS, literals, ok } from './harness.js';
import { Machine } from './machine.js';

interface Job {
  readonly key: string;
  state: 'runs' | 'done' | 'cancelled';
}

/** A job system that finds jobs by the key they were submitted with; it outlives every daemon. */
class Remote {
  readonly jobs: Job[] = [];
  /** Submits that are answered late, or never where the daemon dies meanwhile. */
  created = 0;
  overLimit = 0;

  serve(h: Harness, quota: number): void {
    h.plugin.on.create = ({ idempotencyKey }) => {
      const known = this.jobs.find(({ key, state }) => key === idempotencyKey && state !== 'cancelled');
      const cancelled = this.jobs.find(({ key }) => key === idempotencyKey);
      const job = known ?? cancelled;
      if (job !== undefined) return created(metaOf(job), stateOf(job), true);
      const made: Job = { key: idempotencyKey, state: 'runs' };
      this.jobs.push(made);
      this.created += 1;
      if (this.jobs.filter(({ state }) => state === 'runs').length > quota) this.overLimit += 1;
      return created(metaOf(made));
    };
    h.plugin.on.get = ({ meta }) => ok(stateOf(this.#of(meta)));
    h.plugin.on.delete = ({ meta }) => {
      const job = this.#of(meta);
      if (this.refuses > 0) {
        this.refuses -= 1;
        return fail('transient');
      }
      if (job.state === 'runs') job.state = 'cancelled';
      return ok({});
    };
  }

  /** Deletes that fail before one works. */
  refuses = 1;

  finish(key: string): void {
    for (const job of this.jobs) if (job.key === key && job.state === 'runs') job.state = 'done';
  }

  #of(meta: Buffer): Job {
    const job = this.jobs[(JSON.parse(meta.toString()) as { job: number }).job];
    assert.ok(job);
    return job;
  }

  indexOf(job: Job): number {
    return this.jobs.indexOf(job);
  }
}

let indexes = new WeakMap<Job, number>();

function metaOf(job: Job): string {
  return JSON.stringify({ job: indexes.get(job) ?? -1 });
}

function stateOf({ state }: Job): PhaseState {
  if (state === 'runs') return phaseState('RUNNING', { reason: 'runs' });
  if (state === 'done') return phaseState('SUCCESS', { outputs: literals('x') });
  return phaseState('ABORTED', { error: { code: 'TASK_ABORTED', message: 'cancelled', kind: 'USER' } });
}

/** An engine: repeats what was not answered, and remembers what was. */
class Engine {
  readonly handles = new Map<string, Buffer>();
  readonly deleted = new Set<string>();
  readonly told = new Map<string, PhaseState>();
  readonly complaints: string[] = [];

  look(h: Harness): void {
    for (const [name, handle] of this.handles) {
      const task = h.tasks.peek(handle);
      if (task === undefined || this.deleted.has(name)) continue;
      const before = this.told.get(name);
      const { state } = task;
      if (before !== undefined && phaseRank(state.phase) < phaseRank(before.phase)) {
        this.complaints.push(`${name} went from ${before.phase} back to ${state.phase}`);
      }
      if (before?.phase === 'SUCCESS' && state.outputs.kind !== before.outputs.kind) {
        this.complaints.push(`${name} lost its outputs`);
      }
      this.told.set(name, state);
    }
  }
}

const QUOTA = 2;

/** What an engine does with a daemon over some minutes, one call after the other; each may be the one a crash cuts off. */
type Step = (h: Harness, run: <T>(call: Promise<T>) => Promise<T>) => Promise<void>;

function scenario(remote: Remote, engine: Engine): readonly Step[] {
  const create =
    (name: string): Step =>
    async (h, run) => {
      const { handle } = await run(h.tasks.create(h.spec(name), h.scope(3_000)));
      const known = engine.handles.get(name);
      if (known !== undefined && !known.equals(handle)) engine.complaints.push(`${name} was answered another handle`);
      engine.handles.set(name, handle);
    };
  const remove =
    (name: string): Step =>
    async (h, run) => {
      await run(h.tasks.delete(engine.handles.get(name) as Buffer, 'enough', HINTS, h.scope(3_000)));
      engine.deleted.add(name);
    };
  const wait =
    (ms: number): Step =>
    async (h, run) => {
      const until = h.clock.now() + ms;
      while (h.clock.now() < until) {
        await run(Promise.resolve());
        await h.clock.advance(Math.min(5_000, until - h.clock.now()));
        engine.look(h);
      }
    };
  const finish =
    (index: number): Step =>
    async () => {
      const job = remote.jobs[index];
      if (job !== undefined) remote.finish(job.key);
    };
  return [
    create('a'),
    wait(3_000),
    create('b'),
    create('c'),
    wait(5_000),
    finish(0),
    wait(40_000),
    remove('b'),
    create('d'),
    wait(40_000),
    remove('d'),
    wait(5_000),
  ];
}

/** Runs a step until it is done, or the daemon is dead. */
async function drive(machine: Machine, h: Harness, step: Step): Promise<boolean> {
  const { engine } = machine;
  const alive = () => {
    if (engine.dead) throw new Dead();
  };
  const run = async <T>(call: Promise<T>): Promise<T> => {
    let outcome: { value: T } | { error: unknown } | undefined;
    call.then(
      (value) => {
        outcome = { value };
      },
      (error: unknown) => {
        outcome = { error };
      },
    );
    for (let passed = 0; outcome === undefined && passed < 120_000; passed += 250) {
      await machine.manual.advance(250);
      alive();
    }
    alive();
    assert.ok(outcome !== undefined, 'the call was not answered within its deadline');
    if ('error' in outcome) throw outcome.error;
    return outcome.value;
  };
  try {
    await step(h, run);
    return true;
  } catch (error) {
    if (error instanceof Dead) return false;
    if (HostError.is(error) && error.retryable) return false;
    throw error;
  }
}

async function run(stopAfter: number, told: boolean): Promise<{ readonly died: boolean; readonly problems: string[] }> {
  const machine = new Machine();
  const remote = new Remote();
  indexes = new WeakMap();
  const push = remote.jobs.push.bind(remote.jobs);
  remote.jobs.push = (...jobs) => {
    for (const job of jobs) indexes.set(job, remote.jobs.length);
    return push(...jobs);
  };
  const engine = new Engine();
  const options = { config: { resourceQuotas: { default: QUOTA } } };
  let h = await machine.start(options, { stopAfter, told });
  remote.serve(h, QUOTA);
  let died = false;
  for (const step of scenario(remote, engine)) {
    // Engines repeat what was not answered, to whoever answers then.
    for (let tries = 0; !(await drive(machine, h, step)); tries++) {
      assert.ok(tries < 50, 'a call is never answered');
      if (!machine.engine.dead) continue;
      died = true;
      machine.kill();
      await machine.manual.advance(1_000);
      h = await machine.start(options);
      remote.serve(h, QUOTA);
    }
  }
  for (let minute = 0; minute < 8; minute++) {
    await machine.manual.advance(60_000);
    engine.look(h);
  }
  const problems = [...engine.complaints, ...judge(h, remote, engine)];
  for (const fault of h.faults) problems.push(`fault: ${JSON.stringify(fault)}`);
  machine.kill();
  return { died, problems };
}

/** Compares what the daemon and its engine know at the end with the remote's own book. */
function judge(h: Harness, remote: Remote, engine: Engine): string[] {
  const problems: string[] = [];
  const unfinished = new Set([...h.store.unfinishedTasks()].map(({ id }) => id));
  for (const { key, state } of remote.jobs) {
    if (state === 'runs' && !unfinished.has(key)) problems.push(`job ${key} runs, and nobody owns it`);
  }
  for (const [name, handle] of engine.handles) {
    const task = h.tasks.peek(handle);
    if (engine.deleted.has(name)) continue;
    if (task === undefined) problems.push(`${name} was answered, and is lost`);
    else if (task.state.error?.code === 'CREATE_LOST') problems.push(`${name} is CREATE_LOST`);
  }
  const jobsOf = new Map<string, number>();
  for (const { key } of remote.jobs) {
    const attempt = key.slice(0, key.lastIndexOf('-'));
    jobsOf.set(attempt, (jobsOf.get(attempt) ?? 0) + 1);
  }
  for (const [attempt, jobs] of jobsOf) if (jobs > 1) problems.push(`${jobs} jobs were made of ${attempt}`);
  if (remote.overLimit > 0) problems.push('more jobs ran than the quota allows');
  const live = [...h.store.unfinishedTasks()].filter(({ stage }) => stage === 'live').length;
  const used = h.runtime.quotas.snapshot().reduce((sum, row) => sum + row.used, 0);
  if (used !== live) problems.push(`${used} tokens are held by ${live} jobs`);
  if (h.store.owed.size > 0) problems.push(`${h.store.owed.size} deletes are still owed`);
  if (h.store.unclear.size > 0) problems.push(`${h.store.unclear.size} creates are unclear`);
  return problems;
}

describe('a daemon that dies at any commit', () => {
  for (const told of [false, true]) {
    const when = told ? 'after it was safe and before it heard of it' : 'before it was safe';
    it(`loses nothing, doubles nothing and goes back on nothing: each commit in turn, ${when}`, async () => {
      let deaths = 0;
      // The first is that of the start itself.
      for (let commit = told ? 2 : 1; ; commit++) {
        const { died, problems } = await run(commit, told);
        assert.deepEqual(problems, [], `dead at commit ${commit}`);
        if (!died) break;
        deaths += 1;
        assert.ok(commit < 500, 'the scenario has an end');
      }
      assert.ok(deaths > 10, `died ${deaths} times`);
    });
  }
});
