import type { Socket } from 'node:net';
import { networkOf } from '../access/peer.js';

/** What the daemon waits for from this peer, or the other way round. */
interface Held {
  /** `networkOf` it. */
  readonly address: string;
  /** When it was accepted, or entered, on the monotonic clock. */
  sinceMs: number;
  /** Whether the event loop has been at its bytes since then, if there were any. */
  heard: boolean;
  /** Whether a whole request has come that is not answered yet. */
  working: boolean;
  /** Whether an answer was handed over. */
  served: boolean;
}

/** Within this time a newcomer's request has come, if it comes at all soon; till then it is not cut first for having none. Milliseconds. */
const FRESH_MS = 50;
/** Connections beyond the bound that may wait to be heard for the first time: one turn of the event loop accepts many. */
const UNHEARD = 128;

/**
 * The connections of the admin port, at most `max` of those that had a chance to say something. When there are more, some
 * give way: of the address with most connections one without a request, then one that has been answered before, then a newcomer that has
 * said nothing yet, and only then, the oldest first, one whose first request is being answered. So probes are answered whatever others do:
 * who is slow is cut before who is new, and nobody before he was listened to, however busy the machine is.
 */
export class AdminConnections {
  /** In the order in which their state changed last. */
  readonly #held = new Map<Socket, Held>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#held.size;
  }

  /** Takes a new connection, and cuts others where there are too many. */
  add(socket: Socket): void {
    const held = {
      address: networkOf(socket.remoteAddress ?? ''),
      sinceMs: 0,
      heard: false,
      working: false,
      served: false,
    };
    this.#held.set(socket, held);
    socket.once('close', () => this.#held.delete(socket));
    this.#listen(held);
    this.#makeRoom();
  }

  /** It speaks HTTP from now on; before there was a handshake. */
  entered(socket: Socket): void {
    const held = this.#held.get(socket);
    if (held !== undefined) this.#listen(held);
  }

  /** A whole request has come on it. */
  asked(socket: Socket): void {
    this.#change(socket, { working: true });
  }

  /** An answer was handed over, which its peer may take or not. */
  answered(socket: Socket): void {
    this.#change(socket, { served: true });
  }

  /** The answer is taken. */
  rests(socket: Socket): void {
    this.#change(socket, { working: false });
  }

  destroyAll(): void {
    for (const socket of this.#held.keys()) socket.destroy();
  }

  #change(socket: Socket, change: Partial<Held>): void {
    const held = this.#held.get(socket);
    if (held === undefined) return;
    this.#held.delete(socket);
    this.#held.set(socket, Object.assign(held, change));
  }

  /** What was sent with the connection is read in the next turn at the latest. */
  #listen(held: Held): void {
    held.sinceMs = performance.now();
    held.heard = false;
    setImmediate(() => {
      setImmediate(() => {
        held.heard = true;
        this.#makeRoom();
      });
    });
  }

  #makeRoom(): void {
    while (this.#held.size > this.#max) {
      const victim = this.#victim();
      if (victim === undefined) return;
      this.#held.delete(victim);
      victim.destroy();
    }
  }

  #victim(): Socket | undefined {
    const most = mostOf([...this.#held.values()].map(({ address }) => address));
    const crowd = [...this.#held].filter(([, { address }]) => address === most);
    const mayWait = this.#held.size <= this.#max + UNHEARD;
    const freshMs = performance.now() - FRESH_MS;
    const first = (is: (held: Held) => boolean) => crowd.find(([, held]) => is(held))?.[0];
    return (
      first(({ heard, working, sinceMs }) => heard && !working && sinceMs < freshMs) ??
      first(({ served }) => served) ??
      first(({ heard, working }) => heard && !working) ??
      (mayWait && crowd.some(([, { heard }]) => !heard) ? undefined : crowd[0]?.[0])
    );
  }
}

function mostOf(addresses: readonly string[]): string | undefined {
  const counts = new Map<string, number>();
  for (const address of addresses) counts.set(address, (counts.get(address) ?? 0) + 1);
  let most: string | undefined;
  for (const [address, count] of counts) if (count > (counts.get(most ?? '') ?? 0)) most = address;
  return most;
}
