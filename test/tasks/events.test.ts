import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TaskEvents } from '../../src/model/events/tasks.js';
import { phaseState } from '../../src/model/phase-state.js';
import { created, fail, HINTS, literals, makeHarness, ok, running, settle, success } from './harness.js';

const NAMES = [
  'accepted',
  'created',
  'ended',
  'metaLarge',
  'createRetried',
  'createUnclear',
  'createCleared',
  'createLeft',
  'outputsDropped',
  'deleteOwed',
  'deleteFailed',
  'deleteDone',
  'orphanDeleted',
] as const;

/** Every event in a line of its own: its name, the task, and what else it tells. */
function told() {
  const lines: string[] = [];
  const line =
    (name: string) =>
    (task: unknown, ...rest: unknown[]) =>
      void lines.push([name, typeof task === 'object' ? (task as { id: string }).id : task, ...rest].join(' '));
  const events = Object.fromEntries(NAMES.map((name) => [name, line(name)])) as TaskEvents;
  return { events, take: () => lines.splice(0) };
}

test('what becomes of a task is told once each: acceptance, a failed try, its job, its end', async () => {
  const { events, take } = told();
  const h = await makeHarness({ events, options: { retryInitialMs: 1_000, retryMaxMs: 1_000 } });
  const answers = [
    fail('transient', { code: 'BUSY', message: 'later', retryAfterMs: 7_000 }),
    created('x'.repeat(20_000)),
  ];
  h.plugin.on.create = () => answers.shift()!;
  h.plugin.on.get = () => running();
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope(3_600_000)));
  assert.deepEqual(take(), [
    `accepted ${task.id}`,
    `createRetried ${task.id} BUSY later 7000`,
    `metaLarge ${task.id} 20000`,
    `created ${task.id}`,
  ]);
  await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual(take(), [], 'a repeat makes nothing');
  h.plugin.on.get = () => ok(phaseState('SUCCESS'));
  await settle(h.clock, h.tasks.get(handle, HINTS, h.scope()));
  await h.clock.advance(600_000);
  assert.deepEqual(take(), [`ended ${task.id}`]);
  assert.deepEqual(h.faults, []);
  await h.stop();
});

test('an owed delete is told when it is made, at each failure, and when it is done', async () => {
  const { events, take } = told();
  const h = await makeHarness({ events });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const answers = [fail('transient', { code: 'BUSY', message: 'later' }), ok({})];
  h.plugin.on.delete = () => answers.shift()!;
  const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  take();
  await settle(h.clock, h.tasks.delete(handle, 'not wanted', HINTS));
  await h.clock.advance(600_000);
  const plugin = h.plugin.id;
  assert.deepEqual(take(), [
    `deleteOwed ${task.id} ${plugin} not wanted`,
    `deleteFailed ${task.id} ${plugin} BUSY later 1`,
    `deleteDone ${task.id} ${plugin} 2`,
  ]);
  await h.stop();
});

test('outputs that were not declared are told by their names', async () => {
  const { events, take } = told();
  const h = await makeHarness({ events });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => success(literals('a', 'b', 'c'));
  const create = h.tasks.create(h.spec('a', { outputNames: ['a'] }), h.scope());
  const { handle, task } = await settle(h.clock, create);
  await settle(h.clock, h.tasks.get(handle, HINTS, h.scope()));
  assert.ok(take().includes(`outputsDropped ${task.id} b,c`));
  await h.stop();
});
