import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';

/** Requests that one connection may have sent ahead; who needs the port sends none. */
const MAX_AHEAD = 100;

/**
 * Answers the requests of one connection one after the other, with a turn of the event loop between them. One read may bring more than
 * a thousand, which would all be worked off, and their answers held, before anybody else is heard.
 */
export class InTurn {
  /** What waits behind the one that is answered now; of a connection that is gone nothing is kept, however it went. */
  readonly #lines = new WeakMap<Socket, (() => void)[]>();

  /** `answer` ends the response; it may be called later, or never where the connection is gone. Who sends too many ahead is told so. */
  take(response: ServerResponse, answer: () => void): void {
    const { socket } = response.req;
    // A client that goes away while it is answered is its own business.
    response.on('error', () => {});
    const line = this.#lines.get(socket);
    const start = () => {
      if (socket.destroyed) return;
      response.once('close', () => this.#next(socket));
      answer();
    };
    if (line === undefined) {
      this.#lines.set(socket, []);
      start();
    } else if (line.length < MAX_AHEAD) line.push(start);
    // The connection ends with this answer, and comes to it after those before it.
    else response.writeHead(429, { connection: 'close', 'content-length': 0 }).end();
  }

  #next(socket: Socket): void {
    const line = this.#lines.get(socket);
    const next = line?.shift();
    if (next === undefined || socket.destroyed) this.#lines.delete(socket);
    else setImmediate(next);
  }
}

/** A question that many ask at once, answered once in a turn of the event loop. */
export function oncePerTurn<T>(ask: () => Promise<T>): () => Promise<T> {
  let answer: Promise<T> | undefined;
  return () => {
    answer ??= ask().finally(() => {
      setImmediate(() => {
        answer = undefined;
      });
    });
    return answer;
  };
}
