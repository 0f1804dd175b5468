import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import { phaseState } from '../../src/model/phase-state.js';
import { noState } from '../../src/store/state-feed.js';
import { created, HINTS, makeHarness, ok, settle } from './harness.js';

/** A remote that finds jobs by their idempotency key, and outlives daemons. */
function remote() {
  const jobs = new Map<string, 'RUNNING' | 'SUCCESS' | 'PERMANENT_FAILURE' | 'ABORTED'>();
  return {
    jobs,
    async daemon(options: Parameters<typeof makeHarness>[0] = {}) {
      const h = await makeHarness(options);
      h.plugin.on.create = ({ idempotencyKey: key }) => {
        const existing = jobs.has(key);
        if (!existing) jobs.set(key, 'RUNNING');
        return created(JSON.stringify(key), phaseState(jobs.get(key) ?? 'RUNNING'), existing);
      };
      h.plugin.on.get = ({ meta }) => ok(phaseState(jobs.get(JSON.parse(meta.toString())) ?? 'UNDEFINED'));
      h.plugin.on.delete = ({ meta }) => {
        jobs.set(JSON.parse(meta.toString()), 'ABORTED');
        return ok({});
      };
      return h;
    },
  };
}

for (const end of ['SUCCESS', 'PERMANENT_FAILURE', 'RUNNING'] as const) {
  test(`the answer to a create dies with the daemon, the job is ${end} when the create is repeated: it is found, and runs once`, async () => {
    const { jobs, daemon } = remote();
    const first = await daemon();
    await settle(first.clock, first.tasks.create(first.spec('a'), first.scope()));
    await first.stop();
    for (const key of jobs.keys()) jobs.set(key, end);
    const second = await daemon();
    const { task } = await settle(second.clock, second.tasks.create(second.spec('a'), second.scope()));
    assert.deepEqual([task.state.phase, task.identity.incarnation, jobs.size], [end, 1, 1]);
    await second.stop();
  });
}

test('a key that was cancelled in an earlier life of the daemon runs anew, however often that was', async () => {
  const { jobs, daemon } = remote();
  for (let life = 1; life <= 3; life++) {
    const h = await daemon();
    const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    assert.deepEqual([task.state.phase, jobs.size], ['RUNNING', life]);
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
    await h.clock.advance(1_000);
    await h.stop();
  }
});

test('where the state is complete for longer than the replay window, a job that is over and unknown is an earlier life’s', async () => {
  for (const [completeForMs, incarnation] of [
    [100_000_000, 2],
    [80_000_000, 1],
  ] as const) {
    const completeSinceMs = new ManualClock().now() - completeForMs;
    const { jobs, daemon } = remote();
    const h = await daemon({ feed: { ...noState, completeSinceMs } });
    jobs.set((await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()))).task.id, 'SUCCESS');
    await h.stop();
    const later = await daemon({ feed: { ...noState, completeSinceMs } });
    const { task } = await settle(later.clock, later.tasks.create(later.spec('a'), later.scope()));
    assert.equal(task.identity.incarnation, incarnation);
    await later.stop();
  }
});

test('a plugin that calls its own new jobs found and cancelled ends the task, and not in a thousand jobs', async () => {
  const h = await makeHarness({ config: { writeRateLimiter: { qps: 1_000, burst: 1_000 } } });
  h.plugin.on.create = () => created('{}', phaseState('ABORTED'), true);
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  for (let turn = 0; turn < 100; turn++) await h.clock.advance(100);
  const { state } = await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
  assert.deepEqual([state.phase, state.error?.code], ['PERMANENT_FAILURE', 'PLUGIN_ANSWER_INVALID']);
  assert.ok(h.plugin.count('create') <= 101);
  await h.stop();
});

test('the handle of a task that went on as its next incarnation goes on naming it after it ended and gave way', async () => {
  const { jobs, daemon } = remote();
  const h = await daemon({ finished: { maxCount: 1 } });
  const sample = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  jobs.set(sample.task.id, 'ABORTED');
  await h.stop();
  const later = await daemon({ finished: { maxCount: 1 } });
  const { create } = later.plugin.on;
  later.plugin.on.create = async (args, call) => {
    await later.clock.advance(0);
    return create?.(args, call) ?? created();
  };
  const { handle, task } = await settle(
    later.clock,
    later.tasks.create(later.spec('a'), { ...later.scope(), deadlineMs: 0 }),
  );
  assert.equal(task.identity.incarnation, 1);
  for (let turn = 0; turn < 10; turn++) await later.clock.advance(100);
  assert.deepEqual([later.store.byHandle(handle)?.identity.incarnation, jobs.size], [2, 2]);
  for (const [key, phase] of jobs) if (phase === 'RUNNING') jobs.set(key, 'PERMANENT_FAILURE');
  await later.clock.advance(60_000);
  later.plugin.on.create = () => created('{}', phaseState('SUCCESS'));
  await settle(later.clock, later.tasks.create(later.spec('filler'), later.scope()));
  const { state } = await settle(later.clock, later.tasks.status(handle, HINTS, later.scope()));
  assert.equal(state.phase, 'PERMANENT_FAILURE');
  await later.stop();
});
