import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { type PhaseState, phaseState } from '../../src/model/phase-state.js';
import type { DeleteArgs, PluginOutcome } from '../../src/model/plugin-call.js';
import { type DeleteOrder, deleteOrder, type OwedDelete } from '../../src/store/owed-deletes.js';
import { noState } from '../../src/store/state-feed.js';
import type { TasksDeps } from '../../src/tasks/deps.js';
import { DeleteList } from '../../src/tasks/end/delete-list.js';
import { storeOf } from '../store/make-store.js';
import { identityOf } from '../support/identity.js';
import { fail, ok } from './harness.js';

const MINUTE = 60_000;
const OPTIONS = {
  deleteConcurrency: 64,
  retryInitialMs: 1_000,
  retryMaxMs: MINUTE,
  notFoundMinMs: 2 * MINUTE,
  visibilityGraceMs: MINUTE,
  deleteGraceMs: 60 * MINUTE,
};
const connection = { secrets: { key: 'hush' }, configs: {} };

type Answer = PluginOutcome<unknown> | Error;

/** Orders over a real store; `answers` are what deletes are answered in turn, `gets` the first reads; the last goes on. */
function listOf(
  answers: Answer[],
  given: { gets?: Answer[]; options?: Partial<typeof OPTIONS>; durable?: boolean } = {},
) {
  const { clock, store } = storeOf({ feed: { ...noState, durable: given.durable ?? false } });
  const calls: { readonly method: string; readonly args: DeleteArgs; readonly inMs: number }[] = [];
  const told: unknown[][] = [];
  const over: [OwedDelete, PhaseState][] = [];
  const startMs = clock.now();
  const around = { frozen: 0, missing: false, comes: false };
  const runtime = {
    gate: {
      call: async (method: string, args: DeleteArgs, { onSent }: { onSent?: (ms: number) => void }) => {
        calls.push({ method, args, inMs: clock.now() - startMs });
        onSent?.(1);
        const queue = method === 'get' ? (given.gets ?? []) : answers;
        const answer = queue.length > 1 ? queue.shift() : queue[0];
        if (answer instanceof Error) throw answer;
        return answer;
      },
    },
    refresher: { stats: () => ({ notFoundFrozen: around.frozen }) },
  };
  const note =
    (name: string) =>
    (...what: unknown[]) =>
      void told.push([name, ...what]);
  const deletes = new DeleteList({
    clock,
    store,
    random: () => 0.5,
    options: { ...OPTIONS, ...given.options },
    runtimes: { get: () => (around.missing ? undefined : runtime), comes: () => around.comes },
    events: {
      deleteOwed: note('owed'),
      deleteFailed: note('failed'),
      deleteFreed: note('freed'),
      deleteDone: note('done'),
      fault: (where: string, error: unknown) => told.push(['fault', where, String(error)]),
    },
  } as unknown as TasksDeps);
  deletes.onOver = (order, state) => void over.push([order, state]);
  const identity = identityOf('a', { createdAtMs: startMs - 60 * MINUTE, outputNames: ['o'] });
  const order = async (parts: Partial<DeleteOrder> = {}, createdMs = 60 * MINUTE) => {
    const of = { id: 'a-1', identity: { ...identity, createdAtMs: startMs - createdMs }, meta: Buffer.from('{}') };
    const made = deleteOrder({ ...of, outputPrefix: 's3://o', connection: undefined, connectionUntilMs: 0 }, 'r')!;
    store.owed.add({ ...made, ...parts }, clock.now());
    await deletes.carryOut('a-1');
    await clock.advance(0);
  };
  const owed = () => store.owed.get('a-1');
  const nextInMs = () => (owed()?.nextAttemptMs ?? 0) - clock.now();
  const times = (method = 'delete') => calls.filter((call) => call.method === method).map(({ inMs }) => inMs);
  const isDone = async () => {
    let done = false;
    void deletes.done('a-1').then(() => {
      done = true;
    });
    await clock.advance(0);
    return done;
  };
  return { clock, store, deletes, calls, told, over, around, order, owed, nextInMs, times, isDone };
}

