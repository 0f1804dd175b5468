import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Evidence, kindOf, type ProbeKind, RemoteState, type Scope } from '../../src/refresh/remote-state.js';
import { fails, type Outcome, running } from './fake-reader.js';

const minute = 60_000;
const hour = 60 * minute;
const now = 1_700_000_000_000;
const options = { random: () => 0.5, outageGraceMs: hour, probeMaxMs: minute, silenceMs: minute };
/** Two healthy tasks of one batch key. */
const two: Scope = { tasks: 2, failing: 0, telling: 2, keys: 1 };

/** One task of a call: `kind` is how its read failed, undefined that it did not. */
interface Told {
  readonly id: string;
  readonly key?: string;
  readonly kind?: Parameters<typeof fails>[0] | undefined;
  readonly task?: Partial<Evidence['task']>;
}

const evidence = ({ id, key = '', kind = 'transient', task }: Told, outcome: Outcome = fails(kind)): Evidence => ({
  id,
  batchKey: key,
  outcome,
  task: { failingSinceMs: undefined, outvoted: 0, lastReadAtMs: 1, ...task },
});
const answer = (id: string): Evidence => evidence({ id }, running);
const failed = (id: string, more: Partial<Told> = {}): Evidence => evidence({ id, ...more });

/** Which of these calls, one after the other a millisecond apart, brings the remote down; 0 where none does. */
function downBy(calls: readonly (readonly Evidence[])[], scope: Scope = two): number {
  const state = new RemoteState(options);
  const entered = calls.map((call, i) => state.learn(call, scope, now + i));
  const at = entered.indexOf('down');
  assert.equal(state.downSinceMs, at < 0 ? undefined : now + at);
  assert.deepEqual(entered.filter((one) => one === 'down').length, at < 0 ? 0 : 1, 'it is told once');
  return at + 1;
}

const times = (n: number, call: (i: number) => readonly Evidence[]) => Array.from({ length: n }, (_, i) => call(i));
const byTurns = (...ids: string[]) => times(6, (i) => [failed(ids[i % ids.length] as string)]);
const ofKeys = (n: number) => times(8, (i) => [failed(`t${i}`, { key: `K${i % n}` })]);

/** What brings a remote down, by how many calls. */
const DOWN: readonly (readonly [what: string, calls: readonly (readonly Evidence[])[], scope: Scope, by: number])[] = [
  ['three calls in a row, of two tasks', byTurns('a', 'b'), two, 3],
  ['three calls of lists', times(6, () => [failed('a'), failed('b')]), two, 3],
  ['not calls of one task where others may tell', byTurns('a'), two, 0],
  ['calls of one task that alone may tell', byTurns('a'), { ...two, telling: 1 }, 3],
  ['calls of a task where none may tell', byTurns('a'), { ...two, telling: 0 }, 3],
  [
    'not what may be the fault of the only task',
    times(6, () => [failed('a', { kind: 'unknown' })]),
    { ...two, telling: 1 },
    0,
  ],
  [
    'not where one failure of several may be',
    times(6, (i) => [failed('a', { kind: i === 1 ? 'unknown' : 'deadline' })]),
    { ...two, telling: 1 },
    0,
  ],
  ['what may be the fault of a task, of two', times(6, (i) => [failed(`t${i % 2}`, { kind: 'unknown' })]), two, 3],
  ['not failures that say nothing of a remote', times(6, (i) => [failed(`t${i}`, { kind: 'process_died' })]), two, 0],
  [
    'nor between those that do: they break no row',
    [
      [failed('a')],
      [failed('b', { kind: 'throttled' })],
      [failed('b')],
      [failed('a', { kind: 'not_found' })],
      [failed('a')],
    ],
    two,
    5,
  ],
  ['an answer begins the row anew', [[failed('a')], [failed('b')], [answer('a')], ...byTurns('a', 'b')], two, 6],
  ['with the tasks of it', [[failed('b')], [answer('b')], ...byTurns('a')], two, 0],
  ['and the kinds', [[failed('a', { kind: 'unknown' })], [answer('a')], ...byTurns('a')], { ...two, telling: 1 }, 5],
  [
    'a refusal is an answer',
    [[failed('a')], [failed('b')], [failed('a', { kind: 'permanent' })], ...byTurns('a', 'b')],
    two,
    6,
  ],
  ['a list in which one is answered is an answer', times(6, () => [failed('a'), answer('b')]), two, 0],
  ['every batch key of two', ofKeys(2), { ...two, keys: 2 }, 3],
  ['every batch key of four', ofKeys(4), { ...two, keys: 4 }, 4],
  ['not fewer keys than there are', ofKeys(3), { ...two, keys: 4 }, 0],
  ['five keys of many', ofKeys(8), { ...two, keys: 100 }, 5],
  ['not four keys of many', ofKeys(4), { ...two, keys: 100 }, 0],
  [
    'keys of an earlier row do not count',
    [[failed('a', { key: 'A' })], [answer('b')], ...times(6, (i) => [failed(`t${i}`, { key: 'B' })])],
    { ...two, keys: 2 },
    0,
  ],
];

