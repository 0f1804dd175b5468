import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createDeferred } from '../../src/lib/deferred.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { CreateArgs, PluginOutcome } from '../../src/model/plugin-call.js';
import type { TaskPayload } from '../../src/model/task-record.js';
import type { LaneRun } from '../../src/runtime/create-lane.js';
import { noState } from '../../src/store/state-feed.js';
import type { UnclearCreate } from '../../src/store/unclear-creates.js';
import type { TasksDeps } from '../../src/tasks/deps.js';
import type { DeleteList } from '../../src/tasks/end/delete-list.js';
import { UnclearLooks } from '../../src/tasks/end/unclear-looks.js';
import { insertTask, storeOf, unclearCreate } from '../store/make-store.js';
import { created, fail } from './harness.js';

const MINUTE = 60_000;
const OPTIONS = { unclearLooks: 3, maxUnclear: 10, maxUnclearBytes: 1e6 };
const connection = { secrets: { key: 'hush' }, configs: {} };
const payload: TaskPayload = {
  template: Buffer.from('t'),
  inputs: undefined,
  inputPrefix: '',
  metadata: {} as never,
  maxDatasetSizeBytes: 0,
};
const error = { code: 'X', message: 'm' };

type Answer = PluginOutcome<unknown> | Promise<PluginOutcome<unknown>> | Error;

/** Looks over a real store; `answers` are what the creates are answered in turn, the last goes on. */
function looksOf(answers: Answer[], given: { options?: Partial<typeof OPTIONS>; durable?: boolean } = {}) {
  const { clock, store } = storeOf({ feed: { ...noState, durable: given.durable ?? false } });
  const told: string[] = [];
  const calls: { readonly args: CreateArgs; readonly inMs: number; readonly signal: AbortSignal }[] = [];
  const seen: unknown[] = [];
  const startMs = clock.now();
  const around = { kind: 'async' as 'async' | undefined, findsByKey: true, holds: false, passes: true, sent: true };
  const bounds: (number | undefined)[] = [];
  const plugin = {
    get kind() {
      return around.kind;
    },
    get features() {
      return { findsByKey: around.findsByKey };
    },
  };
  let served = true;
  const runtime = {
    plugin,
    creates: {
      get holds() {
        return around.holds;
      },
      pass: async ({ description: id = '' }: LaneRun, repeats: boolean) => {
        seen.push(['pass', id, repeats, store.unclear.get(id)?.nextLookMs !== undefined]);
        return around.passes;
      },
      leave: ({ description }: LaneRun) => void seen.push(['leave', description]),
      send: (run: LaneRun, signal: AbortSignal, call: (signal: AbortSignal, sent: () => void) => Promise<unknown>) =>
        call(signal, () => void seen.push(['sent', run.description])),
    },
    gate: {
      call: async (
        _method: string,
        args: CreateArgs,
        options: { signal: AbortSignal; onSent(): void; beforeSend?: (ms: number) => Promise<void> },
      ) => {
        calls.push({ args, inMs: clock.now() - startMs, signal: options.signal });
        seen.push(['next look', store.unclear.get(args.idempotencyKey)?.nextLookMs]);
        await options.beforeSend?.(7_000);
        bounds.push(store.unclear.get(args.idempotencyKey)?.lookBoundMs);
        if (around.sent) options.onSent();
        const answer = answers.length > 1 ? answers.shift() : answers[0];
        if (answer instanceof Error) throw answer;
        return answer;
      },
    },
  };
  const carried: string[] = [];
  const deletes = { carryOut: async (id: string) => void carried.push(id) } as unknown as DeleteList;
  const looks = new UnclearLooks(
    {
      clock,
      store,
      random: () => 0.5,
      options: { ...OPTIONS, ...given.options },
      runtimes: { get: () => (served ? runtime : undefined) },
      events: {
        createUnclear: (id: string, plugin: string, code: string) => told.push(`unclear ${id} ${plugin} ${code}`),
        createCleared: (id: string, _plugin: string, job: string) => told.push(`cleared ${id} ${job}`),
        createLeft: (id: string, _plugin: string, because: string) => told.push(`left ${id} ${because}`),
        fault: (where: string, fault: unknown) => told.push(`fault ${where} ${fault}`),
      },
    } as unknown as TasksDeps,
    deletes,
  );
  const add = (key: string, parts: Parameters<typeof insertTask>[2] = {}) => {
    const task = insertTask(store, key, { payload, ...parts });
    looks.add(task, error);
    return task;
  };
  const resumed = (parts: Partial<UnclearCreate>) => {
    const args = { ...payload, idempotencyKey: 'a-1', outputPrefix: '', connection: undefined };
    store.unclear.add(unclearCreate('a', { args, ...parts }));
    looks.resume('a-1', 'demo');
    return nextInMs('a-1');
  };
  const entry = (id: string) => store.unclear.get(id);
  const nextInMs = (id: string) => (entry(id)?.nextLookMs ?? 0) - clock.now();
  const times = () => calls.map(({ inMs }) => inMs);
  const serves = (does: boolean) => {
    served = does;
  };
  return {
    clock,
    store,
    looks,
    told,
    calls,
    seen,
    around,
    bounds,
    carried,
    add,
    resumed,
    entry,
    nextInMs,
    times,
    serves,
  };
}

