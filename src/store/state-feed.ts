import type { ErrorCode } from '../errors/index.js';

/**
 * What must survive a crash (design 6), by kind; the latest of each name wins. `task`, `payload` (what its create needs),
 * `outputs`, `owed` and `unclear` go by the id of the task, `mark` and `do` by the attempt key.
 */
export type FactKind = 'task' | 'payload' | 'outputs' | 'owed' | 'unclear' | 'mark' | 'do';

/** Where the store says what changed. What a fact says is read from the store when it is written; secrets are never in one. */
export interface StateFeed {
  /** Whether what is safe outlives the process. */
  readonly durable: boolean;
  /** Since when every end is known, over restarts; undefined where that cannot be said. Epoch milliseconds. */
  readonly completeSinceMs?: number | undefined;
  /** Since when no end gave way to others within the replay window; what ended before may be forgotten. Epoch milliseconds. */
  readonly endsKnownSinceMs?: number | undefined;
  /** A mark of an end within the replay window gave way to others. */
  endForgotten?(): void;
  /** Why nothing can be made safe for now; undefined while it can. */
  readonly trouble?: { readonly code: ErrorCode; readonly message: string } | undefined;
  /** Throws STATE_FULL while nothing new is taken. */
  assertRoom?(): void;
  /**
   * The fact changed, or is no more. What one transition of the store changes is told in one go, synchronously, so that it is
   * written as a whole.
   */
  changed(kind: FactKind, name: string): void;
  /** This row of the inbox is dropped in the commit that writes what was told in this turn. Absent where there is no inbox. */
  consumed?(row: string): void;
  /** Resolves once all that was told so far is safe, however long that takes: who waits has a deadline of its own. */
  safe(): Promise<void>;
  /**
   * The same for what is only written while this tenancy of limits counts, which the commit compares: called in the turn of the change,
   * before anything of it is written. False where another one counts; what was told in that turn is not written then, and to be changed
   * again, without waiting for anything. Rejects where the state was closed without its being known. Absent where nobody else grants
   * anything.
   */
  readonly safeUnder?: ((tenancy: string) => Promise<boolean>) | undefined;
}

const DONE = Promise.resolve();

/** Keeps nothing. After a restart created tasks are taken up from their handles; accepted ones are CREATE_LOST. */
export const noState: StateFeed = {
  durable: false,
  changed: () => {},
  safe: () => DONE,
};
