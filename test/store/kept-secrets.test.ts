import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heldBytes } from '../../src/lib/held-bytes.js';
import { KeptSecrets } from '../../src/store/kept-secrets.js';

const connectionOf = (text: string) => ({ secrets: { token: text }, configs: {} });
const ONE = heldBytes(connectionOf('x'.repeat(100)));
const recordOf = (untilMs = 1_000) => ({
  connection: connectionOf('x'.repeat(100)) as never,
  connectionUntilMs: untilMs,
});
const has = (record: { readonly connection: unknown }) => record.connection !== undefined;

test('where all secrets together pass their bound the oldest go, as if their time were over, and the newest stay', () => {
  const kept = new KeptSecrets<ReturnType<typeof recordOf>>(2 * ONE);
  const [a, b, c] = [recordOf(), recordOf(), recordOf()];
  for (const one of [a, b]) kept.add(one);
  kept.add(a);
  kept.add(c);
  assert.deepEqual([a, b, c].map(has), [true, false, true], 'those that came again are not the oldest');
  assert.ok(b.connectionUntilMs > 0 && b.connectionUntilMs < 1_000, 'they came once, and are gone');
});

test('one that is larger than the bound is held alone', () => {
  const kept = new KeptSecrets<ReturnType<typeof recordOf>>(ONE / 2);
  const [a, b] = [recordOf(), recordOf()];
  kept.add(a);
  assert.ok(has(a));
  kept.add(b);
  assert.deepEqual([a, b].map(has), [false, true]);
});

test('what left, was dropped or never had secrets counts for nothing', () => {
  const kept = new KeptSecrets<ReturnType<typeof recordOf>>(2 * ONE);
  for (let i = 0; i < 10; i++) {
    const [left, dropped] = [recordOf(), recordOf()];
    kept.add(left);
    kept.delete(left);
    kept.add(dropped);
    kept.drop(dropped);
    kept.add({ connection: undefined as never, connectionUntilMs: 0 });
    assert.deepEqual([left, dropped].map(has), [true, false]);
  }
  const [a, b] = [recordOf(), recordOf()];
  kept.add(a);
  kept.add(b);
  assert.deepEqual([a, b].map(has), [true, true]);
});

test('those whose time is over lose their secrets, and those after them keep them', () => {
  const kept = new KeptSecrets<ReturnType<typeof recordOf>>(10 * ONE);
  const records = [recordOf(100), recordOf(200), recordOf(300)];
  for (const one of records) kept.add(one);
  kept.dropOld(200);
  assert.deepEqual(records.map(has), [false, false, true]);
});

test('however many records without secrets come and go, the bound stays where it is', () => {
  const kept = new KeptSecrets<{ connection: never | undefined; connectionUntilMs: number }>(2 * ONE);
  const records = [recordOf(), recordOf(), recordOf()];
  for (let i = 0; i < 10_000; i++) kept.add({ connection: undefined, connectionUntilMs: 0 });
  for (const record of records) kept.add(record);
  assert.deepEqual(records.map(has), [false, true, true]);
});
