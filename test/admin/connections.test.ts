import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { AdminConnections } from '../../src/admin/connections.js';

class FakeSocket extends EventEmitter {
  readonly remoteAddress: string;
  destroyed = false;

  constructor(remoteAddress = '127.0.0.1') {
    super();
    this.remoteAddress = remoteAddress;
  }

  destroy(): void {
    this.destroyed = true;
    // As a real one: later.
    setImmediate(() => this.emit('close'));
  }
}

function portOf(max: number) {
  const connections = new AdminConnections(max);
  const come = (address?: string) => {
    const socket = new FakeSocket(address) as FakeSocket & Socket;
    connections.add(socket);
    return socket;
  };
  return { connections, come };
}

/** Until all that have come were listened to. */
async function heard(): Promise<void> {
  for (let turns = 0; turns < 3; turns++) await turn();
}

test('nobody is cut before the event loop was at his bytes, however many come in one turn', async () => {
  const { connections, come } = portOf(2);
  const probe = come();
  const crowd = Array.from({ length: 50 }, () => come());
  assert.equal(connections.size, 51);
  connections.asked(probe);
  await heard();
  assert.equal(connections.size, 2);
  assert.equal(probe.destroyed, false, 'it has asked, and they have not');
  assert.equal(crowd.filter(({ destroyed }) => destroyed).length, 49);
});

test('what may wait to be listened to is bounded, too, and its oldest gives way', () => {
  const { connections, come } = portOf(2);
  const first = come();
  const others = Array.from({ length: 500 }, () => come());
  assert.equal(connections.size, 130);
  assert.equal(first.destroyed, true);
  assert.equal(others.at(-1)?.destroyed, false);
});

test('who is answered for the first time outlives who only comes, who was answered before, and who takes no answer', async () => {
  const { connections, come } = portOf(3);
  const [probe, taken, untaken] = [come(), come(), come()];
  for (const one of [probe, taken, untaken]) connections.asked(one);
  for (const one of [taken, untaken]) connections.answered(one);
  connections.rests(taken);
  connections.asked(taken);
  await heard();
  for (let newcomer = 0; newcomer < 20; newcomer++) {
    come();
    await heard();
  }
  assert.deepEqual(
    [probe, taken, untaken].map(({ destroyed }) => destroyed),
    [false, true, true],
  );
});

test('where all are answered for the first time the oldest gives way to a newcomer that asks, and to none that does not', async () => {
  const { connections, come } = portOf(2);
  const [first, second] = [come(), come()];
  for (const one of [first, second]) connections.asked(one);
  await heard();
  const silent = come();
  await heard();
  assert.deepEqual(
    [first, second, silent].map(({ destroyed }) => destroyed),
    [false, false, true],
  );
  const newcomer = come();
  connections.asked(newcomer);
  await heard();
  assert.deepEqual(
    [first, second, newcomer].map(({ destroyed }) => destroyed),
    [true, false, false],
  );
});

test('the address with most connections gives way, and a lone one elsewhere does not', async () => {
  const { connections, come } = portOf(4);
  const alone = come('10.0.0.1');
  await heard();
  for (let newcomer = 0; newcomer < 30; newcomer++) {
    connections.asked(come('10.0.0.2'));
    await heard();
  }
  assert.equal(alone.destroyed, false);
  assert.equal(connections.size, 4);
});

test('who has a /64 of IPv6 has one address, however many it takes', async () => {
  const { connections, come } = portOf(4);
  const alone = come('10.0.0.1');
  await heard();
  for (let newcomer = 1; newcomer < 30; newcomer++) {
    connections.asked(come(`2001:db8::${newcomer}`));
    await heard();
  }
  assert.equal(alone.destroyed, false);
});

test('after its handshake a connection is listened to anew before it may be cut', async () => {
  const { connections, come } = portOf(1);
  const probe = come();
  await heard();
  connections.entered(probe);
  const newcomer = come();
  assert.deepEqual([probe.destroyed, newcomer.destroyed], [false, false]);
  connections.asked(probe);
  await heard();
  assert.deepEqual([probe.destroyed, newcomer.destroyed], [false, true]);
});