test('a try that fails says when the next one is, which is made then and not before; the one that works ends it', async () => {
  const { clock, deletes, told, order, owed, nextInMs, times, isDone } = listOf([
    fail('transient'),
    fail('unknown'),
    ok({}),
  ]);
  await order();
  assert.deepEqual([nextInMs(), owed()?.attempts, owed()?.lastError?.code], [1_000, 1, 'TRANSIENT']);
  await clock.advance(999);
  assert.deepEqual([times(), await isDone()], [[0], false]);
  await clock.advance(1);
  assert.deepEqual([nextInMs(), owed()?.attempts, owed()?.lastError?.code], [2_000, 2, 'UNKNOWN']);
  await clock.advance(2_000);
  assert.deepEqual([times(), owed(), await isDone(), clock.pending], [[0, 1_000, 3_000], undefined, true, 0]);
  assert.deepEqual(told, [
    ['owed', 'a-1', 'demo', 'r'],
    ['failed', 'a-1', 'demo', 'TRANSIENT', 'transient happened', 1],
    ['failed', 'a-1', 'demo', 'UNKNOWN', 'unknown happened', 2],
    ['done', 'a-1', 'demo', 3],
  ]);
  assert.equal(deletes.reads('a-1'), false);
});

test('who asks for a later try has it, and a shorter time than the back-off is none', async () => {
  for (const [retryAfterMs, inMs] of [
    [500, 1_000],
    [7_000, 7_000],
  ] as const) {
    const { order, nextInMs } = listOf([fail('throttled', { retryAfterMs })]);
    await order();
    assert.equal(nextInMs(), inMs);
  }
});

test('what a try is called with: the job, where its outputs go, the key of its attempt, why, and secrets while they may be kept', async () => {
  const { clock, calls, order, owed } = listOf([fail('transient'), fail('transient')]);
  await order({ connection, connectionUntilMs: clock.now() + 500 });
  assert.deepEqual(calls[0]?.args, {
    meta: Buffer.from('{}'),
    outputPrefix: 's3://o',
    outputNames: ['o'],
    idempotencyKey: 'a-1',
    connection,
    reason: 'r',
  });
  assert.deepEqual([owed()?.needsCredentials, owed()?.connection], [false, connection]);
  await clock.advance(1_000);
  assert.equal(calls[1]?.args.connection, undefined);
  assert.deepEqual([owed()?.needsCredentials, owed()?.connection], [true, undefined]);
});

test('an order that is owed again after it was carried out is carried out again, and one that is under way is not begun twice', async () => {
  const { clock, deletes, times, order, owed } = listOf([ok({}), fail('transient'), ok({})]);
  await order();
  assert.equal(owed(), undefined);
  await order();
  await deletes.carryOut('a-1');
  await clock.advance(0);
  assert.deepEqual(times(), [0, 0]);
  await clock.advance(MINUTE);
  assert.deepEqual([times(), owed()], [[0, 0, 1_000], undefined]);
  await deletes.carryOut('a-1');
  assert.deepEqual(times().length, 3, 'nothing is owed any more');
});

test('a job that is not found frees the token and whoever waits at once, and is done when nothing else was answered for the least time', async () => {
  const { clock, store, order, owed, nextInMs, times, isDone, told } = listOf([fail('not_found')]);
  const freed: string[] = [];
  store.listen('demo', { left: () => {}, asked: () => {}, freed: (id) => void freed.push(id) });
  await order();
  assert.deepEqual([freed, await isDone(), owed()?.holdsToken], [['a-1'], true, false]);
  assert.deepEqual([owed()?.notFound?.tries, nextInMs(), owed()?.lastError?.code], [1, 20_000, 'NOT_FOUND']);
  await clock.advance(20_000);
  assert.deepEqual([owed()?.notFound?.tries, nextInMs()], [2, 40_000]);
  await clock.advance(40_000);
  assert.deepEqual([owed()?.notFound?.tries, nextInMs()], [3, 60_000]);
  await clock.advance(60_000);
  assert.deepEqual([owed(), times()], [undefined, [0, 20_000, MINUTE, 2 * MINUTE]]);
  assert.deepEqual(told.at(-1), ['done', 'a-1', 'demo', 4]);
});

