import { HostError } from '../../errors/index.js';
import { heldBytes } from '../../lib/held-bytes.js';
import type { TaskSpec } from '../types.js';

/** What a waiting create or a Do holds in memory. */
export type Payload = Pick<TaskSpec, 'template' | 'inputs' | 'metadata' | 'connection'>;

export interface WaitingRoomOptions {
  readonly maxWaiting: number;
  readonly maxWaitingBytes: number;
}

/**
 * The bounds of what was taken on and is not through, accepted tasks before their create and runs of Do: how many, and how much
 * their payloads take.
 */
export class WaitingRoom {
  readonly #options: WaitingRoomOptions;
  #waiting = 0;
  #bytes = 0;

  constructor(options: WaitingRoomOptions) {
    this.#options = options;
  }

  hasRoom(payload: Payload): boolean {
    const { maxWaiting, maxWaitingBytes } = this.#options;
    return this.#waiting < maxWaiting && this.#bytes + payloadBytes(payload, payload.connection) <= maxWaitingBytes;
  }

  /** Throws STORE_FULL unless one more task with this payload may wait. */
  assertRoom(payload: Payload): void {
    const { maxWaiting, maxWaitingBytes } = this.#options;
    if (this.#waiting >= maxWaiting) {
      throw full(`${this.#waiting} accepted tasks wait already, the bound is ${maxWaiting}`);
    }
    const bytes = payloadBytes(payload, payload.connection);
    if (this.#bytes + bytes > maxWaitingBytes) {
      throw full(
        `what waiting tasks came with takes ${this.#bytes} bytes, ${bytes} more would pass the bound of ${maxWaitingBytes}`,
      );
    }
  }

  /** Lets a task in; the answer, called once, lets it out. */
  enter(payload: Omit<Payload, 'connection'> | undefined, connection?: Payload['connection']): () => void {
    const bytes = payload === undefined ? 0 : payloadBytes(payload, connection);
    this.#waiting += 1;
    this.#bytes += bytes;
    return () => {
      this.#waiting -= 1;
      this.#bytes -= bytes;
    };
  }
}

function payloadBytes(
  { template, inputs, metadata }: Omit<Payload, 'connection'>,
  connection: Payload['connection'],
): number {
  return template.length + (inputs?.length ?? 0) + heldBytes(metadata) + heldBytes(connection);
}

function full(seen: string): HostError {
  return new HostError('STORE_FULL', `${seen}; try again when some have started`, { retryAfterMs: 30_000 });
}
