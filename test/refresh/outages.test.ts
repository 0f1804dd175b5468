import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Outages } from '../../src/refresh/outages.js';
import type { Evidence } from '../../src/refresh/remote-state.js';
import { fails, type Outcome, running } from './fake-reader.js';

const hour = 3_600_000;
const options = { random: () => 0.5, outageGraceMs: hour, probeMaxMs: 60_000, silenceMs: 60_000 };
const two = { tasks: 2, failing: 0, telling: 2, keys: 1 };

const evidence = (id: string, outcome: Outcome): Evidence => ({
  id,
  batchKey: '',
  outcome,
  task: { failingSinceMs: undefined, outvoted: 0, lastReadAtMs: 1 },
});
const failed = (id: string) => evidence(id, fails('transient'));
const answer = (id: string) => evidence(id, running);
/** Three calls of two tasks, by which a remote goes down, from this time on. */
const outage = (learn: (call: readonly Evidence[], atMs: number) => void, fromMs = 0) => {
  for (const i of [0, 1, 2]) learn([failed(`t${i % 2}`)], fromMs + i);
};

test('new settings hold for what is down already, of the plugin and of each batch key, and for keys to come', () => {
  const outages = new Outages(options);
  const fail = (key: string) => {
    outage((call, atMs) => outages.learnOfGroup(key, call, two, atMs));
  };
  fail('A');
  outages.reconfigure({ ...options, outageGraceMs: 10 });
  fail('B');
  for (const key of ['A', 'B'])
    assert.deepEqual([outages.of(key).frozen(9), outages.of(key).frozen(10)], [true, false]);
  outage((call, atMs) => outages.plugin.learn(call, two, atMs));
  assert.deepEqual([outages.of('').frozen(9), outages.of('').frozen(10)], [true, false]);
});

test('what stands still for a task is what does for its plugin or its batch key, and the longer of both', () => {
  const outages = new Outages(options);
  outage((call, atMs) => outages.learnOfGroup('A', call, two, atMs), 100);
  const [ofA, ofB] = [outages.of('A'), outages.of('B')];
  assert.deepEqual(
    [ofA.down, ofA.frozen(200), ofA.probed(200), ofA.marks(200)],
    [true, true, false, { plugin: 0, group: 100 }],
  );
  assert.deepEqual(
    [ofB.down, ofB.frozen(200), ofB.probed(200), ofB.marks(200)],
    [false, false, false, { plugin: 0, group: 0 }],
  );
  assert.equal(ofA.frozenSince({ plugin: 0, group: 30 }, 200), 70);
  assert.equal(ofB.frozenSince({ plugin: 0, group: 0 }, 200), 0);
  outage((call, atMs) => outages.plugin.learn(call, two, atMs), 300);
  assert.deepEqual(
    [outages.of('B').down, outages.of('B').frozen(400), outages.of('B').probed(400)],
    [true, true, true],
  );
  assert.equal(outages.of('B').frozenSince({ plugin: 20, group: 0 }, 400), 80);
  assert.equal(outages.of('A').frozenSince({ plugin: 0, group: 0 }, 400), 300);
  assert.equal(outages.of('A').frozenSince({ plugin: 0, group: 290 }, 400), 100);
});

test('when a remote last answered is told of the batch key, of the plugin where there is none, and not of another key', () => {
  const outages = new Outages(options);
  outages.plugin.learn([answer('x')], two, 5);
  outages.learnOfGroup('A', [failed('a')], two, 6);
  assert.equal(outages.of('').answeredAtMs, 5);
  assert.equal(outages.of('A').answeredAtMs, Number.NEGATIVE_INFINITY);
  outages.learnOfGroup('A', [answer('a')], two, 7);
  assert.equal(outages.of('A').answeredAtMs, 7);
  outages.learnOfGroup('B', [answer('b')], two, 8);
  outages.learnOfGroup('B', [failed('c'), answer('b')], two, 8);
  assert.equal(outages.of('B').answeredAtMs, Number.NEGATIVE_INFINITY, 'a key that never failed is not kept');
});

test('of a batch key nothing is learnt while the plugin is down, nor where there is none, and nothing is kept past its last task', () => {
  const outages = new Outages(options);
  const fail = (key: string) => {
    outage((call, atMs) => outages.learnOfGroup(key, call, two, atMs));
    return outages.of(key).down;
  };
  assert.equal(fail(''), false);
  assert.equal(fail('A'), true);
  outages.forgetGroup('A');
  assert.equal(outages.of('A').down, false);
  outage((call, atMs) => outages.plugin.learn(call, two, atMs));
  fail('B');
  outages.plugin.learn([answer('t0')], two, 9);
  assert.equal(outages.of('B').down, false);
});

test('where there are too many batch keys those that are well are let go of first, and those that are away at twice as many', () => {
  const outages = new Outages(options);
  const known = (key: string) => outages.of(key).down || outages.of(key).answeredAtMs === 9;
  const fill = (prefix: string, n: number, away: boolean) => {
    for (let i = 0; i < n; i++) {
      const key = `${prefix}${i}`;
      outage((call, atMs) => outages.learnOfGroup(key, call, two, atMs));
      if (!away) outages.learnOfGroup(key, [answer('t0')], two, 9);
    }
  };
  const kept = (prefix: string, n: number) => Array.from({ length: n }, (_, i) => `${prefix}${i}`).filter(known).length;
  fill('away', 1, true);
  fill('well', 999, false);
  assert.deepEqual([kept('away', 1), kept('well', 999)], [1, 999]);
  fill('more', 1, false);
  assert.deepEqual([known('away0'), known('well0'), known('well1'), known('more0')], [true, false, true, true]);
  fill('gone', 1_998, true);
  assert.deepEqual([known('away0'), kept('well', 999), kept('gone', 1_998)], [true, 0, 1_998]);
  fill('last', 2, true);
  assert.deepEqual(
    [known('away0'), known('gone0'), kept('last', 2)],
    [false, true, 2],
    'the one that is away the longest',
  );
});