test('three tries over just the least time do, and two do not', async () => {
  const three = listOf([fail('not_found')], { options: { notFoundMinMs: 3_000 } });
  await three.order();
  await three.clock.advance(3_000);
  assert.deepEqual([three.times(), three.owed()], [[0, 1_000, 3_000], undefined]);
  const two = listOf([fail('not_found')], { options: { notFoundMinMs: 1_000 } });
  await two.order();
  await two.clock.advance(2_999);
  assert.equal(two.owed()?.notFound?.tries, 2);
});

test('a job that is known to be over is done at the first answer that there is none, and no wave lets one go', async () => {
  const over = listOf([fail('not_found')]);
  await over.order({ jobOver: true });
  assert.equal(over.owed(), undefined);
  const wave = listOf([fail('not_found')], { options: { notFoundMinMs: 3_000 } });
  wave.around.frozen = 1;
  await wave.order();
  await wave.clock.advance(60 * MINUTE);
  assert.ok((wave.owed()?.notFound?.tries ?? 0) > 10);
  wave.around.frozen = 0;
  await wave.clock.advance(2 * MINUTE);
  assert.equal(wave.owed(), undefined);
});

test('an answer that says nothing of the job breaks a row of those that do not find it, and one that was throttled does not', async () => {
  for (const [between, tries] of [
    ['transient', 1],
    ['throttled', 2],
  ] as const) {
    const { clock, order, owed } = listOf([fail('not_found'), fail(between), fail('not_found'), fail('not_admitted')]);
    await order();
    await clock.advance(20_000);
    assert.equal(owed()?.notFound?.tries, between === 'transient' ? undefined : 1);
    await clock.advance(2_000);
    assert.equal(owed()?.notFound?.tries, tries);
  }
});

test('tries that fail use up the grace from one to the next, and the token is given back at its end, once', async () => {
  const { clock, order, owed, told } = listOf([fail('transient')], { options: { deleteGraceMs: 3_000 } });
  await order();
  assert.deepEqual([owed()?.failingForMs, owed()?.holdsToken], [0, true]);
  await clock.advance(1_000);
  assert.deepEqual([owed()?.failingForMs, owed()?.holdsToken], [1_000, true]);
  await clock.advance(2_000);
  assert.deepEqual([owed()?.failingForMs, owed()?.holdsToken], [3_000, false]);
  await clock.advance(10 * MINUTE);
  assert.deepEqual(
    told.filter(([what]) => what === 'freed'),
    [['freed', 'a-1', 'demo', 3_000]],
  );
  assert.ok(owed() !== undefined, 'it stays owed');
});

test('time to and from a throttle is none in which tries failed', async () => {
  const { clock, order, owed } = listOf([fail('transient'), fail('throttled'), fail('transient'), fail('transient')]);
  await order();
  await clock.advance(3_000);
  assert.deepEqual([owed()?.attempts, owed()?.failingForMs], [3, 0]);
  await clock.advance(4_000);
  assert.deepEqual([owed()?.attempts, owed()?.failingForMs], [4, 4_000]);
});

test('a job of which nobody knows whether it is over is read first, and cancelled only if it is not', async () => {
  const readFirst = Buffer.from('handle');
  const end = phaseState('SUCCESS');
  const over = listOf([ok({})], { gets: [ok(end)] });
  await over.order({ readFirst });
  assert.deepEqual([over.times('get'), over.times(), over.owed()], [[0], [], undefined]);
  assert.deepEqual(
    over.over.map(([{ id }, state]) => [id, state]),
    [['a-1', end]],
  );
  for (const answer of [ok(phaseState('RUNNING')), fail('transient')]) {
    const runs = listOf([ok({})], { gets: [answer] });
    await runs.order({ readFirst });
    assert.deepEqual([runs.times('get'), runs.times(), runs.owed(), runs.over], [[0], [0], undefined, []]);
  }
});

