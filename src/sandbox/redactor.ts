import { SecretMasks } from '../lib/secrets.js';

/** Of a text that a plugin threw so much is looked at: it may hold megabytes. */
const MAX_READ = 256 * 1024;
/** Read secrets that the daemon was told of. */
const MAX_TOLD = 2_000;

/** Tells whoever takes what this process prints; resolves when it is known there. */
export type TellSecret = (value: string) => Promise<void>;

/** Masks the secrets this process has seen in texts that leave it (lib/secrets has the rule). Outputs, metas and handles are never altered. */
export class Redactor {
  readonly #masks = new SecretMasks();
  readonly #tell: TellSecret | undefined;
  readonly #told = new Set<string>();

  constructor(tell?: TellSecret) {
    this.#tell = tell;
  }

  /** A secret that came with a call. */
  add(value: string): void {
    this.#masks.add(value);
  }

  /** A secret that is read, before anybody has it. */
  async learn(value: string): Promise<void> {
    this.#masks.addRead(value);
    if (this.#tell === undefined) return;
    // The newest last: one that is still read stays known there, too.
    const known = this.#told.delete(value);
    if (this.#told.size >= MAX_TOLD) this.#told.clear();
    this.#told.add(value);
    if (!known) await this.#tell(value);
  }

  /** Takes the values of all variables but the plain ones; `plain` are those that the operator calls so. */
  addEnvironment(variables: Readonly<Record<string, string | undefined>>, plain: readonly string[] = []): void {
    this.#masks.addVariables(variables, plain);
  }

  addSettings(settings: unknown): void {
    this.#masks.addSettings(settings);
  }

  redact(text: string): string {
    return this.#masks.mask(text);
  }

  /** The same of the start of a text that may be of any length; no part of a secret is left where it was cut. */
  redactStart(text: string): string {
    return this.#masks.maskStart(text, MAX_READ);
  }

  /** Whether one of the secrets appears in the text. */
  reveals(text: string): boolean {
    return this.#masks.reveals(text);
  }
}
