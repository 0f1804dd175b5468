import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CreateOutage } from '../../src/runtime/create-outage.js';

const HOUR = 3_600_000;
const FAILURE = { code: 'X', message: 'x' };

/** A state whose back-offs have no jitter, with these tasks in it. */
function outageOf(...ids: string[]) {
  const outage = new CreateOutage({ random: () => 0.5, graceMs: HOUR });
  for (const id of ids) outage.enter(id, false);
  const fails = (id: string, nowMs: number) => outage.learn(id, 'down', FAILURE, nowMs);
  return { outage, fails };
}

test('three failed creates of two tasks close, and neither two nor three of one task do', () => {
  const { outage, fails } = outageOf('a', 'b');
  assert.deepEqual(
    [fails('a', 1), fails('a', 2), fails('a', 3), outage.holds(3)],
    [undefined, undefined, undefined, false],
  );
  assert.deepEqual([fails('b', 4), outage.holds(4), outage.downSinceMs], ['down', true, 4]);
  const two = outageOf('a', 'b');
  assert.deepEqual([two.fails('a', 1), two.fails('b', 2), two.outage.holds(2)], [undefined, undefined, false]);
});

test('what says nothing of the remote neither closes nor opens, and a success starts the count anew', () => {
  const { outage, fails } = outageOf('a', 'b');
  for (const id of ['a', 'b', 'a', 'b']) outage.learn(id, 'unknown', FAILURE, 1);
  assert.equal(outage.holds(1), false);
  fails('a', 2);
  fails('b', 3);
  outage.learn('b', 'up', undefined, 4);
  assert.equal(fails('a', 5), undefined);
  outage.readsDown(6);
  assert.equal(outage.learn('a', 'unknown', FAILURE, 7), undefined);
  assert.equal(outage.holds(7), true);
});

test('the first failure since a create succeeded is known before it is an outage, and that creates leave is no answer', () => {
  const { outage, fails } = outageOf('a', 'b');
  assert.deepEqual([outage.firstFailureMs, outage.answeredAtMs], [undefined, Number.NEGATIVE_INFINITY]);
  fails('a', 1);
  fails('a', 2);
  assert.deepEqual([outage.firstFailureMs, outage.downSinceMs], [1, undefined]);
  outage.learn('b', 'up', undefined, 3);
  assert.deepEqual([outage.firstFailureMs, outage.answeredAtMs], [undefined, 3]);
  fails('a', 4);
  for (const id of ['a', 'b']) outage.leave(id, 5);
  assert.deepEqual([outage.firstFailureMs, outage.answeredAtMs], [undefined, 3]);
});

test('reads that are down close without an outage of creates; a success opens although they stay down', () => {
  const { outage } = outageOf('a');
  outage.readsDown(10);
  assert.deepEqual([outage.holds(10), outage.downSinceMs, outage.probeAtMs('fresh')], [true, undefined, 10]);
  assert.equal(outage.learn('a', 'up', undefined, 20), undefined, 'creates were never down');
  assert.equal(outage.holds(20), false);
  outage.readsDown(30);
  outage.readsUp(40);
  assert.equal(outage.holds(40), false);
});

test('the end of the outage of reads ends none of creates, but has it probed at once', () => {
  const { outage, fails } = outageOf('a', 'b');
  outage.readsDown(0);
  for (const [i, id] of ['a', 'b', 'a', 'b'].entries()) fails(id, 100_000 * i);
  outage.readsUp(400_000);
  assert.deepEqual([outage.holds(400_000), outage.probeAtMs('tried')], [true, 400_000]);
  assert.equal(outage.learn('b', 'up', undefined, 400_001), 'up');
});

