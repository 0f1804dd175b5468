import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { ManualClock } from '../../../src/lib/clock.js';
import type { Connection } from '../../../src/rpc/edge/connections.js';
import { Noise } from '../../../src/rpc/edge/noise.js';
import { makeConnection } from './fakes.js';

const KIB = 1024;

function start() {
  const clock = new ManualClock(0);
  const cut: Connection[] = [];
  const noise = new Noise(clock, (connection) => cut.push(connection));
  const open = () => {
    const connection = makeConnection();
    const socket = connection.socket as unknown as { bytesRead: number; bytesWritten: number };
    socket.bytesRead = socket.bytesWritten = 0;
    noise.opened(connection);
    return { connection, socket };
  };
  return { clock, cut, noise, open };
}

describe('what comes to no call', () => {
  it('ends its connection where there is much of it, and no other', async () => {
    const { clock, cut, open } = start();
    const [loud, still] = [open(), open()];
    loud.socket.bytesRead = 300 * KIB;
    still.socket.bytesRead = 200 * KIB;
    await clock.advance(50);
    assert.deepEqual(cut, [loud.connection]);
    await clock.advance(10_000);
    assert.deepEqual(cut, [loud.connection]);
  });

  it('ends its connection where little of it goes on and on, and is forgiven where it stops', async () => {
    const { clock, cut, open } = start();
    const [lasting, now] = [open(), open()];
    for (let i = 0; i < 100; i++) {
      lasting.socket.bytesRead += 10_000;
      now.socket.bytesRead += i % 20 === 0 ? 50_000 : 0;
      await clock.advance(50);
    }
    assert.deepEqual(cut, [lasting.connection]);
  });

  it('is not what calls account for, however much, nor what their headers were packed from', async () => {
    const { clock, cut, open } = start();
    const { socket, connection } = open();
    for (let i = 0; i < 100; i++) {
      socket.bytesRead += 5_000 * KIB;
      connection.accounted += 5_001 * KIB;
      await clock.advance(50);
    }
    assert.deepEqual(cut, []);
    // Nothing is saved up for later.
    socket.bytesRead += 300 * KIB;
    await clock.advance(50);
    assert.deepEqual(cut, [connection]);
  });

  it('is not what a peer says of large answers that it takes', async () => {
    const { clock, cut, open } = start();
    const { socket } = open();
    for (let i = 0; i < 100; i++) {
      socket.bytesWritten += 50 * KIB * KIB;
      socket.bytesRead += 50 * 32 * 26;
      await clock.advance(50);
    }
    assert.deepEqual(cut, []);
  });

  it('is looked for only while a connection is open', async () => {
    const { clock, noise, open } = start();
    assert.equal(clock.pending, 0);
    const { connection } = open();
    open();
    assert.equal(clock.pending, 1);
    noise.gone(connection);
    await clock.advance(1_000);
    assert.equal(clock.pending, 1);
  });
});
