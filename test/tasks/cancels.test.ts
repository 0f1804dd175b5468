import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeHandle } from '../../src/model/handle.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { DeleteArgs } from '../../src/model/plugin-call.js';
import { noState } from '../../src/store/state-feed.js';
import { identityOf } from '../support/identity.js';
import { created, fail, HINTS, held, makeHarness, ok, running, settle, success } from './harness.js';
import { makeTimeline, type Timeline } from './timeline.js';

const MINUTE = 60_000;

const create = (h: Timeline, name: string, parts = {}) =>
  settle(h.clock, h.tasks.create(h.spec(name, parts), h.scope()));
const words = (lines: readonly string[]) => lines.map((line) => line.replace(/^\d+ /, '').replace(/~[0-9a-f]+/, '~'));

/** What a create that is under way when its task is deleted may come to, and what is done of it. */
const ENDS: readonly [
  what: string,
  answers: readonly (ReturnType<typeof created> | ReturnType<typeof fail>)[],
  done: readonly string[],
][] = [
  [
    'made a job',
    [created('{"job":7}')],
    ['deleteOwed a-1 fake r', '-> delete a-1 {"job":7} r', 'deleteDone a-1 fake 1'],
  ],
  [
    'made a job that is over, by a call of its own',
    [created('{"job":7}', phaseState('SUCCESS'))],
    ['deleteOwed a-1 fake r', '-> delete a-1 {"job":7} r', 'deleteDone a-1 fake 1'],
  ],
  ['found a job that is over', [created('{"job":7}', phaseState('SUCCESS'), true)], []],
  [
    'found a job that runs',
    [created('{"job":7}', phaseState('RUNNING'), true)],
    ['deleteOwed a-1 fake r', '-> delete a-1 {"job":7} r', 'deleteDone a-1 fake 1'],
  ],
  ['was refused', [fail('permanent')], []],
  ['was throttled', [fail('throttled')], []],
  [
    'made nothing, as the plugin says',
    [fail('transient', { notCreated: true })],
    ['createRetried a-1 TRANSIENT transient happened 1000'],
  ],
  [
    'has an unknown outcome, and finds its job by a repeat',
    [fail('deadline'), created('{"job":7}', undefined, true)],
    [
      'createRetried a-1 DEADLINE deadline happened 1000',
      '-> create a-1',
      'deleteOwed a-1 fake r',
      '-> delete a-1 {"job":7} r',
      'deleteDone a-1 fake 1',
    ],
  ],
  [
    'has an unknown outcome, and a repeat is refused',
    [fail('deadline'), fail('permanent', { message: 'no' })],
    ['createRetried a-1 DEADLINE deadline happened 1000', '-> create a-1', 'createUnclear a-1 fake PERMANENT no'],
  ],
];

for (const [what, answers, done] of ENDS) {
  test(`a task that is deleted while its create is under way, which ${what}, leaves no job and no token behind`, async () => {
    const h = await makeTimeline({ config: { resourceQuotas: { default: 1 } } });
    const first = held<(typeof answers)[number]>();
    const rest = answers.slice(1);
    h.plugin.on.create = () => (h.plugin.count('create') === 1 ? first.promise : (rest.shift() ?? fail('permanent')));
    h.plugin.on.delete = () => ok({});
    const { handle, task } = await create(h, 'a');
    h.told();
    h.seen();
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
    assert.equal(h.runtime.quotas.holds(task.id), true, 'its job may run');
    first.release(answers[0]!);
    await h.clock.advance(MINUTE / 2);
    const told = words(h.told()).filter((line) => !line.startsWith('createRetried') || done.includes(line));
    assert.deepEqual(told, done);
    assert.equal(h.seen().length, 1, 'watchers are told of the delete, and of nothing after it');
    assert.deepEqual(
      [h.runtime.quotas.holds(task.id), task.payload, h.store.unfinished, h.store.finished, h.tasks.owedDeletes.size],
      [false, undefined, 0, 0, 0],
    );
    await h.stop();
    assert.deepEqual(h.faults, []);
  });
}

test('a Delete looks for the job of a create that was just given up no sooner than its request can have come', async () => {
  const h = await makeTimeline();
  const first = held<ReturnType<typeof fail>>();
  h.plugin.on.create = () => first.promise;
  const { handle, task } = await create(h, 'a');
  first.release(fail('deadline'));
  await h.clock.advance(0);
  assert.equal(h.plugin.count('create'), 1);
  // The remote takes it a moment after the daemon has given it up: a look before that would make another job.
  const lateMs = h.clock.now() + 900;
  h.plugin.on.create = () => created('{"job":7}', undefined, h.clock.now() >= lateMs);
  h.plugin.on.delete = () => ok({});
  const deleted = h.tasks.delete(handle, 'r', HINTS);
  await h.clock.advance(800);
  assert.equal(h.plugin.count('create'), 1);
  await h.clock.advance(MINUTE);
  await deleted;
  assert.deepEqual(
    [h.plugin.count('create'), h.plugin.count('delete'), h.runtime.quotas.holds(task.id)],
    [2, 1, false],
  );
  await h.stop();
  assert.deepEqual(h.faults, []);
});