for (const [what, calls, scope, by] of DOWN) {
  test(`what brings a remote down: ${what}`, () => assert.equal(downBy(calls, scope), by));
}

test('a remote of whose tasks one alone is read goes down by it once the others were silent long enough, by what an outage looks like', () => {
  for (const [kind, down] of [
    ['transient', true],
    ['deadline', true],
    ['unknown', false],
  ] as const) {
    const state = new RemoteState(options);
    for (const atMs of [0, 10, 20, minute - 1])
      assert.equal(state.learn([failed('a', { kind })], two, atMs), undefined);
    assert.equal(state.learn([failed('a', { kind })], two, minute), down ? 'down' : undefined);
  }
  const early = new RemoteState(options);
  assert.equal(early.learn([failed('a')], two, 0), undefined);
  assert.equal(early.learn([failed('a')], two, 2 * minute), undefined, 'three calls all the same');
  assert.equal(early.learn([failed('a')], two, 2 * minute), 'down');
});

test('the state counts its grace from the first failure, and stands still no longer than the grace', () => {
  const state = new RemoteState({ ...options, outageGraceMs: 1_000 });
  assert.deepEqual([state.failingSinceMs, state.frozen(100), state.frozenTotalMs(100)], [undefined, false, 0]);
  state.learn([failed('a')], two, 100);
  state.learn([failed('b')], two, 500);
  assert.deepEqual([state.failingSinceMs, state.frozen(500), state.frozenTotalMs(500)], [undefined, false, 0]);
  assert.equal(state.learn([failed('a')], two, 900), 'down');
  assert.deepEqual([state.downSinceMs, state.failingSinceMs], [900, 100]);
  assert.deepEqual([state.frozen(1_099), state.frozen(1_100)], [true, false]);
  assert.deepEqual([state.frozenTotalMs(1_000), state.frozenTotalMs(9_000)], [900, 1_000]);
});

test('the time that stood still adds up over outages, and none is added between them', () => {
  const state = new RemoteState(options);
  const outage = (fromMs: number, toMs: number) => {
    for (const ms of [0, 1, 2]) state.learn([failed(`t${ms % 2}`)], two, fromMs + ms);
    assert.equal(state.learn([answer('t0')], two, toMs), 'up');
  };
  outage(1_000, 5_000);
  assert.equal(state.frozenTotalMs(9_000), 4_000);
  assert.deepEqual([state.downSinceMs, state.failingSinceMs, state.failure], [undefined, undefined, undefined]);
  outage(10_000, 12_000);
  assert.equal(state.frozenTotalMs(99_000), 6_000);
  outage(100_000, 100_000 + 2 * hour);
  assert.equal(state.frozenTotalMs(9 * hour), 6_000 + hour);
});

test('who answered last and when is known, also of a list and of a remote that was up', () => {
  const state = new RemoteState(options);
  assert.deepEqual([state.answeredAtMs, state.answeredBy], [Number.NEGATIVE_INFINITY, undefined]);
  assert.equal(state.learn([failed('a'), answer('b'), answer('c')], two, 7), undefined, 'up is told where it was down');
  assert.deepEqual([state.answeredAtMs, state.answeredBy], [7, 'b']);
  state.learn([failed('a')], two, 8);
  assert.deepEqual([state.answeredAtMs, state.answeredBy], [7, 'b']);
});

test('the last failure that counted stands for the outage', () => {
  const state = new RemoteState(options);
  for (const [i, kind] of (['transient', 'deadline', 'unknown'] as const).entries()) {
    state.learn([failed('a', { kind }), failed('b', { kind })], two, i);
    assert.equal(state.failure?.kind, kind);
  }
});

test('an outage without a task left to tell of it is over without an answer, and its time counts', () => {
  const state = new RemoteState(options);
  for (const i of [0, 1, 2]) state.learn([failed(`t${i % 2}`)], two, i);
  state.forget(50);
  assert.deepEqual([state.downSinceMs, state.answeredBy, state.frozenTotalMs(60)], [undefined, undefined, 50]);
});

