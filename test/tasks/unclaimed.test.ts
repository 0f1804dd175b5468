import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { phaseState } from '../../src/model/phase-state.js';
import { created, type Harness, type HarnessOptions, makeHarness, ok, running, settle } from './harness.js';
import { Machine } from './machine.js';

/** Tasks that an earlier run of the daemon accepted, and of which nobody knows whether their engine was told. */

const MINUTE = 60_000;
const GRACE = { orphanGraceMs: 10 * MINUTE };

const answersAtOnce = (plugin: Harness['plugin']) => {
  Object.assign(plugin.on, { create: () => created(), get: () => running(), delete: () => ok({}) });
};
const create = (h: Harness, name: string, parts = {}) =>
  settle(h.clock, h.tasks.create(h.spec(name, parts), h.scope(3_000)));

/** A daemon after the crash of one that had accepted task `a` and neither answered nor sent it. */
async function unclaimed(given: HarnessOptions = {}) {
  const machine = new Machine();
  const first = await machine.start({ config: { resourceQuotas: { default: 0 } } });
  // Its quota is spent, so it would be answered as accepted after three seconds.
  void first.tasks.create(first.spec('a'), first.scope()).catch(() => undefined);
  await first.clock.advance(1_000);
  machine.kill();
  const dead = machine.manual.pending;
  const h = await machine.start({ plugin: answersAtOnce, options: GRACE, ...given });
  await h.clock.advance(1_000);
  assert.deepEqual([h.store.unfinished, h.plugin.count('create')], [1, 0]);
  return { machine, h, timers: () => machine.manual.pending - dead };
}

test('a task that nobody was told of starts at the first repeat of its create, and once', async () => {
  const { machine, h } = await unclaimed();
  const first = await create(h, 'a');
  const again = await create(h, 'a');
  await h.clock.advance(MINUTE);
  assert.deepEqual(again.handle, first.handle);
  assert.deepEqual([h.plugin.count('create'), h.store.counts('fake').live], [1, 1]);
  await h.clock.advance(30 * MINUTE);
  assert.equal(h.store.counts('fake').live, 1, 'its grace ends nothing any more');
  machine.kill();
});

test('a task that nobody was told of is forgotten after the grace, and created anew as any other', async () => {
  const { machine, h } = await unclaimed();
  await h.clock.advance(GRACE.orphanGraceMs);
  assert.deepEqual([h.store.unfinished, h.plugin.count('create')], [0, 0]);
  await create(h, 'a');
  await create(h, 'a');
  await h.clock.advance(MINUTE);
  assert.deepEqual([h.plugin.count('create'), h.store.counts('fake').live], [1, 1]);
  assert.deepEqual(h.faults, []);
  machine.kill();
});

test('the grace of a task that nobody was told of runs on over restarts, and a repeat of its create ends it for good', async () => {
  for (const repeated of [false, true]) {
    const { machine, h } = await unclaimed();
    await h.clock.advance(4 * MINUTE);
    machine.kill();
    const again = async (then: (next: Harness) => unknown) => {
      const next = await machine.start({ plugin: answersAtOnce, options: GRACE });
      await next.clock.advance(1_000);
      await then(next);
      machine.kill();
    };
    await again(async (next) => {
      assert.equal(next.store.unfinished, 1);
      if (repeated) (await create(next, 'a')).undelivered();
      await next.clock.advance(4 * MINUTE);
    });
    await again(async (next) => {
      await next.clock.advance(4 * MINUTE);
      // Its answer was lost, which is another grace.
      assert.deepEqual([next.store.unfinished, next.store.counts('fake').live], repeated ? [1, 1] : [0, 0]);
    });
  }
});

test('a task that nobody was told of counts in the waiting line until it starts', async () => {
  const { machine, h } = await unclaimed({ options: { ...GRACE, maxWaiting: 1 } });
  await assert.rejects(create(h, 'b'), (error) => HostError.is(error) && error.code === 'STORE_FULL');
  await create(h, 'a');
  assert.equal((await create(h, 'b')).task.stage, 'live');
  machine.kill();
});

test('a stop ends the grace of what nobody was told of, and a repeat that comes after it starts nothing', async () => {
  const { machine, h, timers } = await unclaimed();
  h.tasks.drain();
  await settle(h.clock, h.stops());
  assert.equal(timers(), 0);
  const { task } = await create(h, 'a');
  await h.clock.advance(30 * MINUTE);
  assert.deepEqual([h.plugin.count('create'), task.stage], [0, 'accepted']);
  machine.kill();
});

test('a create that is still being accepted when its plugin is loaded is started by that', async () => {
  const machine = new Machine();
  const first = await machine.start({ plugin: answersAtOnce });
  await create(first, 'before');
  machine.kill();
  const h = await machine.start({ plugin: answersAtOnce, starts: true, options: GRACE });
  const pending = h.tasks.create(h.spec('a'), h.scope());
  h.load();
  const { handle } = await settle(h.clock, pending);
  await h.clock.advance(MINUTE);
  assert.equal(h.tasks.peek(handle)?.stage, 'live');
  machine.kill();
});

test('once the plugins are loaded new tasks go by what they serve, and no longer by what the last run did', async () => {
  const machine = new Machine();
  const first = await machine.start({ plugin: answersAtOnce });
  await create(first, 'before');
  machine.kill();
  const h = await machine.start({ plugin: answersAtOnce, starts: true });
  await create(h, 'early');
  h.load();
  h.plugin.taskTypes = [];
  await assert.rejects(create(h, 'late'), (error) => HostError.is(error) && error.code === 'TASK_TYPE_UNKNOWN');
  assert.equal(h.tasks.remoteDown('fake'), false);
  machine.kill();
});

test('a stop ends the grace of answers that were lost', async () => {
  const h = await makeHarness();
  answersAtOnce(h.plugin);
  (await create(h, 'a')).undelivered();
  assert.equal(h.tasks.orphans.size, 1);
  await h.stop();
  assert.deepEqual([h.tasks.orphans.size, h.clock.pending], [0, 0]);
});

test('tasks are listed by their phase and by their project, where these are asked for', async () => {
  const h = await makeHarness();
  answersAtOnce(h.plugin);
  const project = (name: string) => {
    const { metadata } = h.spec('a');
    return { metadata: { ...metadata, taskExecutionId: { ...metadata.taskExecutionId, project: name } } };
  };
  const runs = await create(h, 'runs', project('one'));
  h.plugin.on.create = () => created('{}', phaseState('ABORTED', { error: { code: 'X', message: 'm', kind: 'USER' } }));
  const ended = await create(h, 'ended', project('two'));
  const ids = (query: object) =>
    h.tasks.lists.tasks({ limit: 10, after: '', ...query } as never).rows.map(({ id }) => id);
  assert.deepEqual(ids({ phase: 'ABORTED' }), [ended.task.id]);
  assert.deepEqual(ids({ project: 'one' }), [runs.task.id]);
  assert.deepEqual(ids({ project: 'two', phase: runs.task.state.phase }), []);
  await h.stop();
});
