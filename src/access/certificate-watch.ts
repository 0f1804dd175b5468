import { HostError, messageOf } from '../errors/index.js';
import type { Clock, Timer } from '../lib/clock.js';
import { Settling } from '../lib/settling.js';
import type { AccessEvents, AccessPort } from '../model/events/access.js';
import { type CertificateFiles, type Identity, readIdentity } from './certificates.js';

/** Between two looks at the files. */
const LOOK_MS = 10_000;
/** Files that have changed, or cannot be used, may be in the midst of being written, or of being exchanged one after the other. */
const AGAIN_MS = 1_000;
const DAY_MS = 86_400_000;
/** From so many days left on it is told, once a day. */
const FEW_DAYS = 14;

export interface CertificateWatchOptions {
  readonly port: AccessPort;
  readonly files: CertificateFiles;
  readonly clock: Clock;
  readonly events: Pick<AccessEvents, 'certificate' | 'certificateKept' | 'certificateExpires'>;
  /** Told of each private key before it is used. */
  readonly mask?: (key: string) => void;
  /** The wall clock, by which certificates are valid. Default: the machine's. */
  readonly wallMs?: () => number;
}

/**
 * Keeps up with the files of a certificate. They are read, not watched: a symbolic link that is swapped, and a file system over a
 * network, tell nobody. What has changed is taken when a second look finds the same. Files that cannot be used change nothing: the certificate from
 * before goes on, and it is told.
 *
 * States: created → `start` → looking, every ten seconds → `stop` → stopped.
 */
export class CertificateWatch {
  readonly #options: CertificateWatchOptions;
  readonly #listeners = new Set<(identity: Identity) => void>();
  readonly #wallMs: () => number;
  readonly #settling = new Settling();
  #identity: Identity | undefined;
  #timer: Timer | undefined;
  #stopped = false;
  /** What the last look found wrong, and whether it is told. */
  #problem: { readonly text: string; told: boolean } | undefined;
  #toldDay: number | undefined;

  constructor(options: CertificateWatchOptions) {
    this.#options = options;
    this.#wallMs = options.wallMs ?? Date.now;
  }

  /** Throws TLS_FILES_UNUSABLE, with which file is wrong, and how. */
  async start(): Promise<void> {
    try {
      this.#use(await readIdentity(this.#options.files, this.#wallMs()));
    } catch (error) {
      const { port } = this.#options;
      throw new HostError('TLS_FILES_UNUSABLE', `${port}.tls: ${messageOf(error)}`, { cause: error });
    }
    this.#later(LOOK_MS);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#listeners.clear();
  }

  get started(): boolean {
    return this.#identity !== undefined;
  }

  /** What is in use. Throws DAEMON_STATE before `start`. */
  get identity(): Identity {
    if (this.#identity === undefined) throw new HostError('DAEMON_STATE', 'no certificate has been read yet');
    return this.#identity;
  }

  /** Days until it expires; negative ones since. */
  get daysLeft(): number {
    return (this.identity.notAfterMs - this.#wallMs()) / DAY_MS;
  }

  /** Calls back with each new identity from now on. */
  onChange(listener: (identity: Identity) => void): void {
    this.#listeners.add(listener);
  }

  #later(ms: number): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.setTimer(ms, () => {
      void this.#look().then((next) => this.#later(next));
    });
  }

  /** Answers when to look again. */
  async #look(): Promise<number> {
    let next = LOOK_MS;
    try {
      const found = await readIdentity(this.#options.files, this.#wallMs(), this.identity);
      if (this.#stopped) return next;
      const changed = found !== this.identity;
      const text = changed ? JSON.stringify([found.cert, found.key, found.ca]) : '';
      if (this.#settling.settled(text) && changed) this.#use(found);
      else if (changed) next = AGAIN_MS;
      this.#problem = undefined;
    } catch (error) {
      next = this.#unusable(messageOf(error));
    }
    this.#tellDays();
    return next;
  }

  #unusable(text: string): number {
    const { port, events } = this.#options;
    if (this.#problem?.text !== text) {
      this.#problem = { text, told: false };
      return AGAIN_MS;
    }
    if (!this.#problem.told) events.certificateKept({ port, error: text, daysLeft: Math.floor(this.daysLeft) });
    this.#problem.told = true;
    return LOOK_MS;
  }

  #use(identity: Identity): void {
    const { port, events, mask } = this.#options;
    mask?.(identity.key);
    // Who listens first: what they cannot use throws, and is no identity.
    for (const listener of this.#listeners) listener(identity);
    this.#identity = identity;
    this.#toldDay = undefined;
    events.certificate({ port, names: identity.names, notAfterMs: identity.notAfterMs });
    this.#tellDays();
  }

  #tellDays(): void {
    const daysLeft = Math.floor(this.daysLeft);
    if (daysLeft >= FEW_DAYS || daysLeft === this.#toldDay) return;
    this.#toldDay = daysLeft;
    this.#options.events.certificateExpires({ port: this.#options.port, daysLeft: Math.max(0, daysLeft) });
  }
}