test('a job that is to be read first and not found is believed to be gone once it is old enough to be seen', async () => {
  const readFirst = Buffer.from('handle');
  for (const [ageMs, deletes] of [
    [MINUTE - 1, [0]],
    [MINUTE, []],
  ] as const) {
    const { order, times, owed } = listOf([fail('transient')], { gets: [fail('not_found')] });
    await order({ readFirst }, ageMs);
    assert.deepEqual(times(), deletes);
    assert.equal(owed()?.notFound?.tries, deletes.length === 0 ? 1 : undefined);
  }
});

test('the first read of an order is still to come until a try was made of it', async () => {
  const { deletes, store, around, order } = listOf([ok({})], { gets: [fail('transient')] });
  around.missing = true;
  store.owed.add({ ...order0(), readFirst: Buffer.from('h') }, 1);
  assert.equal(deletes.reads('a-1'), true);
  store.owed.delete('a-1');
  store.owed.add(order0(), 1);
  assert.deepEqual([deletes.reads('a-1'), deletes.reads('nobody')], [false, false]);
  store.owed.delete('a-1');
  await order({ readFirst: Buffer.from('h') });
  assert.equal(deletes.reads('a-1'), false, 'it was tried');
});

function order0(): DeleteOrder {
  const of = { id: 'a-1', identity: identityOf('a'), meta: Buffer.from('{}'), outputPrefix: '' };
  return deleteOrder({ ...of, connection: undefined, connectionUntilMs: 0 }, 'r')!;
}

test('a fault of the daemon in a try is told, and the try is made again, as is one of a plugin that does not run here', async () => {
  const faulty = listOf([new Error('bug'), ok({})]);
  await faulty.order();
  assert.deepEqual([faulty.owed()?.lastError?.code, faulty.nextInMs()], ['INTERNAL', 1_000]);
  assert.deepEqual(
    faulty.told.find(([what]) => what === 'fault'),
    ['fault', 'delete', 'Error: bug'],
  );
  await faulty.clock.advance(1_000);
  assert.equal(faulty.owed(), undefined);
  const missing = listOf([ok({})]);
  missing.around.missing = true;
  await missing.order();
  assert.deepEqual([missing.owed()?.lastError?.code, missing.owed()?.attempts], ['PLUGIN_NOT_SERVING', 0]);
  missing.around.missing = false;
  await missing.clock.advance(MINUTE);
  assert.equal(missing.owed(), undefined);
});

test('an order whose plugin is still to be loaded waits for it, and is begun once by then', async () => {
  const { clock, deletes, around, order, owed, times } = listOf([fail('transient'), ok({})]);
  around.comes = true;
  await order();
  await clock.advance(MINUTE);
  assert.deepEqual(times(), []);
  around.comes = false;
  for (let i = 0; i < 2; i++) await deletes.carryOut('a-1');
  await clock.advance(0);
  assert.deepEqual(times(), [MINUTE]);
  await clock.advance(MINUTE);
  assert.equal(owed(), undefined);
});

test('after a stop nothing is sent any more, and new orders are refused where no state keeps them', async () => {
  for (const durable of [false, true]) {
    const { clock, deletes, order, owed, times } = listOf([fail('transient')], { durable });
    deletes.assertTaken();
    await order();
    await deletes.stop();
    await clock.advance(10 * MINUTE);
    assert.deepEqual([times(), owed()?.attempts, clock.pending], [[0], 1, 0]);
    if (durable) deletes.assertTaken();
    else {
      assert.throws(
        () => deletes.assertTaken(),
        (error) => HostError.is(error) && error.code === 'DAEMON_DRAINING' && error.retryAfterMs === 5_000,
      );
    }
  }
});
