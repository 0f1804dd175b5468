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

/** Who signs and checks handles, and the key that is kept with what it signs for. */
export interface KeyTaker {
  readonly trust: HandleTrust;
  readonly kept: KeptKey | undefined;
}

export interface HandleKeyWatchOptions {
  /** undefined: handles are signed with the key of the state, or not at all where there is none. */
  readonly file: string | undefined;
  readonly masks: SecretMasks;
  readonly clock: Clock;
  readonly log: Log;
}

/**
 * Gives the keys of the operator's file to all by whom handles are trusted, and keeps up with the file. The key that a state keeps signs
 * where there is no file, and verifies below those of a file, so that an operator can go over from the one to the other. What has
 * changed is taken when a second look finds the same. A file that cannot be used any more changes nothing: an orchestrator swaps it in several steps, and without keys every handle would be refused.
 *
 * States: created → `read`, or the first `take` → looking, every ten seconds, while others are taken and let go of → `stop` → stopped.
 */
export class HandleKeyWatch {
  readonly #options: HandleKeyWatchOptions;
  readonly #settling = new Settling();
  readonly #takers = new Map<HandleTrust, KeptKey | undefined>();
  /** Why the file could not be used at the start. */
  #begun: Promise<string | undefined> | undefined;
  #timer: Timer | undefined;
  /** What was found waits for its second look. */
  #unsettled = false;
  #stopped = false;
  #text: string | undefined;
  /** The keys of the file. */
  #texts: readonly string[] = [];
  #problem: string | undefined;
  #told = '';

  constructor(options: HandleKeyWatchOptions) {
    this.#options = options;
  }

  /** Those sign and check from here on, until `letGo`. Throws HANDLE_KEYS_UNREADABLE where the file was never read; none is taken then. */
  async take(takers: readonly KeyTaker[]): Promise<void> {
    const { file, masks, log } = this.#options;
    for (const { kept } of takers) if (kept !== undefined) masks.addRead(kept.text);
    if (file !== undefined) await this.#begin(file);
    for (const { trust, kept } of takers) {
      this.#takers.set(trust, kept);
      this.#use(trust, kept?.bornMsAgo ?? 0);
    }
    const keys = this.#idsOf(takers);
    // Of parts that come one after the other it is told once.
    const news = file === undefined ? 'kept' : keys.join();
    if (keys.length === 0 || news === this.#told) return;
    this.#told = news;
    if (file !== undefined) log.emit('handle.keys', { file, keys });
    else log.emit('handle.key_kept_in_state', { keys });
  }

  /** Before anybody is given keys: what cannot be read is told, and looked for until it can. */
  async read(): Promise<void> {
    const { file } = this.#options;
    if (file === undefined) return;
    this.#tell(file, await this.#look(file));
    if (this.#timer === undefined) this.#later(file);
  }

  /** With which keys a part signs and checks that keeps this one, for who stands in for its owner. Throws OWNER_AWAY where the file was never read. */
  textsWith(kept: string): readonly string[] {
    if (this.#options.file !== undefined && this.#text === undefined) {
      throw new HostError('OWNER_AWAY', 'the keys of handles could not be read here', { retryAfterMs: LOOK_MS });
    }
    this.#options.masks.addRead(kept);
    return this.#textsFor({ text: kept, bornMsAgo: 0 });
  }

  /** It is given no keys any more. */
  letGo(trust: HandleTrust): void {
    this.#takers.delete(trust);
  }

  /** How many are given keys. */
  get size(): number {
    return this.#takers.size;
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  async #begin(file: string): Promise<void> {
    this.#begun ??= this.#look(file);
    const problem = await this.#begun;
    if (problem !== undefined) {
      this.#begun = undefined;
      const mend = 'write the keys there, one a line, or take handles.keysFile out, so that handles are not signed';
      throw new HostError('HANDLE_KEYS_UNREADABLE', `${file} of handles.keysFile: ${problem}; ${mend}`);
    }
    if (this.#timer === undefined) this.#later(file);
  }

  #later(file: string): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.setTimer(this.#unsettled ? AGAIN_MS : LOOK_MS, () => {
      void this.#look(file).then((problem) => {
        this.#tell(file, problem);
        this.#later(file);
      });
    });
  }

  /** Once for each reason. */
  #tell(file: string, problem: string | undefined): void {
    if (problem !== undefined && problem !== this.#problem) {
      this.#options.log.emit(this.#text === undefined ? 'handle.keys_unread' : 'handle.keys_kept', {
        file,
        error: problem,
      });
    }
    this.#problem = problem;
  }

  /** `bornMsAgo`: where it is the first time. */
  #use(trust: HandleTrust, bornMsAgo?: number): void {
    const texts = this.#textsFor(this.#takers.get(trust));
    if (texts.length > 0) trust.use(new HandleKeys(texts), bornMsAgo);
  }

  #textsFor(kept: KeptKey | undefined): readonly string[] {
    return kept === undefined || this.#texts.includes(kept.text) ? this.#texts : [...this.#texts, kept.text];
  }

  #idsOf(takers: readonly { readonly kept: KeptKey | undefined }[]): readonly string[] {
    const texts = new Set(takers.flatMap(({ kept }) => this.#textsFor(kept)));
    return texts.size === 0 ? [] : new HandleKeys([...texts]).ids;
  }

  /** Answers why the file cannot be used. */
  async #look(file: string): Promise<string | undefined> {
    const { masks, log } = this.#options;
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
    const isChange = this.#text !== undefined;
    this.#text = text;
    this.#texts = texts;
    for (const trust of this.#takers.keys()) this.#use(trust);
    if (isChange)
      log.emit('handle.keys', { file, keys: this.#idsOf([...this.#takers.values()].map((kept) => ({ kept }))) });
    return undefined;
  }
}
