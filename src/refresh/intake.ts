import { getOrMake } from '../lib/get-or-make.js';
import type { TaskId } from '../model/attempt-key.js';
import type { RefreshEvents } from '../model/events/refresh.js';
import { type Flight, type ReadOutcome, spoilsBatch } from './flights.js';
import type { Item } from './item.js';
import { judge } from './judge.js';
import type { MissingTasks } from './missing.js';
import type { Outages } from './outages.js';
import { type Evidence, type FailingTask, kindOf } from './remote-state.js';
import type { Schedule } from './schedule.js';
import type { ReadReport, RefreshConfig, RefreshHost } from './types.js';

/** A task that left the schedule while it was read. */
const GONE: FailingTask = { failingSinceMs: undefined, outvoted: 0, lastReadAtMs: 0 };

export interface IntakeParts {
  readonly host: RefreshHost;
  readonly schedule: Schedule;
  readonly outages: Outages;
  readonly missing: MissingTasks;
  readonly events: RefreshEvents;
}

/** What is done with the outcomes of a finished read: the remote's state, the task's counts, the report, the next due time. */
export class Intake {
  readonly #parts: IntakeParts;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  /**
   * Reports every outcome and queues its task again. A single outcome for several ids is that of the call as a whole.
   * The remote's state learns of the call before any task is judged by it.
   */
  take(
    flight: Flight,
    outcomes: readonly ReadOutcome[],
    nowMs: number,
    config: RefreshConfig,
  ): ReadonlyMap<TaskId, ReadOutcome> {
    const results = new Map(flight.ids.map((id, i) => [id, outcomes[i] ?? (outcomes[0] as ReadOutcome)]));
    this.#learn(flight, results, nowMs);
    const spoilt = flight.ids.length > 1 && [...results.values()].every(spoilsBatch);
    for (const [id, outcome] of results) {
      const item = this.#parts.schedule.get(id);
      if (item === undefined) continue;
      // While their remote is away no member of a batch is its culprit.
      if (spoilt && !this.#parts.outages.of(item.batchKey).frozen(nowMs))
        item.batchLimit = Math.ceil(flight.ids.length / 2);
      this.#settle(item, flight, outcome, nowMs, config);
    }
    this.nobodyLeft(nowMs);
    return results;
  }

  /** Without a task nothing would ever find out that the remote is back; the next one finds out for itself. */
  nobodyLeft(nowMs: number): void {
    const { outages, schedule, events } = this.#parts;
    const remote = outages.plugin;
    const { downSinceMs } = remote;
    if (schedule.size > 0 || downSinceMs === undefined) return;
    remote.forget(nowMs);
    events.remoteUp?.({ downMs: nowMs - downSinceMs });
  }

  #learn(flight: Flight, results: ReadonlyMap<TaskId, ReadOutcome>, nowMs: number): void {
    const { outages, schedule, events } = this.#parts;
    const remote = outages.plugin;
    const { downSinceMs } = remote;
    const evidence = [...results].map(([id, outcome]): Evidence => {
      const item = schedule.get(id);
      return { id, outcome, batchKey: item?.batchKey ?? '', task: item ?? GONE };
    });
    const { keys, failing, telling } = schedule;
    const scope = { tasks: schedule.size, failing: failing.total, telling: telling.total, keys: telling.size };
    const entered = remote.learn(evidence, scope, nowMs);
    const byKey = new Map<string, Evidence[]>();
    // A task may have moved to another key while it was read.
    for (const one of evidence) getOrMake(byKey, one.batchKey, () => []).push(one);
    for (const [batchKey, items] of byKey) {
      const ofKey = {
        tasks: keys.of(batchKey),
        failing: failing.of(batchKey),
        telling: telling.of(batchKey),
      };
      outages.learnOfGroup(batchKey, items, ofKey, nowMs);
    }
    const { failure } = remote;
    if (entered === 'up') events.remoteUp?.({ downMs: nowMs - (downSinceMs ?? nowMs) });
    if (entered === 'down' && failure !== undefined)
      events.remoteDown?.({ sinceMs: remote.failingSinceMs ?? nowMs, failure });
    if (flight.purpose === 'probe' && remote.downSinceMs !== undefined) remote.probeFailed(kindOf(evidence), nowMs);
  }

  #settle(item: Item, flight: Flight, outcome: ReadOutcome, nowMs: number, config: RefreshConfig): void {
    const { schedule, outages, missing } = this.#parts;
    const place = flight.ids.length > 1 ? 'getManyItem' : 'get';
    const read = {
      outcome,
      place,
      startedAtMs: flight.startedAtMs,
      nowMs,
      population: { ofKey: schedule.keys.of(item.batchKey), ofPlugin: schedule.size },
      intervalMs: schedule.pacing.longestMs,
    } as const;
    const { verdict, again } = judge(item, read, { outage: outages.of(item.batchKey), missing }, config);
    schedule.noteFailing(item);
    this.#report({
      id: item.id,
      outcome,
      startedAtMs: flight.startedAtMs,
      finishedAtMs: nowMs,
      failures: item.failures,
      failingSinceMs: item.failingSinceMs,
      missing: item.missing && { ...item.missing, wave: item.wave !== undefined },
      lastFailure: item.lastFailure,
      verdict,
    });
    // The report may have ended the task, which has left the schedule then, or, by another track, queued it already.
    if (schedule.get(item.id) === item && item.bin === undefined) schedule.again(item, nowMs, again);
  }

  #report(report: ReadReport): void {
    try {
      this.#parts.host.onOutcome(report);
    } catch (thrown) {
      this.#parts.events.fault?.(thrown);
    }
  }
}
