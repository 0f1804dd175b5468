import type { TaskId } from '../../model/attempt-key.js';
import type { QuotaRequest, QuotaScope } from '../types.js';
import type { Ordered } from './ordered-link.js';

/**
 * What a replica says to the owner of a plugin's quotas about its tasks. `turn` goes up whenever a task comes to be another replica's: who
 * had it before may be heard later.
 */
export type QuotaAsk =
  /** `ask` tells the wish from an earlier one for the same task. */
  | { readonly kind: 'want'; readonly ask: number; readonly turn: number; readonly request: QuotaRequest }
  | { readonly kind: 'hold'; readonly turn: number; readonly request: QuotaRequest; readonly job: string | undefined }
  | { readonly kind: 'adopt'; readonly turn: number; readonly request: QuotaRequest; readonly job: string }
  | { readonly kind: 'handOver'; readonly turn: number; readonly from: TaskId; readonly request: QuotaRequest }
  /** The job that its token stands for has come to be known. */
  | { readonly kind: 'job'; readonly taskId: TaskId; readonly job: string }
  /** For so long from now nothing that has a total is to be granted. Milliseconds. */
  | { readonly kind: 'close'; readonly forMs: number }
  /** It needs no token any more, whether it holds one or waits. */
  | { readonly kind: 'gone'; readonly taskId: TaskId }
  /** It has the task no more, and cannot say what becomes of its token. */
  | { readonly kind: 'away'; readonly taskId: TaskId }
  /** It has the task no more, and a fact of its token may still come to be: what was told of it before stands. */
  | { readonly kind: 'unwritten'; readonly taskId: TaskId }
  /** All tokens that its tasks hold were told: the first thing that an owner hears of a replica ends with it. */
  | { readonly kind: 'told' };

/** What the owner says of them. */
export type QuotaSaid =
  | { readonly kind: 'granted' | 'full'; readonly taskId: TaskId; readonly ask: number }
  | { readonly kind: 'lacks'; readonly taskId: TaskId; readonly ask: number; readonly lacks: QuotaScope }
  | { readonly kind: 'adopted'; readonly taskId: TaskId; readonly granted: boolean }
  /** Namespaces for which anybody waits, from now on; `all`: for what all of them share. */
  | { readonly kind: 'waited'; readonly namespaces: readonly string[]; readonly all: boolean };

export interface QuotaMessage<T> extends Ordered<T> {
  /** The tenancy of the owner. */
  readonly epoch: string;
  /** The epoch of the member whose tasks they are. */
  readonly drawer: string;
  /** Which of this member's links to that tenancy; counts from 1 on. The latest one counts, and begins with all that the ones before told. */
  readonly link: number;
}
