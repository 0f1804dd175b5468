import { getOrMake } from '../lib/get-or-make.js';
import type { RefreshEvents } from '../model/events/refresh.js';
import { spoilsBatch } from './flights.js';
import type { Flight, Item, ReadOutcome } from './item.js';
import { found, IN_ITS_INTERVAL, judge } from './judge.js';
import type { MissingTasks } from './missing.js';
import type { Outages } from './outages.js';
import { type Evidence, type FailingTask, kindOf } from './remote-state.js';
import type { Schedule } from './schedule.js';
import type { ReadReport, RefreshConfig, TaskReader } from './types.js';

/** A task that left the schedule while it was read. */
const GONE: FailingTask = { failingSinceMs: undefined, outvoted: 0, lastReadAtMs: 0 };

export interface IntakeParts {
  readonly reader: TaskReader;
  readonly schedule: Schedule;
  readonly outages: Outages;
  readonly missing: MissingTasks;
  readonly events: RefreshEvents;
}

/** What is done with the outcomes of a read: the remote's state, the task's counts, the report, the next due time. */
export class Intake {
  readonly #parts: IntakeParts;

  constructor(parts: IntakeParts) {
    this.#parts = parts;
  }

  /**
   * Reports every outcome and queues its task again. A single outcome for several ids is that of the call as a whole.
   * The remote's state learns of the call before any task is judged by it.
   */
  take(flight: Flight, outcomes: readonly ReadOutcome[], nowMs: number, config: RefreshConfig): void {
    if (outcomes.length === flight.ids.length && outcomes.every(isWell)) this.#learnWell(flight, nowMs);
    else this.#learn(flight, outcomes, nowMs);
    const spoilt = flight.ids.length > 1 && outcomes.every(spoilsBatch);
    this.#parts.schedule.together(() => {
      for (let at = 0; at < flight.ids.length; at++) {
        const outcome = outcomes[at] ?? (outcomes[0] as ReadOutcome);
        const item = flight.items[at] as Item;
        if (item.gone) continue;
        // While their remote is away no member of a batch is its culprit.
        if (spoilt && !this.#parts.outages.of(item.batchKey).frozen(nowMs))
          item.batchLimit = Math.ceil(flight.ids.length / 2);
        if (outcome.ok) this.#settleWell(item, flight, outcome, nowMs);
        else this.#settle(item, flight, outcome, nowMs, config);
      }
    });
    this.nobodyLeft(nowMs);
  }

  /** Without a task nothing would ever find out that the remote is back; the next one finds out for itself. */
  nobodyLeft(nowMs: number): void {
    const { outages, schedule, events } = this.#parts;
    const remote = outages.plugin;
    const { downSinceMs } = remote;
    if (schedule.size > 0) return;
    remote.forgetBefore();
    if (downSinceMs === undefined) return;
    remote.forget(nowMs);
    events.remoteUp?.({ downMs: nowMs - downSinceMs });
  }

  /** What `learn` comes to where every task was read well, as nearly always. */
  #learnWell({ ids, items }: Flight, nowMs: number): void {
    const { outages, events } = this.#parts;
    const { downSinceMs } = outages.plugin;
    const entered = outages.plugin.answered(ids[0], nowMs);
    if (outages.hasGroups) {
      for (const item of items) if (!item.gone) outages.answeredOfGroup(item.batchKey, item.id, nowMs);
    }
    if (entered === 'up' && downSinceMs !== undefined) events.remoteUp?.({ downMs: nowMs - downSinceMs });
  }

  #learn(flight: Flight, outcomes: readonly ReadOutcome[], nowMs: number): void {
    const { outages, schedule, events } = this.#parts;
    const remote = outages.plugin;
    const { downSinceMs } = remote;
    const evidence = flight.ids.map((id, at): Evidence => {
      const known = flight.items[at] as Item;
      const item = known.gone ? undefined : known;
      const outcome = outcomes[at] ?? (outcomes[0] as ReadOutcome);
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
    const { failure, failingSinceMs } = remote;
    if (entered === 'up' && downSinceMs !== undefined) events.remoteUp?.({ downMs: nowMs - downSinceMs });
    if (entered === 'down' && failure !== undefined && failingSinceMs !== undefined)
      events.remoteDown?.({ sinceMs: failingSinceMs, failure });
    if (flight.purpose === 'probe' && remote.downSinceMs !== undefined) remote.probeFailed(kindOf(evidence), nowMs);
  }

  /** The same as `#settle`, without what only failures need. */
  #settleWell(item: Item, { startedAtMs }: Flight, outcome: ReadOutcome, nowMs: number): void {
    const { schedule, missing } = this.#parts;
    found(item, missing, nowMs);
    schedule.noteFailing(item);
    this.#report({
      id: item.id,
      task: item.task,
      outcome,
      startedAtMs,
      finishedAtMs: nowMs,
      failures: 0,
      failingSinceMs: undefined,
      missing: undefined,
      failing: undefined,
      lastFailure: undefined,
      verdict: undefined,
    });
    if (isStillOurs(item)) schedule.again(item, nowMs, IN_ITS_INTERVAL);
  }

  #settle(item: Item, flight: Flight, outcome: ReadOutcome, nowMs: number, config: RefreshConfig): void {
    const { schedule, outages, missing } = this.#parts;
    const place = flight.ids.length > 1 ? 'getManyItem' : 'get';
    const read = {
      outcome,
      place,
      startedAtMs: flight.startedAtMs,
      nowMs,
      population: { ofKey: schedule.seen.of(item.batchKey), ofPlugin: schedule.seen.total },
      intervalMs: schedule.pacing.longestMs,
    } as const;
    const outage = outages.of(item.batchKey);
    const { verdict, again } = judge(item, read, { outage, missing }, config);
    schedule.noteFailing(item);
    this.#report({
      id: item.id,
      task: item.task,
      outcome,
      startedAtMs: flight.startedAtMs,
      finishedAtMs: nowMs,
      failures: item.failures,
      failingSinceMs: item.failingSinceMs,
      missing: item.missingNow,
      failing: item.failingNow(nowMs, outage.frozenSince(item.frozenBefore, nowMs)),
      lastFailure: item.lastFailure,
      verdict,
    });
    if (isStillOurs(item)) schedule.again(item, nowMs, again);
  }

  #report(report: ReadReport): void {
    try {
      this.#parts.reader.onOutcome(report);
    } catch (thrown) {
      this.#parts.events.fault?.(thrown);
    }
  }
}

const isWell = (outcome: ReadOutcome): boolean => outcome.ok;

/** The report may have ended the task, which has left the schedule then, or, by another track, queued it already. */
function isStillOurs(item: Item): boolean {
  return item.bin === undefined && !item.gone;
}
