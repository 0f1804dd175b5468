import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Comparison, differencesOf } from '../../src/cluster/comparison.js';
import type { MemberRow } from '../../src/state/index.js';

const member = (epoch: string): MemberRow => ({
  epoch,
  name: `host ${epoch}`,
  address: '10.0.0.1:8000',
  version: '1',
  counter: '1',
  joinedAtMs: 0,
  ownsSinceMs: undefined,
});

test('options that differ are named with what either has, lists as a whole, in order', () => {
  const here = { plugins: { a: { qps: 5, list: [1, 2] }, b: {} }, same: 'x' };
  const there = { plugins: { a: { qps: 10, list: [1] }, c: { on: true } }, same: 'x' };
  assert.deepEqual(differencesOf(here, there), [
    { option: 'plugins.a.list', here: '[1,2]', there: '[1]' },
    { option: 'plugins.a.qps', here: '5', there: '10' },
    { option: 'plugins.c.on', here: 'not set', there: 'true' },
  ]);
  assert.deepEqual(differencesOf(here, structuredClone(here)), []);
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`k${i}`, 'v'.repeat(1_000)]));
  assert.equal(differencesOf(many, {}).length, 20);
  assert.ok((differencesOf(many, {})[0]?.here.length ?? 0) <= 100);
});

test('each replica is compared once, again where it could not be asked, and one that is gone is forgotten', async () => {
  const told: string[] = [];
  const asked: string[] = [];
  let failing = true;
  const comparison = new Comparison({
    own: { qps: 5 },
    epoch: 'me',
    configOf: (epoch) => {
      asked.push(epoch);
      if (failing) return Promise.reject(new Error('away'));
      return Promise.resolve(epoch === 'old' ? undefined : JSON.stringify({ qps: epoch === 'other' ? 10 : 5 }));
    },
    differs: ({ name }, [first]) => told.push(`${name}: ${first?.option} ${first?.here} ${first?.there}`),
  });
  const all = ['me', 'like', 'other', 'old'].map(member);
  await comparison.seen(all);
  assert.deepEqual(asked, ['like']);
  failing = false;
  await comparison.seen(all);
  await comparison.seen(all);
  assert.deepEqual(asked, ['like', 'like', 'other', 'old']);
  assert.deepEqual(told, ['host other: qps 5 10']);
  assert.deepEqual(comparison.of('like'), []);
  await comparison.seen(all.slice(0, 2));
  assert.equal(comparison.of('other'), undefined);
});
