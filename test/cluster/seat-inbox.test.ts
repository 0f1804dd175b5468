import assert from 'node:assert/strict';
import { test } from 'node:test';
import { SAYS, type VirtualReplica } from './virtual-replicas.js';
import { evenly, LEASE_MS, type World } from './virtual-world.js';

const PARTS = 4;

/** The parts for whose owners a replica would stand in. */
const mayPut = ({ seat }: VirtualReplica) =>
  Array.from({ length: PARTS }, (_, part) => part).filter((part) => seat.mayPut(part));
const othersThan = ({ table }: World, epoch: string) =>
  [...table.parts.keys()].filter((part) => table.parts[part]?.owner !== epoch);

test('a replica stands in for the parts that are not its own, and not before it is known nor after it is lost or left', async () => {
  const world = await evenly(PARTS, 2, { standsIn: true });
  const [first, second] = world.all as [VirtualReplica, VirtualReplica];
  for (const one of [first, second]) assert.deepEqual(mayPut(one), othersThan(world, one.seat.epoch));
  const third = await world.add({ standsIn: true, hookMs: () => 2_000 });
  await world.msUntil('take', () => third.seat.role === 'taking');
  const taking = [...world.table.parts.keys()].filter((part) => third.seat.stateOf(part) === 'taking');
  assert.ok(taking.length > 0 && taking.every((part) => !third.seat.mayPut(part)), 'what it loads it answers soon');
  first.freeze();
  await world.run(3 * LEASE_MS);
  first.wake();
  await world.msUntil('loss', () => first.seat.role === 'lost');
  assert.deepEqual(mayPut(first), []);
  void second.seat.leave();
  await world.run(LEASE_MS);
  assert.deepEqual([second.seat.role, mayPut(second)], ['left', []]);
});

test('nobody stands in while a member is of a release that takes nothing in', async () => {
  const world = await evenly(PARTS, 2, { standsIn: true });
  const [first] = world.all as [VirtualReplica];
  const old = { epoch: 'old', name: 'old', address: '10.0.0.9:8000', version: '0' };
  await world.table.join({ ...old, says: { ...SAYS, leaving: true } });
  await world.run(LEASE_MS / 3);
  assert.deepEqual(mayPut(first), []);
  await world.table.leave('old');
  await world.run(LEASE_MS / 3);
  assert.deepEqual(mayPut(first), othersThan(world, first.seat.epoch));
});

test('one that is not to stand in takes in all the same, so that others may; each sees whether any does', async () => {
  const world = await evenly(PARTS, 1);
  const [first] = world.all as [VirtualReplica];
  assert.equal(first.seat.anyStandsIn, false);
  const second = await world.add({ standsIn: true });
  await world.run(4 * LEASE_MS);
  assert.deepEqual(mayPut(first), []);
  assert.deepEqual(mayPut(second), othersThan(world, second.seat.epoch));
  assert.deepEqual([first.seat.anyStandsIn, second.seat.anyStandsIn], [true, true]);
  void second.seat.leave();
  await world.run(LEASE_MS);
  assert.equal(first.seat.anyStandsIn, false);
});
