import { CertificateWatch } from '../access/certificate-watch.js';
import { type Entrance, PlainEntrance } from '../access/entrance.js';
import { CallGuard, type CallGuardOptions, type Need } from '../access/guard.js';
import { TlsEntrance } from '../access/tls-entrance.js';
import { TokenWatch } from '../access/token-watch.js';
import { type Caller, type KnownTokens, Tokens } from '../access/tokens.js';
import type { ReplicaTls } from '../cluster/index.js';
import type { Config } from '../config/index.js';
import type { Clock } from '../lib/clock.js';
import type { SecretMasks } from '../lib/secrets.js';
import type { Right } from '../model/access.js';
import type { AccessEvents, AccessPort } from '../model/events/access.js';
import { RPC_BOUNDS } from '../rpc/options.js';
import { needOf } from './needs.js';

/** How one port is entered, and who may call what there. */
export interface PortAccess {
  readonly entrance: Entrance;
  readonly guard: CallGuard;
}

export interface DaemonAccessOptions {
  readonly config: Config;
  readonly clock: Clock;
  readonly events: AccessEvents;
  readonly masks: SecretMasks;
}

const ADMIN: Caller = { name: 'admin.token', may: ['read', 'operate'] };

/**
 * Certificates and who is let in, of both ports.
 *
 * States: created → `start`, with the certificates read → keeping up with their files → `stop`.
 */
export class DaemonAccess {
  readonly #options: DaemonAccessOptions;
  readonly #tokens: TokenWatch;
  readonly #watches = new Map<AccessPort, CertificateWatch>();

  constructor(options: DaemonAccessOptions) {
    this.#options = options;
    const { config, clock, events, masks } = options;
    const files = Object.entries(config.tokens).map(([name, { file, may }]) => ({ name, file, may: may as Right[] }));
    this.#tokens = new TokenWatch({ files, clock, events, mask: (good) => masks.hold('tokens', good) });
  }

  /** Throws TLS_FILES_UNUSABLE and TOKENS_UNREADABLE. */
  async start(): Promise<void> {
    await this.#tokens.start();
    const { config, clock, events, masks } = this.#options;
    for (const port of ['grpc', 'admin'] as const) {
      const { certFile, keyFile, clientCaFile } = config[port].tls;
      if (certFile === undefined || keyFile === undefined) continue;
      const files = { certFile, keyFile, caFile: clientCaFile };
      const mask = (key: string) => masks.hold(`${port}.tls`, [key]);
      const watch = new CertificateWatch({ port, files, clock, events, mask });
      this.#watches.set(port, watch);
      await watch.start();
    }
  }

  stop(): void {
    this.#tokens.stop();
    for (const watch of this.#watches.values()) watch.stop();
  }

  /** Of the ports that speak TLS, once they are started. */
  get certificates(): readonly { readonly port: AccessPort; readonly daysLeft: number }[] {
    return [...this.#watches].flatMap(([port, watch]) => (watch.started ? [{ port, daysLeft: watch.daysLeft }] : []));
  }

  /**
   * What this daemon shows to the gRPC port of another one, and trusts there: its own certificate, and the authorities of clients.
   * Undefined where the port speaks plain text.
   */
  replicaTls(serverName: string | undefined): ReplicaTls | undefined {
    const watch = this.#watches.get('grpc');
    if (watch === undefined) return undefined;
    return {
      current: () => {
        const { ca = '', cert, key } = watch.identity;
        return { ca, cert, key };
      },
      serverName,
      onChange: (listener) => watch.onChange(() => queueMicrotask(listener)),
    };
  }

  grpc(): PortAccess {
    const { tokens, flyte } = this.#options.config;
    const wanted = Object.keys(tokens).length > 0;
    const { requireToken } = flyte;
    const needs = (path: string) => needOf(path, requireToken);
    return {
      entrance: this.#entrance('grpc', 'h2'),
      guard: this.#guard('grpc', needs, () => (wanted ? this.#tokens.tokens : undefined)),
    };
  }

  /** Its guard is asked for what is not open to all. The token of `admin.token` is good for all of it, and for nothing else. */
  admin(): PortAccess & { readonly hasTokens: boolean } {
    const { admin, tokens } = this.#options.config;
    const own = admin.token === undefined ? [] : [{ token: admin.token, caller: ADMIN }];
    const ofAdmin = new Tokens(own);
    const both: KnownTokens = {
      callerOf: (token) => ofAdmin.callerOf(token) ?? this.#tokens.tokens.callerOf(token),
      hasMark: (mark) => ofAdmin.hasMark(mark) || this.#tokens.tokens.hasMark(mark),
    };
    return {
      entrance: this.#entrance('admin', 'http/1.1'),
      guard: this.#guard(
        'admin',
        () => 'operate',
        () => both,
      ),
      hasTokens: own.length > 0 || Object.keys(tokens).length > 0,
    };
  }

  #guard(port: AccessPort, needs: (path: string) => Need, known: CallGuardOptions['tokens']): CallGuard {
    const onTokens = (listener: () => void) => this.#tokens.onChange(listener);
    return new CallGuard({ port, needs, tokens: known, onTokens, events: this.#options.events });
  }

  #entrance(port: AccessPort, protocol: 'h2' | 'http/1.1'): Entrance {
    const { config, events } = this.#options;
    const { plaintext, tls } = config[port];
    const { clientNames } = tls;
    const watch = this.#watches.get(port);
    if (watch === undefined) return new PlainEntrance({ port, from: plaintext });
    const { handshakeTimeoutMs } = RPC_BOUNDS;
    // Metrics and probes of the admin port are for everybody.
    return new TlsEntrance({ port, watch, protocol, clientNames, strict: port === 'grpc', handshakeTimeoutMs, events });
  }
}