test('a task that waits is deleted without a word to its plugin, whatever it waits for', async () => {
  const waits: Record<string, (h: Timeline) => void> = {
    'a plugin that is down': ({ plugin }) => plugin.isDown(),
    requirements: ({ plugin }) => {
      plugin.features.resourceRequirements = true;
      plugin.on.resourceRequirements = () => fail('transient');
    },
    'a token': (h) => {
      h.runtime.quotas.acquire({ taskId: 'x', quotaNamespace: 'default', project: 'p', namespace: 'n' });
    },
    'a repeat': ({ plugin }) => {
      plugin.on.create = () => fail('throttled');
    },
  };
  for (const [what, wait] of Object.entries(waits)) {
    const h = await makeTimeline({ config: { resourceQuotas: { default: 1 } } });
    wait(h);
    const { handle, task } = await create(h, 'a');
    assert.equal(task.state.phase, 'WAITING_FOR_RESOURCES');
    h.told();
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
    assert.equal(h.store.unfinished, 0);
    h.plugin.comesUp();
    h.plugin.on.create = () => created();
    await h.clock.advance(10 * MINUTE);
    assert.deepEqual([words(h.told()), h.runtime.quotas.holds(task.id)], [[], false], what);
    await h.stop();
    assert.deepEqual([h.faults, h.clock.pending], [[], 0], what);
  }
});

test('a repeated Delete joins the one that is owed, and is told when that one was', async () => {
  const h = await makeTimeline();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => fail('transient');
  const { handle } = await create(h, 'a');
  for (let i = 0; i < 3; i++) await settle(h.clock, h.tasks.delete(handle, `r${i}`, HINTS));
  assert.deepEqual(
    [
      [...h.store.owed.listed()].map(({ reason }) => reason),
      words(h.told()).filter((line) => line.startsWith('deleteOwed')),
    ],
    [['r0'], ['deleteOwed a-1 fake r0']],
  );
  await h.stop();
});

test('a delete sends what is known of its job: where its outputs are, their names, and why', async () => {
  const h = await makeTimeline();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  const connection = { secrets: { key: 'hush' }, configs: {} };
  const { handle, task } = await create(h, 'a', { outputNames: ['o'], connection });
  await settle(h.clock, h.tasks.delete(handle, 'no longer wanted', HINTS));
  const [sent] = h.plugin.calls.filter(({ method }) => method === 'delete');
  const { meta, ...args } = (sent ?? assert.fail('nothing was sent')).args as DeleteArgs;
  assert.deepEqual(
    { ...args, meta: String(meta) },
    {
      meta: '{"job":1}',
      outputPrefix: 's3://bucket/a',
      outputNames: ['o'],
      idempotencyKey: task.id,
      connection,
      reason: 'no longer wanted',
    },
  );
  await h.stop();
});

test('an end that a delete finds has gone before, told of a handle meanwhile, is not told otherwise', async () => {
  const h = await makeHarness();
  const handle = encodeHandle({
    identity: identityOf('k', { plugin: 'fake', quotaNamespace: '', createdAtMs: h.clock.now() }),
    meta: Buffer.from('{"job":1}'),
  });
  const read = held<ReturnType<typeof success>>();
  h.plugin.on.get = () => read.promise;
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  const told = await settle(h.clock, h.tasks.status(handle, HINTS, h.scope(3_000)));
  assert.deepEqual([told.state.phase, told.state.error?.code], ['ABORTED', 'TASK_DELETED']);
  read.release(success());
  await h.clock.advance(MINUTE);
  const again = await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
  assert.deepEqual([again.state.phase, h.store.finished, h.tasks.owedDeletes.size], ['ABORTED', 0, 0]);
  await h.stop();
});

test('with a state that keeps it a stop says nothing of jobs that the next start finds', async () => {
  const h = await makeTimeline({ feed: { ...noState, durable: true }, options: { createBudgetMs: 5_000 } });
  h.plugin.on.create = () => fail('deadline');
  await create(h, 'unclear');
  await h.clock.advance(20_000);
  await create(h, 'interrupted');
  h.told();
  await h.stop();
  assert.deepEqual(h.told(), []);
});