test('looks come after one, four and sixteen minutes, each says when the next is, and the last leaves it to the operator', async () => {
  const { clock, add, entry, nextInMs, times, told, seen } = looksOf([fail('transient')]);
  add('a');
  assert.equal(nextInMs('a-1'), MINUTE);
  await clock.advance(MINUTE);
  assert.deepEqual([times(), entry('a-1')?.looks, nextInMs('a-1')], [[MINUTE], 1, 4 * MINUTE]);
  assert.equal(entry('a-1')?.lastError.code, 'TRANSIENT');
  await clock.advance(4 * MINUTE);
  assert.deepEqual([entry('a-1')?.looks, nextInMs('a-1')], [2, 16 * MINUTE]);
  await clock.advance(16 * MINUTE);
  assert.deepEqual(
    [times(), entry('a-1')?.leftBecause],
    [[MINUTE, 5 * MINUTE, 21 * MINUTE], '3 looks did not find out'],
  );
  await clock.advance(600 * MINUTE);
  assert.deepEqual([times().length, clock.pending], [3, 0]);
  assert.deepEqual(told, ['unclear a-1 demo X', 'left a-1 3 looks did not find out']);
  assert.deepEqual(seen.slice(0, 4), [
    ['pass', 'a-1', true, true],
    ['next look', undefined],
    ['sent', 'a-1'],
    ['leave', 'a-1'],
  ]);
});

test('a call that was throttled, or that failed while creates are held up, is no look; the remote says when to come again', async () => {
  const { clock, around, add, entry, nextInMs } = looksOf([
    fail('throttled', { retryAfterMs: 9 * MINUTE }),
    fail('transient'),
  ]);
  add('a');
  await clock.advance(MINUTE);
  assert.deepEqual([entry('a-1')?.looks, nextInMs('a-1')], [0, 9 * MINUTE]);
  around.holds = true;
  await clock.advance(9 * MINUTE);
  assert.deepEqual([entry('a-1')?.looks, nextInMs('a-1')], [0, MINUTE]);
  around.holds = false;
  await clock.advance(MINUTE);
  assert.equal(entry('a-1')?.looks, 1);
});

test('what is found is cancelled, or is over; the same task may be unclear again after that', async () => {
  for (const [answer, job, owed] of [
    [created('{"job":1}'), 'cancelled', true],
    [created('{"job":1}', phaseState('RUNNING'), true), 'cancelled', true],
    [created('{"job":1}', phaseState('SUCCESS'), false), 'cancelled', true],
    [created('{"job":1}', phaseState('SUCCESS'), true), 'over', false],
  ] as const) {
    const { clock, store, resumed, entry, told, carried, times, looks } = looksOf([answer]);
    resumed({});
    await clock.advance(MINUTE);
    assert.deepEqual([entry('a-1'), store.owed.has('a-1'), carried], [undefined, owed, ['a-1']]);
    assert.deepEqual(told, [`cleared a-1 ${job}`]);
    resumed({});
    looks.resume('a-1', 'demo');
    await clock.advance(MINUTE);
    assert.equal(times().length, 2);
  }
});

