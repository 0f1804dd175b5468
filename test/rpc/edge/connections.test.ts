import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ManualClock } from '../../../src/lib/clock.js';
import { Connections } from '../../../src/rpc/edge/connections.js';
import { asSocket, FakeSocket } from './fakes.js';

function start(maxConnections: number) {
  const clock = new ManualClock(0);
  const cuts: string[] = [];
  const bounds = { maxConnections, handshakeTimeoutMs: 10_000, maxConnectionIdleMs: 60_000 };
  const connections = new Connections(bounds, clock, (reason) => cuts.push(reason));
  /** An accepted connection that has greeted, a millisecond after the one before. */
  const open = async (address?: string) => {
    await clock.advance(1);
    const socket = new FakeSocket(address);
    const connection = connections.add(asSocket(socket));
    if (connection !== undefined) connections.greeted(connection);
    return { socket, connection };
  };
  return { clock, cuts, connections, open };
}

describe('connections', () => {
  it('give way when there is no room: the longest idle one, and none before', async () => {
    const { open, connections, cuts } = start(3);
    const [first, second, third] = [await open(), await open(), await open()];
    assert.deepEqual(cuts, []);
    connections.callOpened(first.connection!);
    connections.callClosed(first.connection!);
    const fourth = await open();
    assert.deepEqual(
      [first, second, third, fourth].map(({ socket }) => socket.destroyed),
      [false, true, false, false],
    );
    assert.deepEqual([connections.size, cuts], [3, ['gave_way']]);
  });

  it('never give way with a call; the newcomer is dropped where all have one', async () => {
    const { open, connections, cuts } = start(2);
    const [busy, other] = [await open(), await open()];
    connections.callOpened(busy.connection!);
    await open();
    assert.deepEqual([busy.socket.destroyed, other.socket.destroyed], [false, true]);
    const full = start(1);
    const only = await full.open();
    full.connections.callOpened(only.connection!);
    const dropped = await full.open();
    assert.deepEqual([dropped.connection, dropped.socket.destroyed, only.socket.destroyed], [undefined, true, false]);
    assert.deepEqual([cuts, full.cuts], [['gave_way'], ['no_room']]);
  });

  it('give way at the address that has the most, whoever is idle longest elsewhere', async () => {
    const { open } = start(5);
    const engine = await open('10.0.0.1');
    const probe = await open('10.0.0.2');
    const crowd = [await open('10.6.6.6'), await open('10.6.6.6'), await open('10.6.6.6')];
    await open('10.0.0.3');
    assert.deepEqual(
      [engine, probe, ...crowd].map(({ socket }) => socket.destroyed),
      [false, false, true, false, false],
    );
  });

  it('give way at the /64 of IPv6 that has the most, however many addresses its holder takes', async () => {
    const { open } = start(4);
    const engine = await open('10.0.0.1');
    const crowd = [await open('2001:db8::1'), await open('2001:db8::2'), await open('2001:db8::3')];
    await open('10.0.0.3');
    assert.deepEqual(
      [engine, ...crowd].map(({ socket }) => socket.destroyed),
      [false, true, false, false],
    );
  });

  it('give way elsewhere where the address that has the most has none without a call', async () => {
    const { open, connections } = start(4);
    const idle = await open('10.0.0.1');
    const busy = [await open('10.6.6.6'), await open('10.6.6.6'), await open('10.6.6.6')];
    for (const { connection } of busy) connections.callOpened(connection!);
    await open('10.0.0.3');
    assert.deepEqual(
      [idle, ...busy].map(({ socket }) => socket.destroyed),
      [true, false, false, false],
    );
  });

  it('end without preface and SETTINGS in time, and not once these have come', async () => {
    const { clock, connections, cuts, open } = start(5);
    const silent = new FakeSocket();
    connections.add(asSocket(silent));
    const greeted = await open();
    await clock.advance(10_000);
    assert.deepEqual([silent.destroyed, greeted.socket.destroyed, cuts], [true, false, ['handshake']]);
  });

  it('end when they were idle for long, counted from the end of the last call, and not during one', async () => {
    const { clock, connections, cuts, open } = start(5);
    const { socket, connection } = await open();
    await clock.advance(30_000);
    connections.callOpened(connection!);
    await clock.advance(100_000);
    connections.callClosed(connection!);
    await clock.advance(59_000);
    assert.equal(socket.destroyed, false);
    await clock.advance(1001);
    assert.deepEqual([socket.destroyed, cuts, connections.size, clock.pending], [true, ['idle'], 0, 0]);
  });
});
