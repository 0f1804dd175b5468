import { EventEmitter } from 'node:events';
import type { ServerHttp2Stream } from 'node:http2';
import type { Socket } from 'node:net';
import { Arrival } from '../../../src/rpc/edge/arrival.js';
import { Connection } from '../../../src/rpc/edge/connections.js';

export class FakeSocket extends EventEmitter {
  destroyed = false;

  constructor(readonly remoteAddress = '10.0.0.1') {
    super();
  }

  destroy(): void {
    if (this.destroyed) return;
    this.destroyed = true;
    this.emit('close');
  }
}

export const asSocket = (socket: FakeSocket) => socket as unknown as Socket;

export function makeConnection(address?: string): Connection {
  return new Connection(asSocket(new FakeSocket(address)), 0);
}

/** A call without a transport; `stream` is all that the edge's parts look at. */
export function makeArrival(connection = makeConnection(), arrivedMs = 0, encoded = false): Arrival {
  const stream = { destroyed: false, closed: false } as ServerHttp2Stream;
  const times = { arrivedMs, timeoutMs: Number.POSITIVE_INFINITY, deadlineMs: arrivedMs + 1000 };
  return new Arrival(stream, connection, '/a.B/C', times, encoded);
}

/** The head of a message, then so many bytes. */
export function framed(length: number, flag = 0): Buffer {
  const bytes = Buffer.alloc(5 + length);
  bytes[0] = flag;
  bytes.writeUInt32BE(length, 1);
  return bytes;
}