test('a task that failed before the remote last answered is no evidence while at most half of all fail, and none once outvoted', () => {
  const down = (task: Partial<Evidence['task']>, failing: number) => {
    const state = new RemoteState(options);
    const scope = { tasks: 4, failing, telling: 4, keys: 1 };
    state.learn([answer('c')], scope, 100);
    for (const [i, id] of ['a', 'b', 'a', 'b'].entries()) state.learn([failed(id, { task })], scope, 200 + i);
    return state.downSinceMs !== undefined;
  };
  assert.equal(down({ failingSinceMs: 50 }, 2), false);
  assert.equal(down({ failingSinceMs: 100 }, 2), false, 'in the moment of the answer');
  assert.equal(down({ failingSinceMs: 50 }, 3), true, 'more than half');
  assert.equal(down({ failingSinceMs: 101 }, 2), true, 'they began to fail after the answer');
  assert.equal(down({ failingSinceMs: 50, outvoted: 3 }, 4), false);
  assert.equal(down({ outvoted: 3 }, 4), false);
  assert.equal(down({ outvoted: 2 }, 4), true);
});

test('while the remote is down probes of both kinds have distances of their own, which double up to a bound', () => {
  const state = new RemoteState({ ...options, probeMaxMs: 5_000 });
  for (const i of [0, 1, 2]) state.learn([failed(`t${i % 2}`)], two, i);
  const at = (kind: ProbeKind) => state.nextProbeAtMs(kind);
  assert.deepEqual([at('fresh'), at('rotation')], [1_002, 1_002]);
  state.probeFailed('rotation', 1_001);
  assert.deepEqual([at('fresh'), at('rotation')], [1_002, 1_002], 'one that came before its time moves nothing');
  state.learn([failed('t0')], two, 1_002);
  assert.deepEqual([at('fresh'), at('rotation')], [1_002, 3_002]);
  state.learn([failed('new', { task: { lastReadAtMs: undefined } })], two, 2_000);
  assert.deepEqual([at('fresh'), at('rotation')], [4_000, 3_002]);
  state.probeFailed('rotation', 3_002);
  state.probeFailed('rotation', 7_002);
  assert.equal(at('rotation'), 12_002);
  state.learn([answer('t0')], two, 20_000);
  for (const [fromMs, untilMs] of [
    [30_000, 35_000],
    [35_001, 40_000],
  ] as const) {
    for (const i of [0, 1, 2]) state.learn([failed(`t${i % 2}`)], two, fromMs + i);
    assert.deepEqual([at('fresh'), at('rotation')], [fromMs + 1_002, fromMs + 1_002], 'the next outage begins anew');
    for (const ms of [31_002, 33_002]) state.probeFailed('rotation', ms);
    state.learn([answer('t0')], two, untilMs);
  }
});

test('a call is a probe of the new where all its tasks are', () => {
  const fresh = failed('a', { task: { lastReadAtMs: undefined } });
  assert.equal(kindOf([fresh, fresh]), 'fresh');
  assert.equal(kindOf([fresh, failed('b')]), 'rotation');
});

test('an outage of an earlier run has what that left of the grace, until a read succeeds or nobody is left', () => {
  const kept: (number | undefined)[] = [];
  const stateOf = (beforeMs: number) =>
    new RemoteState(options, { beforeMs, keep: (forMs) => void kept.push(forMs && forMs / minute) });
  const goesDown = (state: RemoteState, atMs: number) => {
    for (let i = 0; i < 3; i++) state.learn([failed(i === 1 ? 'b' : 'a')], two, atMs);
    assert.equal(state.downSinceMs, atMs);
  };
  const state = stateOf(50 * minute);
  goesDown(state, now);
  assert.deepEqual([state.frozen(now + 10 * minute - 1), state.frozen(now + 10 * minute)], [true, false]);
  assert.equal(state.frozenTotalMs(now + hour), 10 * minute, 'no time of the earlier run stood still in this one');
  state.learn([failed('a')], two, now + 5 * minute);
  state.learn([failed('a', { kind: 'throttled' })], two, now + 6 * minute);
  assert.deepEqual(kept, [50, 55], 'what says nothing of the remote is not written');
  state.learn([answer('b')], two, now + 7 * minute);
  goesDown(state, now + 8 * minute);
  assert.deepEqual(
    [state.frozen(now + hour), kept.splice(0)],
    [true, [50, 55, undefined, 0]],
    'its grace is whole again',
  );
  const spent = stateOf(2 * hour);
  goesDown(spent, now);
  assert.deepEqual([spent.frozen(now), spent.frozenTotalMs(now + hour)], [false, 0]);
  for (const ends of [
    (one: RemoteState) => one.learn([answer('a')], two, now),
    (one: RemoteState) => one.forgetBefore(),
  ]) {
    kept.length = 0;
    const well = stateOf(50 * minute);
    for (let times = 0; times < 2; times++) ends(well);
    assert.deepEqual(kept, [undefined], 'it is told once');
    goesDown(well, now);
    assert.equal(well.frozen(now + hour - 1), true);
  }
});
