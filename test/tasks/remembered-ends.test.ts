import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PhaseState, phaseState } from '../../src/model/phase-state.js';
import type { WatchReader } from '../../src/model/watch.js';
import { created, fail, type Harness, HINTS, literals, makeHarness, ok, settle, success } from './harness.js';

const error = { code: 'NodeFailed', message: 'the node went away', kind: 'SYSTEM' } as const;

/** How a task may end, and what makes it do so. */
const ENDS: { readonly [name: string]: (h: Harness) => void } = {
  'a success with outputs': (h) => {
    h.plugin.on.get = () => success(literals('o'));
  },
  'a success with outputs at the prefix': (h) => {
    h.plugin.on.get = () => success({ kind: 'prefix' });
  },
  'a retryable failure': (h) => {
    h.plugin.on.get = () => ok(phaseState('RETRYABLE_FAILURE', { reason: error.message, error }));
  },
  'a permanent failure': (h) => {
    h.plugin.on.get = () => ok(phaseState('PERMANENT_FAILURE', { reason: error.message, error }));
  },
  'an abort': (h) => {
    h.plugin.on.get = () => ok(phaseState('ABORTED', { reason: 'killed by somebody' }));
  },
  'a read that is refused for good': (h) => {
    h.plugin.on.get = () => fail('permanent', { code: 'Gone' });
  },
  'a create that is refused': (h) => {
    h.plugin.on.create = () => fail('permanent', { code: 'BadPartition' });
  },
  'a create that never went through': (h) => {
    h.plugin.on.create = () => fail('transient');
  },
};

/** Creates a task and lets it come to its end. */
async function ended(h: Harness, end: string) {
  h.plugin.on.create = () => created();
  h.plugin.on.delete = () => ok({});
  ENDS[end]?.(h);
  const answer = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(1_300_000);
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(task.stage, 'over', end);
  return { handle: answer.handle, state: task.state };
}

const told = ({ phase, reason, error: why, outputs }: PhaseState) => ({ phase, reason, why, outputs });

async function pushOut(h: Harness): Promise<void> {
  h.plugin.on.create = () => created('{}', phaseState('SUCCESS'));
  await settle(h.clock, h.tasks.create(h.spec('filler'), h.scope()));
}

async function asksAll(h: Harness, handle: Buffer, what: string, state: PhaseState): Promise<void> {
  for (const ask of ['status', 'get'] as const) {
    const task = await settle(h.clock, h.tasks[ask](handle, HINTS, h.scope()));
    assert.deepEqual(told(task.state), told(state), `${ask} after ${what}`);
  }
  const peeked = h.tasks.peek(handle);
  if (peeked !== undefined) assert.deepEqual(told(peeked.state), told(state), `peek after ${what}`);
}

for (const end of Object.keys(ENDS)) {
  test(`${end} is answered after the task was deleted, once and again, and a new create starts the next incarnation`, async () => {
    const h = await makeHarness();
    const { handle, state } = await ended(h, end);
    const reader: WatchReader = h.tasks.watch({
      plugins: [],
      handles: [handle],
      resumeToken: '',
      includeCurrent: false,
    });
    for (const what of ['a delete', 'a second delete']) {
      await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
      await asksAll(h, handle, what, state);
    }
    const event = await reader.next();
    assert.ok(event?.kind === 'change' && event.change.deleted);
    assert.deepEqual(told(event.change.task.state), told(state), 'Watch tells the end that Status does');
    h.plugin.on.create = () => created('{"job":2}');
    h.plugin.on.get = () => ok(phaseState('RUNNING'));
    const anew = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    assert.equal(anew.task.identity.incarnation > 1, true);
    assert.equal(anew.task.stage, 'live');
    await asksAll(h, handle, 'a new create', state);
    await settle(h.clock, h.tasks.delete(handle, 'late', HINTS));
    assert.equal(h.tasks.peek(anew.handle)?.stage, 'live', 'a late delete by the old handle touches nothing new');
    await h.stop();
  });

  test(`${end} is answered after the task was deleted and gave way in memory, in either order`, async () => {
    for (const deletedFirst of [true, false]) {
      const h = await makeHarness({ finished: { maxCount: 1 } });
      const { handle, state } = await ended(h, end);
      const { get } = h.plugin.on;
      if (deletedFirst) await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
      await pushOut(h);
      if (get !== undefined) h.plugin.on.get = get;
      if (!deletedFirst) await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
      await asksAll(h, handle, 'a delete and its place was taken', state);
      await h.stop();
    }
  });
}