test('what cannot be looked for is left at once, and says why', async () => {
  const lacking = looksOf([fail('transient')]);
  insertTask(lacking.store, 'b');
  lacking.looks.add(lacking.store.byId('b-1')!, error);
  assert.equal(lacking.entry('b-1')?.leftBecause, 'its inputs are no longer kept');
  const blind = looksOf([fail('transient')]);
  blind.around.findsByKey = false;
  blind.add('a');
  assert.equal(blind.entry('a-1')?.leftBecause, 'its plugin cannot find a job by its key');
  const never = looksOf([fail('transient')], { options: { unclearLooks: 0 } });
  never.add('a');
  assert.equal(never.entry('a-1')?.leftBecause, 'tasks.unclearCreateLooks is 0');
  const absent = looksOf([fail('transient')]);
  absent.serves(false);
  absent.add('a');
  assert.equal(absent.entry('a-1')?.leftBecause, undefined, 'who does not run here is asked when it does');
  assert.equal(absent.nextInMs('a-1'), MINUTE);
});

test('the inputs of all that is looked for may take what they may to the last byte', () => {
  const measure = looksOf([fail('transient')]);
  measure.add('a');
  const { bytes } = measure.store.unclear;
  for (const [maxUnclearBytes, left] of [
    [bytes, undefined],
    [bytes - 1, 'the list holds too many inputs already'],
  ] as const) {
    const { add, entry } = looksOf([fail('transient')], { options: { maxUnclearBytes } });
    add('a');
    assert.equal(entry('a-1')?.leftBecause, left);
  }
});

test('the oldest gives way to one that comes when the list is full, is looked for no more, and may come again', async () => {
  const { clock, store, looks, add, told, times, resumed } = looksOf([fail('transient')], {
    options: { maxUnclear: 2 },
  });
  for (const key of ['a', 'b']) add(key);
  const timers = clock.pending;
  add('c');
  assert.deepEqual([clock.pending, [...store.unclear.listed()].map(({ id }) => id)], [timers, ['b-1', 'c-1']]);
  assert.equal(told.at(-2), 'left a-1 later ones took its place in the list');
  store.unclear.delete('b-1');
  resumed({});
  await clock.advance(MINUTE);
  assert.equal(times().length, 2, 'the one that came again and the last');
  await looks.stop();
});

test('a look that an earlier run made, or the create of a deleted task, is waited for to its bound, and once', async () => {
  const cases: [Partial<UnclearCreate>, number][] = [
    [{}, MINUTE],
    [{ looks: 1 }, 4 * MINUTE],
    [{ sentBoundMs: 7_777 }, 7_777],
    [{ sentBoundMs: 7_777, looks: 1 }, 20_000],
    [{ sentBoundMs: 33_333, looks: 1 }, 33_333],
    [{ lookBoundMs: 99_999 }, 99_999],
    [{ lookBoundMs: 5 }, MINUTE],
    [{ sentBoundMs: 7_777, lookBoundMs: 8_888 }, 8_888],
  ];
  for (const [parts, inMs] of cases) {
    const { clock, looks, resumed, times } = looksOf([fail('transient')]);
    assert.equal(resumed(parts), inMs, JSON.stringify(parts));
    looks.resume('a-1', 'demo');
    await clock.advance(inMs);
    assert.deepEqual(times(), [inMs]);
  }
});

test('while a look may be under way the list says so to the next run, where there is a state', async () => {
  for (const durable of [true, false]) {
    const { clock, add, entry, bounds } = looksOf([fail('transient')], { durable });
    add('a');
    await clock.advance(MINUTE);
    assert.deepEqual([bounds, entry('a-1')?.lookBoundMs], [[durable ? 7_000 : undefined], undefined]);
  }
});

