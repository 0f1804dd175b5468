import assert from 'node:assert/strict';
import { once } from 'node:events';
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { describe, it } from 'node:test';
import { Connection } from '../../../src/rpc/edge/connections.js';
import { handleOf, Reading } from '../../../src/rpc/edge/reading.js';
import { asSocket, FakeSocket } from './fakes.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

const KiB = 1024;

const nameOf = (connection: Connection) => (connection.socket as unknown as { name: string }).name;

function setUp() {
  const told: string[] = [];
  const reading = new Reading();
  const open = (name: string) => {
    const socket = Object.assign(new FakeSocket(), {
      name,
      _handle: { readStop: () => told.push(`${name} stops`), readStart: () => told.push(`${name} goes on`) },
    });
    const connection = new Connection(asSocket(socket), 0);
    reading.opened(connection);
    return connection;
  };
  const wentOn = () => told.flatMap((one) => one.match(/^(\w+) goes on$/)?.[1] ?? []);
  return { told, reading, open, wentOn };
}

describe('reading', () => {
  it('stops at the share of a turn, and goes on in the next', async () => {
    const { told, reading, open } = setUp();
    const connection = open('a');
    for (let i = 0; i < 4; i++) reading.brought(connection, 16 * KiB);
    assert.deepEqual(told, []);
    reading.brought(connection, 1);
    assert.deepEqual(told, ['a stops']);
    await turn();
    assert.deepEqual(told, ['a stops', 'a goes on']);
    reading.brought(connection, 60 * KiB);
    assert.equal(told.length, 2, 'a new share');
    await turn();
    assert.equal(told.length, 2);
  });

  it('lets some go on in each turn, first stopped first, and leaves out who is gone', async () => {
    const { reading, open, wentOn } = setUp();
    const connections = Array.from({ length: 20 }, (_, i) => open(String(i)));
    for (const connection of connections) reading.brought(connection, 100_000);
    reading.gone(connections[1]!);
    await turn();
    assert.deepEqual(wentOn(), ['0', '2', '3', '4', '5', '6', '7', '8']);
    await turn();
    await turn();
    assert.deepEqual(
      wentOn().slice(8),
      Array.from({ length: 11 }, (_, i) => String(9 + i)),
    );
  });

  it('stops nobody where many bring little', async () => {
    const { told, reading, open } = setUp();
    const connections = Array.from({ length: 300 }, (_, i) => open(String(i)));
    for (let i = 0; i < 3; i++) {
      for (const connection of connections) reading.brought(connection, KiB);
      await turn();
    }
    assert.deepEqual(told, []);
  });

  it('reads nobody any more in a turn in which all together have brought their share, and then first who brings little', async () => {
    const { told, reading, open, wentOn } = setUp();
    const many = Array.from({ length: 40 }, (_, i) => open(`many${i}`));
    const little = open('little');
    open('silent');
    reading.brought(little, 2 * KiB);
    await turn();
    for (const connection of many) {
      if (told.includes(`${nameOf(connection)} stops`)) continue;
      reading.brought(connection, 60 * KiB);
    }
    assert.ok(told.includes('silent stops'), 'what it may bring is not known');
    assert.ok(!told.includes('little stops'));
    // Those that were read already in this turn, or go on by themselves, bring more.
    for (const connection of many) reading.brought(connection, 60 * KiB);
    assert.ok(told.includes('little stops'));
    told.length = 0;
    await turn();
    assert.equal(wentOn()[0], 'little');
    assert.equal(wentOn().length, 1 + 8);
    for (let i = 0; i < 5; i++) await turn();
    assert.ok(wentOn().includes('silent'));
    assert.equal(new Set(wentOn()).size, many.length + 2, 'each of them goes on within some turns');
  });

  it('takes who has brought much once for one that brings much, until it has been heard otherwise', async () => {
    const { told, reading, open, wentOn } = setUp();
    const one = open('one');
    const others = Array.from({ length: 10 }, (_, i) => open(String(i)));
    reading.brought(one, KiB);
    await turn();
    reading.brought(one, 60 * KiB);
    await turn();
    for (const other of others) reading.brought(other, 120 * KiB);
    assert.ok(told.includes('one stops'));
    await turn();
    assert.equal(wentOn()[0], '0', 'who was stopped first');
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
