import { constants } from 'node:crypto';
import type { Socket } from 'node:net';
import { createServer, type SecureContextOptions, type Server, type TLSSocket } from 'node:tls';
import type { AccessPort, AccessRefusal } from '../model/events/access.js';
import type { CertificateWatch } from './certificate-watch.js';
import type { Identity } from './certificates.js';
import type { Entrance, EntranceEvents } from './entrance.js';
import { awaitHello } from './hello.js';
import { allowsName, certificateNames } from './names.js';
import { networkOf, type Peer, type PeerRefusal } from './peer.js';

/** Handshakes that begin in one turn of the event loop; each costs a signature, about a millisecond. */
const PER_TURN = 8;

export interface TlsEntranceOptions {
  readonly port: AccessPort;
  readonly watch: CertificateWatch;
  /** The protocol that is spoken within. */
  readonly protocol: 'h2' | 'http/1.1';
  /** Who may come in of those whom the authorities know; everybody where it is empty. */
  readonly clientNames: readonly string[];
  /** Whether the connection of a client without a certificate that verifies is closed; otherwise it is only marked. */
  readonly strict: boolean;
  /** A handshake that takes longer is cut. */
  readonly handshakeTimeoutMs: number;
  readonly events: EntranceEvents;
}

interface Entering {
  readonly raw: Socket;
  readonly address: string;
  readonly enter: (socket: Socket, peer: Peer) => void;
}

/**
 * Speaks TLS with whoever comes, and hands on what is within. Where there are authorities for clients, a certificate is asked for.
 *
 * States of a connection: greeting (its first message is not complete) → in line, by its address → in handshake → entered, or
 * destroyed from any of them; how long it may take is the port's bound.
 */
export class TlsEntrance implements Entrance {
  readonly #options: TlsEntranceOptions;
  readonly #server: Server;
  /** In handshake, by both ends of their connections: TLS tells of its own socket alone. */
  readonly #shaking = new Map<string, Entering>();
  readonly #lines = new Map<string, Entering[]>();
  #scheduled = false;

  constructor(options: TlsEntranceOptions) {
    this.#options = options;
    const { watch, protocol, handshakeTimeoutMs } = options;
    const { identity } = watch;
    this.#server = createServer({
      ...contextOf(identity),
      ALPNProtocols: [protocol],
      requestCert: identity.ca !== undefined,
      // Judged below, so that the reason is told.
      rejectUnauthorized: false,
      handshakeTimeout: handshakeTimeoutMs,
    });
    watch.onChange((next) => this.#server.setSecureContext(contextOf(next)));
    this.#server.on('secureConnection', (socket) => this.#secured(socket));
    this.#server.on('tlsClientError', (error: NodeJS.ErrnoException, socket) => {
      this.#refuse(socket, 'handshake', error.code ?? error.message);
    });
  }

  admit(raw: Socket, accept: (socket: Socket, peer: Peer) => void): void {
    const late = () => this.#refuse(raw, 'handshake', 'it took too long');
    const timer = setTimeout(late, this.#options.handshakeTimeoutMs).unref();
    raw.once('close', () => clearTimeout(timer));
    const enter = (socket: Socket, peer: Peer) => {
      clearTimeout(timer);
      accept(socket, peer);
    };
    const entering = { raw, address: raw.remoteAddress ?? '', enter };
    awaitHello(raw, {
      whole: () => this.#wait(entering),
      none: () => this.#refuse(raw, 'not_tls', 'its first bytes are no first message of TLS'),
    });
  }

  #wait(entering: Entering): void {
    const network = networkOf(entering.address);
    const line = this.#lines.get(network);
    if (line === undefined) this.#lines.set(network, [entering]);
    else line.push(entering);
    this.#schedule();
  }

  #schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#turn());
  }

  /** Addresses take turns, so that a crowd at one of them holds up itself. */
  #turn(): void {
    this.#scheduled = false;
    let left = PER_TURN;
    while (left > 0 && this.#lines.size > 0) {
      const [address, line] = this.#lines.entries().next().value as [string, Entering[]];
      this.#lines.delete(address);
      const next = line.shift();
      if (line.length > 0) this.#lines.set(address, line);
      if (next === undefined || next.raw.destroyed) continue;
      left -= 1;
      this.#shake(next);
    }
    if (this.#lines.size > 0) this.#schedule();
  }

  #shake(entering: Entering): void {
    const { raw } = entering;
    const key = keyOf(raw);
    this.#shaking.set(key, entering);
    raw.once('close', () => {
      if (this.#shaking.get(key) === entering) this.#shaking.delete(key);
    });
    this.#server.emit('connection', raw);
  }

  #secured(socket: TLSSocket): void {
    const key = keyOf(socket);
    const entering = this.#shaking.get(key);
    // Its peer went meanwhile.
    if (entering === undefined) {
      socket.destroy();
      return;
    }
    this.#shaking.delete(key);
    // A client that names no protocol is none of gRPC's; over HTTP/1.1 it is usual.
    if (this.#options.protocol === 'h2' && socket.alpnProtocol !== 'h2') {
      this.#refuse(socket, 'handshake', 'it does not offer the protocol h2');
      return;
    }
    const { names, refusal } = this.#judge(socket);
    if (refusal !== undefined && refusal.reason !== 'name' && this.#options.strict) {
      this.#refuse(socket, refusal.reason, refusal.message);
      return;
    }
    entering.enter(socket, { address: entering.address, names, refusal });
  }

  #judge(socket: TLSSocket): { readonly names: readonly string[]; readonly refusal: PeerRefusal | undefined } {
    const { port, watch, clientNames } = this.#options;
    if (watch.identity.ca === undefined) return { names: [], refusal: undefined };
    const certificate = socket.getPeerCertificate();
    if (Object.keys(certificate ?? {}).length === 0) {
      const message = `a client certificate is needed, of an authority in ${port}.tls.clientCaFile`;
      return { names: [], refusal: { reason: 'no_certificate', message } };
    }
    if (!socket.authorized) {
      const message = `the client certificate does not verify: ${String(socket.authorizationError)}`;
      return { names: [], refusal: { reason: 'certificate', message } };
    }
    const names = certificateNames(certificate);
    if (clientNames.length === 0 || allowsName(clientNames, names)) return { names, refusal: undefined };
    const message = `the client certificate is for ${names.join(', ').slice(0, 300)}, and none of them is in ${port}.tls.clientNames`;
    return { names, refusal: { reason: 'name', message } };
  }

  #refuse(socket: Socket, reason: AccessRefusal, detail: string): void {
    const { port, events } = this.#options;
    events.refused({ port, reason, remote: socket.remoteAddress ?? '', detail });
    socket.destroy();
  }
}

function contextOf({ cert, key, ca }: Identity): SecureContextOptions {
  return {
    cert,
    key,
    ...(ca === undefined ? {} : { ca }),
    minVersion: 'TLSv1.2',
    secureOptions: constants.SSL_OP_NO_RENEGOTIATION,
  };
}

const keyOf = ({ remoteAddress, remotePort, localAddress, localPort }: Socket): string =>
  `${remoteAddress} ${remotePort} ${localAddress} ${localPort}`;
