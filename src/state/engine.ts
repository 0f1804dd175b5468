import type { HostError } from '../errors/index.js';
import type { FactKey } from './facts/facts.js';
import type { KeyRange } from './facts/part-keys.js';

/** Encoded facts by key. */
export type Puts = ReadonlyMap<FactKey, Buffer>;

/**
 * What a commit compares beside its own part: that the part, whoever has it, was not taken since. One that was given back still has its
 * tenure, until somebody takes it.
 */
export interface Guard {
  readonly part: number;
  readonly tenure: string;
}

/** What is committed of one part of a state, under the tenure that its facts were loaded under. */
export interface PartCommit {
  readonly part: number;
  readonly tenure: string;
  /** By the keys that the engine knows. */
  readonly puts: Puts;
  readonly drops: readonly FactKey[];
  /** None of it is written unless all of them are met. */
  readonly guards?: readonly Guard[] | undefined;
  /** Rows of the inbox that what is written follows from: they end with it, or stay. */
  readonly consumed?: readonly string[] | undefined;
}

/**
 * Why nothing of a part was written. `lost`: STATE_LOCKED, for good. `unmet`: those of its guards that are not, and will not be; the part is
 * held, and may be committed without them.
 */
export type NotWritten = { readonly lost: HostError } | { readonly unmet: readonly Guard[] };

/** Of an engine whose parts may each be taken by another daemon. */
export interface PartFences {
  /** Under which a part is held from now on. Throws STATE_LOCKED where it is not held. */
  tenureOf(part: number): string;
  /**
   * As `StateEngine.commit`, of each part that is still held under its tenure and whose guards are met: no part stands twice. Answers why
   * nothing was written of each other one.
   */
  commit(commits: readonly PartCommit[]): Promise<ReadonlyMap<number, NotWritten>>;
}

/**
 * Where facts are kept. One commit is under way at a time; the writer sees to that. What an engine rejects with is always
 * a HostError with one of the STATE_ codes.
 */
export interface StateEngine {
  readonly name: string;
  /** Whether what is committed outlives the process. */
  readonly durable: boolean;
  /**
   * Takes hold of the state and checks that nothing is missing of it. Throws STATE_LOCKED, STATE_FOREIGN, STATE_DAMAGED,
   * STATE_FORMAT_NEWER, STATE_UNSAFE, STATE_UNREACHABLE, STATE_DISK_FULL, STATE_READ_ONLY or STATE_UNWRITABLE, and holds
   * nothing then. What waits for somebody ends when `stop` says so, with any error.
   */
  open(stop?: AbortSignal): Promise<void>;
  /** All facts, or those of the range, in batches, in no order. Throws STATE_DAMAGED where some cannot be read. */
  load(range?: KeyRange): AsyncIterable<readonly (readonly [FactKey, Buffer])[]>;
  /**
   * All of it or nothing, and safe once it resolves: a crash or a loss of power does not take it back. May be repeated
   * after it rejected, whatever became of the first try. Rejects with STATE_LOST, once, when what was committed before is
   * gone and a new state was begun; everything has to be committed anew then. `consumed`: rows of the inbox that end with it; of an engine
   * that has one.
   */
  commit(puts: Puts, drops: readonly FactKey[], consumed?: readonly string[]): Promise<void>;
  /**
   * The same where all guards are met, which holds until it is safe. Answers those that are not, and then nothing was written. Undefined
   * where nobody else has a part.
   */
  readonly commitUnder?:
    | ((
        puts: Puts,
        drops: readonly FactKey[],
        guards: readonly Guard[],
        consumed?: readonly string[],
      ) => Promise<readonly Guard[]>)
    | undefined;
  /** Undefined where the state is this daemon's as a whole. */
  readonly fences?: PartFences | undefined;
  /** Of one that shares a state with others: told where these had to be told STATE_LOST, and all of this one's is to be committed anew. */
  onLost?(tell: () => void): void;
  /** About what the state takes where it is kept, in bytes; as it was measured last. */
  readonly sizeBytes: number;
  /** Lets go of the state. Callable more than once. */
  close(): Promise<void>;
}

/** Keeps nothing: after a restart created tasks are taken up from their handles, and accepted ones are CREATE_LOST. */
export const noState: StateEngine = {
  name: 'none',
  durable: false,
  sizeBytes: 0,
  open: () => Promise.resolve(),
  async *load() {},
  commit: () => Promise.resolve(),
  close: () => Promise.resolve(),
};