test('a task that was deleted before it ended is TASK_DELETED, and stays so', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => ok(phaseState('RUNNING'));
  h.plugin.on.delete = () => ok({});
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  h.plugin.on.get = () => ok(phaseState('ABORTED', { reason: 'cancelled' }));
  await h.clock.advance(60_000);
  const { state } = await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
  assert.equal(state.error?.code, 'TASK_DELETED');
  await h.stop();
});

for (const [what, read, code] of [
  ['a failure', ok(phaseState('RETRYABLE_FAILURE', { reason: error.message, error })), 'NodeFailed'],
  ['a success', success(literals('o')), undefined],
  ['a job that runs', ok(phaseState('RUNNING')), 'TASK_DELETED'],
] as const) {
  test(`a handle of an earlier daemon that is deleted and asked about again: ${what}`, async () => {
    const before = await makeHarness();
    before.plugin.on.create = () => created();
    const { handle } = await settle(before.clock, before.tasks.create(before.spec('a'), before.scope()));
    await before.stop();
    const h = await makeHarness();
    h.plugin.on.get = () => read;
    h.plugin.on.delete = () => ok({});
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
    const { state } = await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
    assert.equal(state.error?.code, code);
    if (code === undefined) assert.deepEqual([state.phase, state.outputs], ['SUCCESS', literals('o')]);
    assert.equal(h.plugin.count('delete'), code === 'TASK_DELETED' ? 1 : 0);
    h.plugin.on.create = ({ idempotencyKey }) => created(JSON.stringify(idempotencyKey));
    h.plugin.on.get = () => ok(phaseState('RUNNING'));
    const anew = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    assert.equal(anew.task.identity.incarnation, 2);
    await h.stop();
  });
}

/** A success with outputs that was told, and gave way in memory. */
async function gaveWay() {
  const h = await makeHarness({ finished: { maxCount: 1 } });
  const { handle, state } = await ended(h, 'a success with outputs');
  await pushOut(h);
  return { h, handle, state };
}

test('a success whose outputs gave way is told as nothing less while its remote cannot be read', async () => {
  for (const again of ['status', 'create'] as const) {
    const { h, handle, state } = await gaveWay();
    const asked = (): Promise<unknown> =>
      again === 'status' ? h.tasks.status(handle, HINTS, h.scope()) : h.tasks.create(h.spec('a'), h.scope());
    h.plugin.on.get = () => fail('transient');
    for (let i = 0; i < 3; i++) {
      await assert.rejects(settle(h.clock, asked()), { code: 'OUTPUTS_UNREAD' }, again);
      assert.equal(h.tasks.peek(handle), undefined, 'nor without waiting');
    }
    const reader = h.tasks.watch({ plugins: [], handles: [], resumeToken: '', includeCurrent: true });
    void reader.next().then((event) => assert.notEqual(event?.kind, 'change', 'nor by Watch'));
    await h.clock.advance(10);
    reader.close();
    ENDS['a success with outputs']?.(h);
    await h.clock.advance(120_000);
    await asksAll(h, handle, 'its remote came back', state);
    assert.equal(h.plugin.count('create'), 2, 'of it and of the one that took its place');
    await h.stop();
    assert.deepEqual(h.faults, []);
  }
});

test('a create that is repeated for a success whose outputs gave way answers that success once it is read', async () => {
  const { h, state } = await gaveWay();
  ENDS['a success with outputs']?.(h);
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.deepEqual(told(task.state), told(state));
  await h.stop();
});
