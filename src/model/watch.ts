import type { TaskRecord } from './task-record.js';

/** A change of a task as Watch sends it. */
export interface WatchChange {
  readonly handle: Buffer;
  /** The task as it is now: at or after the change. */
  readonly task: TaskRecord;
  readonly deleted: boolean;
}

export type WatchEvent =
  | { readonly kind: 'change'; readonly resumeToken: string; readonly change: WatchChange }
  | { readonly kind: 'lagged'; readonly resumeToken: string; readonly dropped: number }
  | { readonly kind: 'bookmark'; readonly resumeToken: string; readonly draining: boolean };

export interface WatchFilter {
  readonly plugins: readonly string[];
  readonly handles: readonly Buffer[];
  readonly resumeToken: string;
  readonly includeCurrent: boolean;
}

/**
 * A reader of the ring of changes. It holds a position, never a queue: `next` answers what is there since then, or waits.
 * Ends (undefined) after the draining bookmark or after `close`.
 */
export interface WatchReader {
  next(): Promise<WatchEvent | undefined>;
  /** A sign of life with the token of the last event, for a stream on which nothing happens. */
  bookmark(): WatchEvent;
  close(): void;
}
