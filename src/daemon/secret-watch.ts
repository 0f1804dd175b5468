import { SECRET_FILES, SecretFiles } from '../data/secret-files.js';
import type { Clock, Timer } from '../lib/clock.js';
import type { SecretMasks } from '../lib/secrets.js';
import type { Log } from '../telemetry/index.js';

/** Between two looks at the folder of secrets. */
const LOOK_MS = 10_000;

export interface SecretWatchOptions {
  readonly dir: string;
  readonly masks: SecretMasks;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Keeps the masks of the daemon up with the folder of secrets: a plugin may read a file there by itself, and print it.
 *
 * States: created → `start` → looking, every ten seconds → `stop` → stopped.
 */
export class SecretWatch {
  readonly #options: SecretWatchOptions;
  readonly #files: SecretFiles;
  #timer: Timer | undefined;
  #stopped = false;
  #told = 0;

  constructor(options: SecretWatchOptions) {
    this.#options = options;
    this.#files = new SecretFiles(options.dir);
  }

  /** Resolves after the first look, so that no plugin runs before it. */
  async start(): Promise<void> {
    await this.#look();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #look(): Promise<void> {
    const { masks, clock, dir } = this.#options;
    const { fresh, gone, left } = await this.#files.look();
    for (const { file, text } of fresh) masks.hold(file, [text]);
    for (const file of gone) masks.hold(file, []);
    if (left > this.#told) {
      const { max, maxFileBytes, maxBytes } = SECRET_FILES;
      const reason = `${left} files are not read: more than ${max}, or than ${maxBytes} bytes of all, or ${maxFileBytes} of one, or closed to the daemon`;
      this.#options.log.emit('secrets.unmasked', { where: dir, reason });
    }
    this.#told = left;
    if (!this.#stopped) this.#timer = clock.setTimer(LOOK_MS, () => void this.#look());
  }
}
