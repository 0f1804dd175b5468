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
  look(10_000, 14_500, '1');
  assert.equal(watch.isDead('a'), false, 'asked for less than a lease after that answer');
  assert.equal(watch.silentMs('a'), 6_000);
  look(14_100, 14_200, '1');
  assert.equal(watch.isDead('a'), true);
  look(14_300, 14_400, '2');
  assert.deepEqual([watch.isDead('a'), watch.isAlive('a')], [false, true]);
  look(14_500, 14_600, undefined);
  look(24_700, 24_800, undefined);
  assert.equal(watch.isDead('a'), true, 'one without a row as well');
  assert.equal(watch.isDead('b'), false, 'of whom nothing was seen');
});
