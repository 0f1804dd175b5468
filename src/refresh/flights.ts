import type { ErrorCode } from '../errors/index.js';
import type { Clock } from '../lib/clock.js';
import type { TaskId } from '../model/attempt-key.js';
import type { PhaseState } from '../model/phase-state.js';
import type { FailureKind, PluginOutcome } from '../model/plugin-call.js';
import type { ReadPurpose } from './types.js';

export type ReadOutcome = PluginOutcome<PhaseState>;

/** One read that is under way, shared by everybody who wants to know its outcome. */
export interface Flight {
  readonly ids: readonly TaskId[];
  readonly purpose: ReadPurpose;
  readonly startedAtMs: number;
  readonly stop: AbortController;
  /** Resolves after every outcome was reported; never rejects. */
  readonly done: Promise<ReadonlyMap<TaskId, ReadOutcome>>;
  /** Engine calls that wait for it. */
  waiting: number;
}

export function failedRead(kind: FailureKind, code: ErrorCode, message: string, retryAfterMs?: number): ReadOutcome {
  return { ok: false, failure: { kind, code, message, faultKind: 'SYSTEM', retryAfterMs } };
}

/** The outcome of a flight, or undefined when the deadline or the signal comes first. Leaves no timer behind. */
export function awaitFlight(
  flight: Flight,
  id: TaskId,
  bounds: { readonly clock: Clock; readonly deadlineMs: number; readonly signal: AbortSignal | undefined },
): Promise<ReadOutcome | undefined> {
  const { clock, deadlineMs, signal } = bounds;
  return new Promise((resolve) => {
    const end = (outcome: ReadOutcome | undefined) => {
      timer.cancel();
      signal?.removeEventListener('abort', onAbort);
      resolve(outcome);
    };
    const onAbort = () => end(undefined);
    const timer = clock.setTimer(deadlineMs - clock.now(), onAbort);
    signal?.addEventListener('abort', onAbort, { once: true });
    flight.done.then(
      (outcomes) => end(outcomes.get(id)),
      () => end(undefined),
    );
  });
}
