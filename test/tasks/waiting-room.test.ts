import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { heldBytes } from '../../src/lib/held-bytes.js';
import { type Payload, WaitingRoom } from '../../src/tasks/accept/waiting-room.js';

const metadata = {} as Payload['metadata'];
const payloadOf = (bytes: number, parts: Partial<Payload> = {}): Payload => ({
  template: Buffer.alloc(bytes - heldBytes(metadata)),
  inputs: undefined,
  metadata,
  connection: undefined,
  ...parts,
});

/** Whether one more with this payload may wait; both ways to ask say the same. */
function hasRoom(room: WaitingRoom, payload: Payload): boolean {
  const has = room.hasRoom(payload);
  if (has) room.assertRoom(payload);
  else
    assert.throws(
      () => room.assertRoom(payload),
      (error) => HostError.is(error) && error.code === 'STORE_FULL',
    );
  return has;
}

test('as many may wait as the bound says, with payloads that fill theirs to the last byte, and no more', () => {
  const room = new WaitingRoom({ maxWaiting: 3, maxWaitingBytes: 1_000 });
  assert.deepEqual([hasRoom(room, payloadOf(1_000)), hasRoom(room, payloadOf(1_001))], [true, false]);
  const leave = room.enter(payloadOf(400));
  assert.deepEqual([hasRoom(room, payloadOf(600)), hasRoom(room, payloadOf(601))], [true, false]);
  room.enter(undefined);
  assert.equal(hasRoom(room, payloadOf(600)), true, 'one without a payload takes no bytes');
  room.enter(payloadOf(100));
  assert.equal(hasRoom(room, payloadOf(100)), false);
  leave();
  assert.deepEqual([hasRoom(room, payloadOf(900)), hasRoom(room, payloadOf(901))], [true, false]);
});

test('inputs and secrets count with the rest', () => {
  const room = new WaitingRoom({ maxWaiting: 9, maxWaitingBytes: 1_000 });
  const connection = { secrets: { key: 'hush' }, configs: {} };
  room.enter(payloadOf(300, { inputs: Buffer.alloc(200) }), connection);
  const left = 500 - heldBytes(connection);
  assert.deepEqual([hasRoom(room, payloadOf(left)), hasRoom(room, payloadOf(left + 1))], [true, false]);
});
