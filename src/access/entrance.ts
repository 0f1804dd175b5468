import type { Socket } from 'node:net';
import type { AccessEvents, AccessPort } from '../model/events/access.js';
import { isLoopback, type Peer } from './peer.js';

/** What becomes of a connection that was accepted: it enters, or is destroyed, and that is told. */
export interface Entrance {
  /** `enter` gets the socket to speak on, once, and not where the connection is gone before. */
  admit(raw: Socket, enter: (socket: Socket, peer: Peer) => void): void;
}

export type Plaintext = 'loopback' | 'anywhere';

export interface PlainEntranceOptions {
  readonly port: AccessPort;
  /** From where plain text is enough for more than what everybody may see. */
  readonly from: Plaintext;
}

/** Lets everybody in without TLS; who comes from elsewhere, and may not, is marked. */
export class PlainEntrance implements Entrance {
  readonly #options: PlainEntranceOptions;

  constructor(options: PlainEntranceOptions) {
    this.#options = options;
  }

  admit(raw: Socket, enter: (socket: Socket, peer: Peer) => void): void {
    const address = raw.remoteAddress ?? '';
    const { port, from } = this.#options;
    const trusted = from === 'anywhere' || isLoopback(address);
    const message = `plain text is taken from this machine's loopback only: set ${port}.tls, or ${port}.plaintext to anywhere`;
    const refusal = trusted ? undefined : ({ reason: 'plaintext', message } as const);
    enter(raw, { address, names: [], refusal });
  }
}

export type EntranceEvents = Pick<AccessEvents, 'refused'>;
