import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { Connection } from '../../../src/rpc/edge/connections.js';
import { handleOf, Reading } from '../../../src/rpc/edge/reading.js';
import { asSocket, FakeSocket } from './fakes.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

function open(told: string[], name: string): Connection {
  const socket = Object.assign(new FakeSocket(), {
    _handle: { readStop: () => told.push(`${name} stops`), readStart: () => told.push(`${name} goes on`) },
  });
  return new Connection(asSocket(socket), 0);
}

describe('reading', () => {
  it('stops at the share of a turn, and goes on in the next', async () => {
    const told: string[] = [];
    const reading = new Reading();
    const connection = open(told, 'a');
    for (let i = 0; i < 4; i++) reading.came(connection, 16 * 1024);
    assert.deepEqual(told, []);
    reading.came(connection, 1);
    assert.deepEqual(told, ['a stops']);
    await turn();
    assert.deepEqual(told, ['a stops', 'a goes on']);
    reading.came(connection, 60 * 1024);
    assert.equal(told.length, 2, 'a new share');
    await turn();
    assert.equal(told.length, 2);
  });

  it('lets some go on in each turn, first stopped first, and leaves out who is gone', async () => {
    const told: string[] = [];
    const reading = new Reading();
    const connections = Array.from({ length: 20 }, (_, i) => open(told, String(i)));
    for (const connection of connections) reading.came(connection, 100_000);
    reading.gone(connections[1]!);
    const wentOn = () => told.filter((one) => one.endsWith('on')).map((one) => parseInt(one, 10));
    await turn();
    assert.deepEqual(wentOn(), [0, 2, 3, 4, 5, 6, 7, 8]);
    await turn();
    await turn();
    assert.deepEqual(wentOn().slice(8), [9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]);
  });

  it('is of use with the sockets that this version of Node has, and harms none without a handle', async (t) => {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const client = connect((server.address() as AddressInfo).port, '127.0.0.1');
    const [socket] = (await once(server, 'connection')) as [Socket];
    t.after(() => server.close());
    assert.notEqual(handleOf(socket), undefined);
    client.destroy();
    socket.resume();
    await once(socket, 'close');
    assert.equal(handleOf(socket), undefined);
  });
});