test('a look comes again where its plugin did not come up, or creates were held up before it was sent', async () => {
  const { clock, around, add, entry, nextInMs, times, seen } = looksOf([fail('transient')]);
  add('a');
  around.kind = undefined;
  await clock.advance(MINUTE);
  assert.deepEqual([times(), nextInMs('a-1'), entry('a-1')?.looks], [[], MINUTE, 0]);
  around.kind = 'async';
  around.passes = false;
  await clock.advance(MINUTE);
  assert.deepEqual([times(), nextInMs('a-1'), seen.at(-1)], [[], MINUTE, ['leave', 'a-1']]);
  around.passes = true;
  around.findsByKey = false;
  await clock.advance(MINUTE);
  assert.deepEqual([times(), entry('a-1')?.leftBecause], [[], 'its plugin cannot find a job by its key']);
});

test('a look goes with the secrets of its create while they may be kept, and none is made without them', async () => {
  const { clock, add, calls, entry } = looksOf([fail('transient')]);
  add('a', { connection, connectionUntilMs: clock.now() + 2 * MINUTE });
  await clock.advance(MINUTE);
  assert.equal(calls[0]?.args.connection, connection);
  await clock.advance(4 * MINUTE);
  assert.deepEqual(
    [calls.length, entry('a-1')?.leftBecause],
    [1, 'the secrets that came with the create are no longer kept'],
  );
});

test('a stop takes back a look that is not sent, and waits for one that is', async () => {
  for (const sent of [true, false]) {
    const answer = createDeferred<PluginOutcome<unknown>>();
    const { clock, looks, around, add, calls } = looksOf([answer.promise]);
    around.sent = sent;
    add('a');
    await clock.advance(MINUTE);
    let stopped = false;
    const stop = looks.stop().then(() => {
      stopped = true;
    });
    await clock.advance(0);
    assert.deepEqual([calls[0]?.signal.aborted, stopped], [!sent, false]);
    answer.resolve(fail('cancelled'));
    await stop;
    await clock.advance(60 * MINUTE);
    assert.equal(calls.length, 1);
  }
});

test('a task that was deleted before its plugin was loaded is listed with what may still reach the remote, and looked for from then on', async () => {
  const { clock, store, looks, told, entry, times } = looksOf([created()]);
  const task = insertTask(store, 'a', { payload });
  store.sending(task, 8_000);
  looks.deletedEarly(task, 'deleted');
  await clock.advance(MINUTE);
  assert.deepEqual([times(), told, entry('a-1')?.sentBoundMs], [[], [], 8_000]);
  assert.deepEqual(entry('a-1')?.lastError, {
    code: 'CREATE_LOST',
    message: 'deleted; an earlier run of the daemon made the create call',
  });
  looks.resume('a-1', 'demo');
  await clock.advance(8_000);
  assert.equal(times().length, 1);
});

test('the end of a run without a state tells of each job that is still looked for, and of none that is kept or left', () => {
  for (const durable of [false, true]) {
    const { store, looks, told, add } = looksOf([fail('transient')], { durable });
    const task = add('a');
    store.unclear.add(unclearCreate('left', { leftBecause: 'why' }));
    told.length = 0;
    looks.interrupted(task, error);
    looks.tellLeft();
    const line = 'left a-1 the daemon stops and keeps no state';
    assert.deepEqual(told, durable ? [] : [line, line]);
  }
});

test('a fault of the daemon in a look is told, and the look is made again', async () => {
  const { clock, add, entry, told, nextInMs } = looksOf([new Error('bug'), created()]);
  add('a');
  await clock.advance(MINUTE);
  assert.deepEqual(
    [entry('a-1')?.lastError.code, nextInMs('a-1'), told.at(-1)],
    ['INTERNAL', MINUTE, 'fault unclear create Error: bug'],
  );
  await clock.advance(MINUTE);
  assert.equal(entry('a-1'), undefined);
});
