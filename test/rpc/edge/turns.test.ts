import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { Connection } from '../../../src/rpc/edge/connections.js';
import { Turns } from '../../../src/rpc/edge/turns.js';
import { makeArrival, makeConnection } from './fakes.js';

const turn = () => new Promise((resolve) => setImmediate(resolve));

function start(perTurn: number) {
  const turns = new Turns(perTurn);
  const started: string[] = [];
  const come = (connection: Connection, name: string) => {
    const arrival = makeArrival(connection);
    if (turns.admits()) started.push(name);
    else turns.wait({ arrival, start: () => started.push(name) });
    return arrival;
  };
  return { started, come };
}

describe('turns', () => {
  it('start so many calls at once, and as many in each turn after', async () => {
    const { started, come } = start(3);
    const connection = makeConnection();
    for (let i = 0; i < 8; i++) come(connection, String(i));
    assert.deepEqual(started, ['0', '1', '2']);
    await turn();
    assert.equal(started.length, 6);
    await turn();
    assert.deepEqual(started, ['0', '1', '2', '3', '4', '5', '6', '7']);
  });

  it('alternate between connections, and let no call of one pass an earlier one of its own', async () => {
    const { started, come } = start(2);
    const many = makeConnection();
    for (let i = 0; i < 6; i++) come(many, `many${i}`);
    come(makeConnection(), 'other');
    await turn();
    assert.deepEqual(started, ['many0', 'many1', 'many2', 'other']);
    come(many, 'late');
    for (let i = 0; i < 5; i++) await turn();
    assert.deepEqual(started.slice(4), ['many3', 'many4', 'many5', 'late']);
  });

  it('drop unworked what is gone before its turn, at the cost of no turn', async () => {
    const { started, come } = start(1);
    const connection = makeConnection();
    come(connection, 'first');
    const reset = Array.from({ length: 1000 }, (_, i) => come(connection, `reset${i}`));
    come(connection, 'last');
    for (const { stream } of reset) (stream as { closed: boolean }).closed = true;
    await turn();
    assert.deepEqual(started, ['first', 'last']);
  });

  it('hold nobody up when the burst is over', async () => {
    const { started, come } = start(2);
    for (let i = 0; i < 4; i++) come(makeConnection(), String(i));
    for (let i = 0; i < 4; i++) await turn();
    const before = started.length;
    come(makeConnection(), 'now');
    assert.equal(started.length, before + 1);
  });
});
