import type { TaskIdentity } from '../model/handle.js';
import type { PhaseState } from '../model/phase-state.js';
import type { TaskPayload } from '../model/task-record.js';

/**
 * What must survive a crash (rules 1, 8, 9), one entry a fact. Entries of one task are ordered; replaying all of them
 * rebuilds the live records, the delete list and the buckets. Secrets and connections are never among them.
 */
export type JournalEntry =
  /** A create was accepted; written before the plugin is called. */
  | {
      readonly kind: 'intent';
      readonly identity: TaskIdentity;
      readonly payload: TaskPayload;
      readonly outputPrefix: string;
    }
  /** The bytes the engine was given, so that a repeat after a crash answers the same. */
  | { readonly kind: 'answered'; readonly id: string; readonly handle: Buffer }
  /** A create call is about to reach the plugin; from here on the remote may have the job. */
  | { readonly kind: 'creating'; readonly id: string }
  | { readonly kind: 'created'; readonly id: string; readonly identity: TaskIdentity; readonly meta: Buffer }
  | { readonly kind: 'phase'; readonly id: string; readonly state: PhaseState; readonly phaseVersion: number }
  /** A delete is owed; the task's incarnation ends here. */
  | {
      readonly kind: 'delete-owed';
      readonly id: string;
      readonly identity: TaskIdentity;
      readonly meta: Buffer | undefined;
      readonly outputPrefix: string;
      readonly reason: string;
    }
  | { readonly kind: 'delete-done'; readonly id: string }
  | { readonly kind: 'forgotten'; readonly id: string; readonly incarnation: number };

/** Where entries go. */
export interface Journal {
  /** Whether an appended entry outlives the process. */
  readonly durable: boolean;
  /** Since when every end is known, over restarts; undefined where that cannot be said. Epoch milliseconds. */
  readonly completeSinceMs?: number | undefined;
  /** Resolves once the entry is safe. Entries are kept in the order of the calls. Rejects when it cannot be written. */
  append(entry: JournalEntry): Promise<void>;
  close(): Promise<void>;
}

const DONE = Promise.resolve();

/** Keeps nothing. After a restart created tasks are taken up from their handles; accepted ones are CREATE_LOST. */
export const memoryJournal: Journal = {
  durable: false,
  append: () => DONE,
  close: () => DONE,
};
