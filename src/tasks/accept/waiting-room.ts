import { HostError } from '../../errors/index.js';

/** What a waiting create holds in memory. */
interface Payload {
  readonly template: Buffer;
  readonly inputs: Buffer | undefined;
}

export interface WaitingRoomOptions {
  readonly maxWaiting: number;
  readonly maxWaitingBytes: number;
}

/** The bounds of the accepted tasks whose create is not through: how many, and how much their payloads take. */
export class WaitingRoom {
  readonly #options: WaitingRoomOptions;
  #waiting = 0;
  #bytes = 0;

  constructor(options: WaitingRoomOptions) {
    this.#options = options;
  }

  /** Throws STORE_FULL unless one more task with this payload may wait. */
  assertRoom(payload: Payload): void {
    const { maxWaiting, maxWaitingBytes } = this.#options;
    if (this.#waiting >= maxWaiting) {
      throw full(`${this.#waiting} accepted tasks wait already, the bound is ${maxWaiting}`);
    }
    const bytes = payloadBytes(payload);
    if (this.#bytes + bytes > maxWaitingBytes) {
      throw full(
        `the templates and inputs of waiting tasks take ${this.#bytes} bytes, ${bytes} more would pass the bound of ${maxWaitingBytes}`,
      );
    }
  }

  /** Lets a task in; the answer, called once, lets it out. */
  enter(payload: Payload | undefined): () => void {
    const bytes = payload === undefined ? 0 : payloadBytes(payload);
    this.#waiting += 1;
    this.#bytes += bytes;
    return () => {
      this.#waiting -= 1;
      this.#bytes -= bytes;
    };
  }
}

/** Bytes of template and inputs. */
function payloadBytes({ template, inputs }: Payload): number {
  return template.length + (inputs?.length ?? 0);
}

function full(seen: string): HostError {
  return new HostError('STORE_FULL', `${seen}; try again when some have started`, { retryAfterMs: 30_000 });
}
