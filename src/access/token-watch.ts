import { HostError, messageOf } from '../errors/index.js';
import type { Clock, Timer } from '../lib/clock.js';
import { getOrMake } from '../lib/get-or-make.js';
import { readSmall } from '../lib/read-small.js';
import { Settling } from '../lib/settling.js';
import type { AccessEvents } from '../model/events/access.js';
import { type Caller, Tokens } from './tokens.js';

const LOOK_MS = 10_000;
/** A file that has changed may be in the midst of being written. */
const AGAIN_MS = 1_000;
const MAX_BYTES = 64 * 1024;
/** In one file: the one in use, the next, and some. */
const MAX_TOKENS = 10;
const TOKEN = /^[\x21-\x7e]{16,4096}$/;

export interface TokenFile extends Caller {
  readonly file: string;
}

export interface TokenWatchOptions {
  readonly files: readonly TokenFile[];
  readonly clock: Clock;
  readonly events: Pick<AccessEvents, 'tokens' | 'tokensKept'>;
  /** Told of the tokens that are good from now on, so that no log shows them. */
  readonly mask: (tokens: readonly string[]) => void;
}

/**
 * Keeps up with files of tokens, one a line; each line is good, so that one can be exchanged for another while both are. What a file
 * holds anew is taken when a second look finds the same. One that cannot be used leaves the tokens that it held last; one that is emptied on purpose is to be taken out of the configuration.
 *
 * States: created → `start` → looking, every ten seconds → `stop` → stopped.
 */
export class TokenWatch {
  readonly #options: TokenWatchOptions;
  /** What each file held when it could last be used. */
  readonly #held = new Map<string, readonly string[]>();
  readonly #settling = new Map<string, Settling>();
  readonly #listeners = new Set<() => void>();
  #started = false;
  /** A file waits for its second look. */
  #unsettled = false;
  #problem: string | undefined;
  #timer: Timer | undefined;
  #stopped = false;
  tokens = new Tokens([]);

  constructor(options: TokenWatchOptions) {
    this.#options = options;
  }

  /** Throws TOKENS_UNREADABLE. */
  async start(): Promise<void> {
    const problem = await this.#look();
    if (problem !== undefined) throw new HostError('TOKENS_UNREADABLE', problem);
    this.#started = true;
    this.#later();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#listeners.clear();
  }

  /** Calls back whenever other tokens are good from then on. */
  onChange(listener: () => void): void {
    this.#listeners.add(listener);
  }

  #isSettled(name: string, found: string): boolean {
    const settling = getOrMake(this.#settling, name, () => new Settling());
    return settling.settled(found) || !this.#started;
  }

  #later(): void {
    if (this.#stopped || this.#options.files.length === 0) return;
    this.#timer = this.#options.clock.setTimer(this.#unsettled ? AGAIN_MS : LOOK_MS, () => {
      void this.#look().then((problem) => {
        if (problem !== undefined && problem !== this.#problem) this.#options.events.tokensKept({ error: problem });
        this.#problem = problem;
        this.#later();
      });
    });
  }

  /** Answers what is wrong; the files that are right are in use all the same. */
  async #look(): Promise<string | undefined> {
    const problems: string[] = [];
    const changed: string[] = [];
    this.#unsettled = false;
    for (const { name, file } of this.#options.files) {
      try {
        const found = tokensOf(await readSmall(file, MAX_BYTES));
        const settled = this.#isSettled(name, found.join('\n'));
        if (found.join('\n') === this.#held.get(name)?.join('\n')) continue;
        if (!settled) {
          this.#unsettled = true;
          continue;
        }
        const other = [...this.#held].find(
          ([holder, held]) => holder !== name && found.some((one) => held.includes(one)),
        );
        if (other !== undefined) throw new Error(`it holds a token of ${other[0]}, and a token has one name`);
        this.#held.set(name, found);
        changed.push(name);
      } catch (error) {
        problems.push(`${file} of tokens.${name}: ${messageOf(error)}`);
      }
    }
    if (changed.length > 0) this.#use(changed);
    return problems.length === 0 ? undefined : problems.join('; ');
  }

  #use(names: readonly string[]): void {
    const { files, mask, events } = this.#options;
    const all = files.flatMap(({ name, may }) =>
      (this.#held.get(name) ?? []).map((token) => ({ token, caller: { name, may } })),
    );
    mask(all.map(({ token }) => token));
    this.tokens = new Tokens(all);
    events.tokens({ names });
    for (const listener of this.#listeners) listener();
  }
}

/** The lines of a file. Throws where one is no token, without a word of it. */
function tokensOf(text: string): string[] {
  const lines = text.split(/\r?\n/).map((line) => line.trim());
  const tokens = lines.filter((line) => line !== '');
  if (tokens.length === 0) throw new Error('it holds no token; expected one a line');
  if (tokens.length > MAX_TOKENS) throw new Error(`it holds ${tokens.length} tokens, expected at most ${MAX_TOKENS}`);
  if (!tokens.every((token) => TOKEN.test(token))) {
    throw new Error('a line of it is no token; expected 16 to 4096 visible ASCII characters');
  }
  return tokens;
}
