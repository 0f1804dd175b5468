import { isTerminal } from '../plugin-api/phase.js';
import type { PhaseState } from './phase-state.js';

/** A job that a create found under its idempotency key instead of making it (`CreateResult.existing`). */
export interface FoundJob {
  /** What create told of it; undefined when it told nothing. */
  readonly state: PhaseState | undefined;
  /** What is remembered of the incarnation whose key it has. */
  readonly mark: { readonly deleted: boolean } | undefined;
  /** Whether this run of the create may have made it itself, by a call whose answer was lost. */
  readonly maySend: boolean;
  /** Since when everything that ended is known for certain, on the clock of `nowMs`; undefined where nothing survives a restart. */
  readonly completeSinceMs: number | undefined;
  readonly nowMs: number;
  /** How long an end is remembered. */
  readonly replayWindowMs: number;
}

/**
 * Rule 8, whose is a job that a create finds? One of an earlier life makes the attempt take the next incarnation; one that
 * is the attempt's own is its job, over or not. What runs is always its own. Of what is over: where the state is complete
 * for longer than the replay window, an end that it does not know belongs to an earlier life; else the answer to this very
 * attempt's create may have been lost with the daemon, and only a job that was cancelled is taken for an earlier life.
 */
export function isOfEarlierLife(found: FoundJob): boolean {
  const { state, mark, maySend, completeSinceMs, nowMs, replayWindowMs } = found;
  if (mark !== undefined) return mark.deleted;
  if (state === undefined || !isTerminal(state.phase)) return false;
  if (state.phase === 'ABORTED') return true;
  const complete = completeSinceMs !== undefined && nowMs - completeSinceMs > replayWindowMs;
  return complete && !maySend;
}
