import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type PhaseState, phaseState } from '../../src/model/phase-state.js';
import type { WatchReader } from '../../src/model/watch.js';
import { created, fail, type Harness, HINTS, held, literals, makeHarness, ok, settle, success } from './harness.js';
import { Machine } from './machine.js';

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

/** What the remote says of a job that was told as a success, when its outputs are to be read again. */
const UNLIKE: { readonly [what: string]: () => ReturnType<typeof fail> | ReturnType<typeof success> } = {
  'nothing, since it no longer has it': () => fail('not_found'),
  'an error for good': () => fail('permanent', { code: 'Gone' }),
  'nothing that can be read': () => fail('invalid'),
  'a failure': () => ok(phaseState('RETRYABLE_FAILURE', { reason: error.message, error })),
  'an abort': () => ok(phaseState('ABORTED')),
};

for (const [what, says] of Object.entries(UNLIKE)) {
  test(`a success whose outputs gave way stays one, without outputs, where its remote then says ${what}`, async () => {
    const { h, handle } = await gaveWay();
    const phases = new Set<string>();
    const reader = h.tasks.watch({ plugins: [], handles: [], resumeToken: '', includeCurrent: false });
    const watching = (async () => {
      for (let event = await reader.next(); event?.kind === 'change'; event = await reader.next()) {
        phases.add(event.change.task.state.phase);
      }
    })();
    h.plugin.on.get = says;
    const told = new Set<string>();
    for (let i = 0; i < 40; i++) {
      const asked = h.tasks.status(handle, HINTS, h.scope());
      told.add(
        await settle(h.clock, asked).then(
          ({ state }) => state.error?.code ?? state.phase,
          ({ code }) => code,
        ),
      );
      await h.clock.advance(15_000);
    }
    told.delete('OUTPUTS_UNREAD');
    assert.deepEqual([...told], ['OUTPUTS_LOST']);
    // A repeated create is another record than that of the handle, and reads the job by itself.
    const again = () => settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    let anew = await again().catch(({ code }) => code);
    for (let i = 0; anew === 'OUTPUTS_UNREAD' && i < 40; i++) {
      await h.clock.advance(15_000);
      anew = await again().catch(({ code }) => code);
    }
    const { task } = anew;
    for (const { state } of [
      task,
      h.tasks.peek(handle)!,
      await settle(h.clock, h.tasks.get(handle, HINTS, h.scope())),
    ]) {
      assert.deepEqual([state.phase, state.outputs.kind, state.error?.code], ['SUCCESS', 'none', 'OUTPUTS_LOST']);
    }
    assert.deepEqual([h.plugin.count('create'), h.plugin.count('delete')], [2, 0]);
    reader.close();
    await watching;
    assert.deepEqual([...phases], ['SUCCESS'], 'Watch tells nothing less either');
    await h.stop();
    assert.deepEqual(h.faults, []);
  });
}

test('a success whose outputs gave way is told as nothing less while its remote says that it runs again', async () => {
  const { h, handle, state } = await gaveWay();
  h.plugin.on.get = () => ok(phaseState('RUNNING'));
  for (const ask of ['status', 'get', 'status'] as const) {
    await assert.rejects(settle(h.clock, h.tasks[ask](handle, HINTS, h.scope())), { code: 'OUTPUTS_UNREAD' }, ask);
    await h.clock.advance(60_000);
  }
  ENDS['a success with outputs']?.(h);
  await h.clock.advance(120_000);
  await asksAll(h, handle, 'the remote said how it ended', state);
  await h.stop();
});

test('a success whose outputs gave way has nothing to cancel, and goes on answering its end after a Delete', async () => {
  const { h, handle, state } = await gaveWay();
  h.plugin.on.get = () => fail('transient');
  await assert.rejects(settle(h.clock, h.tasks.status(handle, HINTS, h.scope())), { code: 'OUTPUTS_UNREAD' });
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(60_000);
  assert.deepEqual([h.plugin.count('delete'), h.store.owed.size], [0, 0]);
  ENDS['a success with outputs']?.(h);
  await asksAll(h, handle, 'its remote came back', state);
  await h.stop();
});

test('what was told as a success is told as nothing less by the next run of the daemon', async () => {
  const machine = new Machine();
  const given = { finished: { maxCount: 1 } };
  const first = await machine.start({ ...given, warmUpMs: 60_000 });
  const { handle, state } = await ended(first, 'a success with outputs');
  const answered = held<ReturnType<typeof created>>();
  first.plugin.on.create = () => answered.promise;
  const early = await settle(first.clock, first.tasks.create(first.spec('b'), first.scope(3_000)));
  assert.equal(early.task.state.phase, 'WAITING_FOR_RESOURCES');
  answered.release(created('{"job":2}'));
  await first.clock.advance(120_000);
  await pushOut(first);
  first.plugin.on.get = () => fail('transient');
  await assert.rejects(settle(first.clock, first.tasks.create(first.spec('a'), first.scope())), {
    code: 'OUTPUTS_UNREAD',
  });
  await first.clock.advance(1_000);
  machine.kill();
  const second = await machine.start(given);
  second.plugin.on.get = () => fail('transient');
  for (let i = 0; i < 3; i++) {
    await assert.rejects(settle(second.clock, second.tasks.status(handle, HINTS, second.scope())), {
      code: 'OUTPUTS_UNREAD',
    });
    assert.equal(second.tasks.peek(handle), undefined);
    await second.clock.advance(5_000);
  }
  const { state: lost } = await settle(second.clock, second.tasks.status(early.handle, HINTS, second.scope()));
  assert.deepEqual([lost.phase, lost.error?.code], ['SUCCESS', 'OUTPUTS_LOST'], 'its handle says nothing of its job');
  ENDS['a success with outputs']?.(second);
  await second.clock.advance(120_000);
  await asksAll(second, handle, 'a restart', state);
  machine.kill();
});
