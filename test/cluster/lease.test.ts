import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HeldLease, LeaseWatch } from '../../src/cluster/lease.js';

const LEASE_MS = 10_000;

test('a lease is counted from the asking of the renewal, however long its answer took, and never from an older one', () => {
  let nowMs = 1_000;
  const lease = new HeldLease(LEASE_MS, () => nowMs);
  assert.equal(lease.leftMs, 0);
  nowMs = 5_000;
  lease.renewed(1_000);
  assert.equal(lease.leftMs, 0.95 * LEASE_MS - 4_000);
  lease.renewed(500);
  assert.equal(lease.leftMs, 0.95 * LEASE_MS - 4_000, 'answers may come in another order');
  nowMs = 10_500;
  assert.equal(lease.leftMs, 0);
  lease.renewed(10_000);
  assert.ok(lease.leftMs > 0);
  lease.end();
  assert.equal(lease.leftMs, 0);
});

test('a member is dead once its counter stood still from the answer to one look to the asking of another', () => {
  const watch = new LeaseWatch(LEASE_MS);
  const look = (askedAtMs: number, answeredAtMs: number, counter: string | undefined) =>
    watch.saw({ askedAtMs, answeredAtMs, counters: new Map([['a', counter]]) });
  look(0, 4_000, '1');
  assert.equal(watch.isAlive('a'), false, 'nothing of it was seen to move');
  look(8_000, 9_500, '1');
  look(13_900, 14_050, '1');
  assert.equal(watch.isDead('a'), false, 'asked for less than a lease after that answer');
  assert.equal(watch.silentMs('a'), 9_900);
  look(14_100, 14_200, '1');
  assert.equal(watch.isDead('a'), true);
  look(14_300, 14_400, '2');
  assert.deepEqual([watch.isDead('a'), watch.isAlive('a')], [false, true]);
  look(14_500, 14_600, undefined);
  look(19_500, 19_600, undefined);
  look(24_500, 24_550, undefined);
  look(24_700, 24_800, undefined);
  assert.equal(watch.isDead('a'), true, 'one without a row as well');
  assert.equal(watch.isDead('b'), false, 'of whom nothing was seen');
});

test('who saw nothing for a while takes nobody for dead until it has looked for a lease again', () => {
  const watch = new LeaseWatch(LEASE_MS);
  const look = (atMs: number) => watch.saw({ askedAtMs: atMs, answeredAtMs: atMs, counters: new Map([['a', '1']]) });
  look(0);
  look(30_000);
  assert.equal(watch.isDead('a'), false, 'the database was away, and from its owner as well');
  assert.equal(watch.silentMs('a'), 30_000);
  for (const atMs of [34_000, 38_000, 40_000]) look(atMs);
  assert.equal(watch.isDead('a'), false);
  look(40_100);
  assert.equal(watch.isDead('a'), true);
});
