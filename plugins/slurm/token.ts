import { readFile } from 'node:fs/promises';
import { type SecretManager, TransientError } from 'webapi-plugin-host';
import type { PluginClock } from './clock.js';
import type { ClusterSettings } from './settings.js';

/** A token this close to its end is read anew, so that it does not expire on the way. */
const RENEW_BEFORE_MS = 30_000;
/** A token whose end is not known is read anew this often. */
const REREAD_AFTER_MS = 300_000;

/** When a JWT ends, in milliseconds since the epoch; undefined where it does not say or is no JWT. */
export function expiryOf(token: string): number | undefined {
  const payload = token.split('.')[1];
  if (payload === undefined) return undefined;
  try {
    const claims: unknown = JSON.parse(Buffer.from(payload, 'base64url').toString('utf8'));
    const exp = (claims as { exp?: unknown } | null)?.exp;
    return typeof exp === 'number' && Number.isFinite(exp) ? exp * 1000 : undefined;
  } catch {
    return undefined;
  }
}

/**
 * The token of one cluster, kept until shortly before it expires and then read again from where the operator puts the
 * next one. Several callers share one read.
 */
export class TokenSource {
  #kept: { readonly token: string; readonly readAtMs: number } | undefined;
  #reading: Promise<string> | undefined;

  constructor(
    private readonly cluster: string,
    private readonly source: ClusterSettings['token'],
    private readonly secrets: SecretManager,
    private readonly clock: PluginClock,
  ) {}

  /**
   * The token to send now.
   * @throws TransientError `SlurmToken` when it cannot be read, or has expired and no newer one is there
   */
  async current(): Promise<string> {
    const kept = this.#kept;
    if (kept !== undefined && this.#isFresh(kept.token, kept.readAtMs)) return kept.token;
    const token = await this.#read();
    const expiry = expiryOf(token);
    if (expiry !== undefined && expiry <= this.clock.wallMs()) {
      throw new TransientError(
        `the Slurm token of cluster '${this.cluster}' expired${timeOf(expiry)} and ` +
          `${this.#where()} holds no newer one; put a new token there`,
        { code: 'SlurmToken' },
      );
    }
    return token;
  }

  /** Reads again after Slurm refused `refused`; undefined when the source still holds the same token. */
  async renewed(refused: string): Promise<string | undefined> {
    if (this.#kept !== undefined && this.#kept.token !== refused) return this.#kept.token;
    const token = await this.#read();
    return token === refused ? undefined : token;
  }

  #isFresh(token: string, readAtMs: number): boolean {
    const expiry = expiryOf(token);
    return expiry === undefined
      ? this.clock.monotonicMs() - readAtMs < REREAD_AFTER_MS
      : this.clock.wallMs() < expiry - RENEW_BEFORE_MS;
  }

  #where(): string {
    return 'file' in this.source ? this.source.file : `secret ${this.source.secret.group}/${this.source.secret.key}`;
  }

  #read(): Promise<string> {
    this.#reading ??= this.#load().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async #load(): Promise<string> {
    let text: string;
    try {
      text =
        'file' in this.source
          ? await readFile(this.source.file, 'utf8')
          : await this.secrets.get(this.source.secret.group, this.source.secret.key);
    } catch (error) {
      throw new TransientError(
        `the Slurm token of cluster '${this.cluster}' cannot be read from ${this.#where()}: ${(error as Error).message}`,
        { code: 'SlurmToken', cause: error },
      );
    }
    // what `scontrol token` prints may be put there as it is
    const token = text.trim().replace(/^SLURM_JWT=/, '');
    if (!/^[\x21-\x7e]+$/.test(token)) {
      throw new TransientError(`${this.#where()} holds no Slurm token (empty, or not one line of ASCII)`, {
        code: 'SlurmToken',
      });
    }
    this.#kept = { token, readAtMs: this.clock.monotonicMs() };
    return token;
  }
}

/** A token may name any number. */
function timeOf(wallMs: number): string {
  const date = new Date(wallMs);
  return Number.isNaN(date.getTime()) ? '' : ` at ${date.toISOString()}`;
}
