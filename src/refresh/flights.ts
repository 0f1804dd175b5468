import { messageOf } from '../errors/index.js';
import type { Clock } from '../lib/clock.js';
import { PassingSet } from '../lib/passing.js';
import type { Abortable } from '../lib/stop.js';
import type { TaskId } from '../model/attempt-key.js';
import { failedCall } from '../model/plugin-failure.js';
import type { Flight, Item, ReadOutcome } from './item.js';
import type { TaskReader } from './types.js';

/**
 * The reads under way: at most one flight for each task. A flight is in from its `add` until its `delete`, which whoever
 * began it calls at its end, whatever that is; a task of it may leave it for another name by `rename`, and in no other way.
 *
 * Which flight a task is in stands in its item, since every read comes by here; of those that left the schedule meanwhile, and may
 * come back to it before the read ends, it stands here.
 */
export class Flights {
  readonly #left = new Map<TaskId, Flight>();
  readonly #calls = new PassingSet<Flight>();
  readonly #itemOf: (id: TaskId) => Item | undefined;
  #tasks = 0;

  constructor(itemOf: (id: TaskId) => Item | undefined) {
    this.#itemOf = itemOf;
  }

  /** Tasks that are being read. */
  get tasks(): number {
    return this.#tasks;
  }

  get calls(): number {
    return this.#calls.size;
  }

  has(id: TaskId): boolean {
    return this.get(id) !== undefined;
  }

  get(id: TaskId): Flight | undefined {
    return this.#itemOf(id)?.flight ?? this.#left.get(id);
  }

  add(flight: Flight): void {
    for (const item of flight.items) item.flight = flight;
    this.#tasks += flight.items.length;
    this.#calls.add(flight);
  }

  delete(flight: Flight): void {
    for (const item of flight.items) if (item.flight === flight) item.flight = undefined;
    if (this.#left.size > 0) for (const id of flight.ids) if (this.#left.get(id) === flight) this.#left.delete(id);
    if (this.#calls.delete(flight)) this.#tasks -= flight.items.length;
  }

  /** A task leaves the schedule; its read goes on. */
  leaves(item: Item): void {
    const { flight } = item;
    if (flight === undefined) return;
    item.flight = undefined;
    this.#left.set(item.id, flight);
  }

  /** A task has come into the schedule: a read that was begun before it left is its own. */
  comes(item: Item): void {
    const flight = this.#left.get(item.id);
    if (flight === undefined) return;
    this.#left.delete(item.id);
    flight.items[flight.ids.indexOf(item.id)] = item;
    item.flight = flight;
  }

  /** A read of one task is from here on that of another: they turned out to be the same. */
  rename(from: TaskId, to: TaskId): void {
    const flight = this.get(from);
    if (flight === undefined || this.has(to)) return;
    flight.ids = flight.ids.map((id) => (id === from ? to : id));
    flight.renamed.set(from, to);
    this.#left.delete(from);
    const item = this.#itemOf(from);
    if (item !== undefined) item.flight = undefined;
    this.#left.set(to, flight);
    const other = this.#itemOf(to);
    if (other !== undefined) this.comes(other);
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
  bounds: { readonly clock: Clock; readonly deadlineMs: number; readonly signal: Abortable | undefined },
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
    signal?.addEventListener('abort', onAbort);
    flight.done.then(
      (outcomes) => end(outcomeOf(flight, outcomes, flight.renamed.get(id) ?? id)),
      () => end(undefined),
    );
  });
}

function outcomeOf({ ids }: Flight, outcomes: readonly ReadOutcome[], id: TaskId): ReadOutcome | undefined {
  const at = ids.indexOf(id);
  return at < 0 ? undefined : (outcomes[at] ?? outcomes[0]);
}

const taskOf = ({ task }: Item) => task;

/** Makes the read. One outcome for each id, or a single one that is that of the call as a whole. Never rejects. */
export async function readOnce(
  reader: TaskReader,
  { ids, items, purpose, stop }: Flight,
  deadlineMs: number | undefined,
): Promise<readonly ReadOutcome[]> {
  try {
    const outcomes = await reader.read({ ids, tasks: items.map(taskOf), purpose, deadlineMs, signal: stop });
    if (outcomes.length === ids.length) return outcomes;
    const seen = `the plugin answered ${outcomes.length} outcomes for a batch of ${ids.length}`;
    return [failedCall('invalid', 'PLUGIN_ANSWER_INVALID', `${seen}; expected one for each, in order`)];
  } catch (thrown) {
    return [failedCall('unknown', 'PLUGIN_THREW_UNKNOWN', `reading failed: ${messageOf(thrown)}`)];
  }
}

/** Failures by which one item can take the whole batch down; and a call with more than fits in a frame, as half of it may. */
export function spoilsBatch(outcome: ReadOutcome): boolean {
  if (outcome.ok) return false;
  const { kind, code } = outcome.failure;
  return ['process_died', 'deadline', 'invalid', 'unknown'].includes(kind) || code === 'REQUEST_TOO_LARGE';
}

export function tooLate(): ReadOutcome {
  return failedCall('deadline', 'DEADLINE_EXCEEDED', 'the deadline passed before the read was answered');
}
