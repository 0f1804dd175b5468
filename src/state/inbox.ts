import type { AttemptKey } from '../model/attempt-key.js';
import type { FactKey } from './facts/facts.js';

export type InboxKind = 'create' | 'delete' | 'do';

/** What is to be put. `name` tells rows of one key and kind apart: the task id of a create, a digest of the handle of a delete, '' of a do. */
export interface NewInboxRow {
  readonly part: number;
  readonly kind: InboxKind;
  readonly key: AttemptKey;
  readonly name: string;
  readonly body: Buffer | undefined;
}

/** `id` orders rows as they were put; `epoch` is of the replica that put it. A `do` without a body is still being run by that one. */
export interface InboxRow extends NewInboxRow {
  readonly id: string;
  readonly epoch: string;
}

/** All that is kept about one attempt key in one part, at one instant. */
export interface KeptOfKey {
  /** Under which the part is, or was last, held. */
  readonly tenure: string;
  /** The epoch of who holds it; undefined while nobody does. */
  readonly owner: string | undefined;
  /** By their keys without the part's prefix: those of the key, without payloads, and the part's handleKey and birth. */
  readonly facts: readonly (readonly [FactKey, Buffer])[];
  readonly rows: readonly InboxRow[];
}

/** What the inbox has of a part. */
export interface WaitingOfPart {
  readonly part: number;
  /** Rows that may be taken in. */
  readonly waiting: number;
  /** Runs of Do that go on elsewhere, or did when their replica died. */
  readonly running: number;
  /** How long the oldest one of those that may be taken in waits; 0 where none does. Milliseconds. */
  readonly oldestMs: number;
}

/** `stands`: a row of that name is there. `moved`: the part is not held under that tenure, or is just being taken. */
export type PutEnd = 'put' | 'stands' | 'moved' | 'full';

export interface Inbox {
  read(part: number, key: AttemptKey): Promise<KeptOfKey>;
  put(row: NewInboxRow, tenure: string): Promise<PutEnd>;
  settle(part: number, key: AttemptKey, body: Buffer | undefined): Promise<boolean>;
  reclaim(part: number, key: AttemptKey, from: string): Promise<boolean>;
  /** What waits in these parts behind a row, or from the first one on, in order, a page of it; none once there is nothing. */
  look(parts: readonly number[], behind?: string): Promise<readonly InboxRow[]>;
  /** Of those of these parts in which anything is. */
  waiting(parts: readonly number[]): Promise<readonly WaitingOfPart[]>;
}
