import type { JsonObject } from '../lib/json.js';

/** Which page of a listing is wanted. */
export interface PageQuery {
  /** Rows at most, 1 to 1,000. */
  readonly limit: number;
  /** `next` of the page before; empty for the first page. */
  readonly after: string;
}

export interface TaskQuery extends PageQuery {
  /** Undefined: any. */
  readonly plugin: string | undefined;
  readonly phase: string | undefined;
  readonly stage: string | undefined;
  readonly project: string | undefined;
  /** How the task's id begins. */
  readonly id: string | undefined;
}

/** One page of a listing, as plain JSON. */
export interface Page {
  readonly rows: readonly JsonObject[];
  /**
   * To be sent as `after` for the next page; undefined on the last. A page may have fewer rows than asked for, and none,
   * and yet be followed by another: what one looks at is bounded, too.
   */
  readonly next: string | undefined;
}
