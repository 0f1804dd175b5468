import { HostError, messageOf } from '../errors/index.js';
import type { Clock, Timer } from '../lib/clock.js';
import { readSmall } from '../lib/read-small.js';
import type { SecretMasks } from '../lib/secrets.js';
import { Settling } from '../lib/settling.js';
import { HandleKeys, handleKeyTexts } from '../model/handle-keys.js';
import type { HandleTrust } from '../tasks/read/handle-trust.js';
import type { Log } from '../telemetry/index.js';

/** More than as many keys as there may be, each as long as it may be. */
const MAX_BYTES = 64 * 1024;
/** Between two looks at the file. */
const LOOK_MS = 10_000;
/** A file that has changed may be in the midst of being written, and what a cut key signs is nobody's later. */
const AGAIN_MS = 1_000;

/** The key that the state keeps. */
export interface KeptKey {
  readonly text: string;
  /** The age of the state. */
  readonly bornMsAgo: number;
}

export interface HandleKeyWatchOptions {
  /** undefined: handles are signed with the key of the state, or not at all where there is none. */
  readonly file: string | undefined;
  readonly trust: HandleTrust;
  readonly masks: SecretMasks;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Gives the keys of the operator's file to whom handles are trusted by, and keeps up with the file. The key of the state signs
 * where there is no file, and verifies below those of a file, so that an operator can go over from the one to the other. What has
 * changed is taken when a second look finds the same. A file that cannot be used any more changes nothing: an orchestrator swaps it in several steps, and without keys every handle would be refused.
 *
 * States: created → `start` → looking, every ten seconds → `stop` → stopped.
 */
export class HandleKeyWatch {
  readonly #options: HandleKeyWatchOptions;
  readonly #settling = new Settling();
  #timer: Timer | undefined;
  /** What was found waits for its second look. */
  #unsettled = false;
  #stopped = false;
  #text: string | undefined;
  #problem: string | undefined;
  #kept: KeptKey | undefined;

  constructor(options: HandleKeyWatchOptions) {
    this.#options = options;
  }

  /** Throws HANDLE_KEYS_UNREADABLE. */
  async start(kept?: KeptKey): Promise<void> {
    const { file, trust, masks, log } = this.#options;
    this.#kept = kept;
    if (kept !== undefined) masks.addRead(kept.text);
    if (file === undefined) {
      if (kept === undefined) return;
      const keys = new HandleKeys([kept.text]);
      trust.use(keys, kept.bornMsAgo);
      log.emit('handle.key_kept_in_state', { keys: keys.ids });
      return;
    }
    const problem = await this.#look(file);
    if (problem !== undefined) {
      const mend = 'write the keys there, one a line, or take handles.keysFile out, so that handles are not signed';
      throw new HostError('HANDLE_KEYS_UNREADABLE', `${file} of handles.keysFile: ${problem}; ${mend}`);
    }
    this.#later(file);
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  #later(file: string): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.setTimer(this.#unsettled ? AGAIN_MS : LOOK_MS, () => {
      void this.#look(file).then((problem) => {
        if (problem !== undefined && problem !== this.#problem) {
          this.#options.log.emit('handle.keys_kept', { file, error: problem });
        }
        this.#problem = problem;
        this.#later(file);
      });
    });
  }

  #ofState(texts: readonly string[]): readonly string[] {
    const text = this.#kept?.text;
    return text === undefined || texts.includes(text) ? [] : [text];
  }

  /** Answers why the file cannot be used. */
  async #look(file: string): Promise<string | undefined> {
    const { trust, masks, log } = this.#options;
    let text: string;
    this.#unsettled = false;
    try {
      text = await readSmall(file, MAX_BYTES);
    } catch (error) {
      return messageOf(error);
    }
    const settled = this.#settling.settled(text);
    if (text === this.#text) return undefined;
    const texts = handleKeyTexts(text);
    if ('problem' in texts) return texts.problem;
    if (this.#text !== undefined && !settled) {
      this.#unsettled = true;
      return undefined;
    }
    masks.hold('handles.keysFile', texts);
    const keys = new HandleKeys([...texts, ...this.#ofState(texts)]);
    trust.use(keys, this.#text === undefined ? (this.#kept?.bornMsAgo ?? 0) : undefined);
    this.#text = text;
    log.emit('handle.keys', { file, keys: keys.ids });
    return undefined;
  }
}
