import type { FactKey } from './facts/facts.js';

/** A state that no daemon has, opened to be read, whatever is wrong with it. */
export interface Inspection {
  /** Of the last commit; undefined where commits are not numbered. */
  readonly lastCommit: number | undefined;
  /** What is missing, in words; undefined where nothing is. */
  readonly problem: string | undefined;
  readonly sizeBytes: number;
  /** Rows of the inbox: promises that are in no fact yet. */
  readonly waiting: number;
  pairs(): AsyncIterable<readonly [FactKey, Buffer]>;
  close(): Promise<void>;
}
