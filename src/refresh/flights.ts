import { messageOf } from '../errors/index.js';
import type { Clock } from '../lib/clock.js';
import type { TaskId } from '../model/attempt-key.js';
import type { ReadPurpose } from '../model/events/refresh.js';
import type { PhaseState } from '../model/phase-state.js';
import type { PluginOutcome } from '../model/plugin-call.js';
import { failedCall } from '../model/plugin-failure.js';
import type { RefreshHost } from './types.js';

export type ReadOutcome = PluginOutcome<PhaseState>;

/** One read that is under way, shared by everybody who wants to know its outcome. */
export interface Flight {
  /** In the order of the outcomes. */
  ids: readonly TaskId[];
  readonly purpose: ReadPurpose;
  readonly startedAtMs: number;
  readonly stop: AbortController;
  /** Resolves after every outcome was reported; never rejects. */
  readonly done: Promise<ReadonlyMap<TaskId, ReadOutcome>>;
  /** Engine calls that wait for it. */
  waiting: number;
  /** Tasks that went on under another id meanwhile. */
  readonly renamed: Map<TaskId, TaskId>;
}

/**
 * The reads under way: at most one flight for each task. A flight is in from its `add` until its `delete`, which whoever
 * began it calls at its end, whatever that is; a task of it may leave it for another name by `rename`, and in no other way.
 */
export class Flights {
  readonly #byTask = new Map<TaskId, Flight>();
  readonly #calls = new Set<Flight>();

  /** Tasks that are being read. */
  get tasks(): number {
    return this.#byTask.size;
  }

  get calls(): number {
    return this.#calls.size;
  }

  has(id: TaskId): boolean {
    return this.#byTask.has(id);
  }

  get(id: TaskId): Flight | undefined {
    return this.#byTask.get(id);
  }

  add(flight: Flight): void {
    for (const id of flight.ids) this.#byTask.set(id, flight);
    this.#calls.add(flight);
  }

  delete(flight: Flight): void {
    for (const id of flight.ids) this.#byTask.delete(id);
    this.#calls.delete(flight);
  }

  /** A read of one task is from here on that of another: they turned out to be the same. */
  rename(from: TaskId, to: TaskId): void {
    const flight = this.#byTask.get(from);
    if (flight === undefined || this.#byTask.has(to)) return;
    flight.ids = flight.ids.map((id) => (id === from ? to : id));
    flight.renamed.set(from, to);
    this.#byTask.delete(from);
    this.#byTask.set(to, flight);
  }

  startedSince(ms: number): boolean {
    for (const flight of this.#calls) if (flight.startedAtMs >= ms) return true;
    return false;
  }
}

export function isFlight(value: Flight | ReadOutcome): value is Flight {
  return 'ids' in value;
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
      (outcomes) => end(outcomes.get(flight.renamed.get(id) ?? id)),
      () => end(undefined),
    );
  });
}

/** Makes the read. One outcome for each id, or a single one that is that of the call as a whole. Never rejects. */
export async function readOnce(
  host: RefreshHost,
  { ids, purpose, stop }: Flight,
  deadlineMs: number | undefined,
): Promise<readonly ReadOutcome[]> {
  try {
    const outcomes = await host.read({ ids, purpose, deadlineMs, signal: stop.signal });
    if (outcomes.length === ids.length) return outcomes;
    const seen = `the plugin answered ${outcomes.length} outcomes for a batch of ${ids.length}`;
    return [failedCall('invalid', 'PLUGIN_ANSWER_INVALID', `${seen}; expected one for each, in order`)];
  } catch (thrown) {
    return [failedCall('unknown', 'PLUGIN_THREW_UNKNOWN', `reading failed: ${messageOf(thrown)}`)];
  }
}

/** Failures by which one item can take the whole batch down. */
export function spoilsBatch(outcome: ReadOutcome): boolean {
  return !outcome.ok && ['process_died', 'deadline', 'invalid', 'unknown'].includes(outcome.failure.kind);
}

export function tooLate(): ReadOutcome {
  return failedCall('deadline', 'DEADLINE_EXCEEDED', 'the deadline passed before the read was answered');
}