test('probes are a growing time apart, a minute at most, and those of tasks never tried do not wait for those that were', () => {
  const { outage, fails } = outageOf('a', 'b', 'c');
  outage.readsDown(0);
  let now = 0;
  fails('a', now);
  const gaps = Array.from({ length: 9 }, () => {
    now = Math.max(now, outage.probeAtMs('tried'));
    fails('a', now);
    return outage.probeAtMs('tried') - now;
  });
  assert.deepEqual(gaps, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  assert.equal(outage.kindOf('b'), 'fresh');
  assert.equal(outage.probeAtMs('fresh'), 1_000);
});

test('budgets stand still from the first failure until the grace is over, and no time counts twice', () => {
  const { outage, fails } = outageOf('a', 'b');
  for (const [i, id] of ['a', 'b', 'a'].entries()) fails(id, [100, 1_000, 2_000][i] ?? 0);
  assert.equal(outage.frozenTotalMs(2_100), 2_000);
  assert.equal(outage.holds(HOUR + 99), true);
  assert.equal(outage.holds(HOUR + 100), false, 'the grace runs from the first failure');
  assert.equal(outage.frozenTotalMs(5 * HOUR), HOUR);
  assert.equal(outage.learn('b', 'up', undefined, 5 * HOUR), 'up');
  for (const id of ['b', 'a', 'b']) fails(id, 6 * HOUR);
  assert.equal(outage.frozenTotalMs(6 * HOUR + 10), HOUR + 10);
});

test('time without a failed create does not use up the grace, however long reads are down', () => {
  const { outage, fails } = outageOf('a');
  outage.readsDown(0);
  fails('a', 10 * HOUR);
  assert.equal(outage.holds(10.5 * HOUR), true);
  assert.equal(outage.holds(11 * HOUR), false);
});

test('a task that failed before the last success says nothing of the remote, unless more than half of all fail', () => {
  const few = outageOf('sick', 'ill', 'c', 'd');
  few.fails('sick', 1);
  few.fails('ill', 2);
  few.outage.learn('c', 'up', undefined, 3);
  few.outage.leave('c', 3);
  few.outage.enter('e', false);
  for (let now = 4; now < 20; now++) few.fails(now % 2 === 0 ? 'sick' : 'ill', now);
  assert.equal(few.outage.holds(20), false);
  few.fails('d', 21);
  few.fails('e', 22);
  few.fails('sick', 22);
  assert.equal(few.outage.holds(22), true, 'three of four fail');
});

test('an outage is let go with its last task, and not before', () => {
  const { outage, fails } = outageOf('a', 'b');
  for (const id of ['a', 'b', 'a']) fails(id, 1);
  assert.equal(outage.leave('a', 2), undefined);
  assert.equal(outage.holds(2), true);
  assert.equal(outage.leave('b', 3), 'up');
  assert.deepEqual([outage.holds(3), outage.leave('b', 4)], [false, undefined]);
});

test('tasks that end by their first failure show an outage to those that wait, and a call that was not sent is no try', () => {
  const { outage, fails } = outageOf('a', 'b', 'c', 'd');
  outage.learn('d', 'unknown', FAILURE, 0, false);
  assert.equal(outage.kindOf('d'), 'fresh');
  const entered = ['a', 'b', 'c'].map((id, now) => {
    const told = fails(id, now);
    outage.leave(id, now);
    return told;
  });
  assert.deepEqual([entered, outage.holds(3)], [[undefined, undefined, 'down'], true]);
  outage.leave('d', 4);
  assert.equal(outage.holds(4), false);
});

test('while reads are down the last task takes what was learnt of creates with it, but the next one is a probe still', () => {
  const { outage, fails } = outageOf('a');
  outage.readsDown(0);
  fails('a', 10);
  assert.equal(outage.holds(HOUR + 10), false);
  outage.leave('a', HOUR + 20);
  assert.equal(outage.holds(HOUR + 20), true);
  assert.equal(outage.frozenTotalMs(HOUR + 20), HOUR + 10);
});

test('an outage of creates that an earlier run had has what that left of the grace, until one succeeds or nobody is left', () => {
  const kept: (number | undefined)[] = [];
  const outageFrom = (beforeMs: number) => {
    const outage = new CreateOutage({
      random: () => 0.5,
      graceMs: HOUR,
      kept: { beforeMs, keep: (ms) => void kept.push(ms) },
    });
    for (const id of ['a', 'b']) outage.enter(id, false);
    return {
      outage,
      goesDown: (at: number) => ['a', 'b', 'a'].map((id) => outage.learn(id, 'down', FAILURE, at)).at(-1),
    };
  };
  const { outage, goesDown } = outageFrom(HOUR / 2);
  assert.equal(goesDown(1_000), 'down');
  assert.deepEqual([outage.holds(HOUR / 2 + 999), outage.holds(HOUR / 2 + 1_000)], [true, false]);
  assert.equal(outage.frozenTotalMs(2 * HOUR), HOUR / 2, 'no time of the earlier run stood still in this one');
  outage.learn('a', 'down', FAILURE, 61_000);
  outage.learn('a', 'unknown', FAILURE, 62_000);
  assert.deepEqual(kept.splice(0), [HOUR / 2, HOUR / 2 + 60_000]);
  outage.learn('a', 'up', undefined, 70_000);
  goesDown(80_000);
  assert.deepEqual([outage.lapsesAtMs, kept.splice(0)], [HOUR + 80_000, [undefined, 0]], 'its grace is whole again');
  const spent = outageFrom(2 * HOUR);
  spent.goesDown(5);
  assert.deepEqual([spent.outage.holds(5), spent.outage.frozenTotalMs(HOUR)], [false, 0]);
  for (const ends of [
    ({ outage: one }: typeof spent) => one.forgetBefore(),
    ({ outage: one }: typeof spent) => ['a', 'b'].map((id) => one.leave(id, 1)),
  ]) {
    kept.length = 0;
    const well = outageFrom(HOUR / 2);
    for (let times = 0; times < 2; times++) ends(well);
    assert.deepEqual(kept, [undefined], 'it is told once');
  }
});

test('the runs of one task alone make no outage', () => {
  const outage = new CreateOutage<symbol>({ random: () => 0.5, graceMs: 60_000 });
  const fails = (id: string) => {
    const run = Symbol(id);
    outage.enter(run, false);
    return outage.learn(run, 'down', { code: 'X', message: 'x' }, 1);
  };
  assert.deepEqual(['a', 'a', 'a', 'b'].map(fails), [undefined, undefined, undefined, 'down']);
});
