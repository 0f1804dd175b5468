import type { Socket } from 'node:net';

/** What the daemon waits for from this peer, or the other way round. */
interface Held {
  readonly address: string;
  /** Whether a whole request has come that is not answered yet. */
  answering: boolean;
}

/**
 * The connections of the admin port, at most `max`. When it is full a newcomer always gets in, and another one gives way: of
 * the address with most connections, one that has no request under way, the one that was heard of least recently; where all
 * have one, the one whose request came first. So probes are answered whatever others do: who is slow is cut before who is new.
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

  /** Takes a new connection, and cuts another one where there are too many. */
  add(socket: Socket): void {
    this.#held.set(socket, { address: socket.remoteAddress ?? '', answering: false });
    socket.once('close', () => this.#held.delete(socket));
    if (this.#held.size > this.#max) this.#victim(socket)?.destroy();
  }

  /** A whole request has come on it, or was answered. */
  answering(socket: Socket, answering: boolean): void {
    const held = this.#held.get(socket);
    if (held === undefined) return;
    held.answering = answering;
    this.#held.delete(socket);
    this.#held.set(socket, held);
  }

  #victim(newcomer: Socket): Socket | undefined {
    const others = [...this.#held].filter(([socket]) => socket !== newcomer);
    const most = mostOf(others.map(([, { address }]) => address));
    const crowd = others.filter(([, { address }]) => address === most);
    return (crowd.find(([, { answering }]) => !answering) ?? crowd[0])?.[0];
  }
}

function mostOf(addresses: readonly string[]): string | undefined {
  const counts = new Map<string, number>();
  for (const address of addresses) counts.set(address, (counts.get(address) ?? 0) + 1);
  let most: string | undefined;
  for (const [address, count] of counts) if (count > (counts.get(most ?? '') ?? 0)) most = address;
  return most;
}
