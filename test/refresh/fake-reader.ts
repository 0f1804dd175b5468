import { refreshTuning } from '../../src/daemon/options.js';
import { ManualClock } from '../../src/lib/clock.js';
import { createDeferred, type Deferred } from '../../src/lib/deferred.js';
import { DEFAULT_PLUGIN_CONFIG } from '../../src/model/options/plugin.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { FailureKind, PluginOutcome } from '../../src/model/plugin-call.js';
import { refreshConfig } from '../../src/refresh/config.js';
import { createRefresher, type RefresherOptions } from '../../src/refresh/refresher.js';
import type {
  PolledTask,
  PollHistory,
  ReadCapacity,
  ReadReport,
  ReadRequest,
  RefreshConfig,
  Refresher,
  TaskReader,
} from '../../src/refresh/types.js';
import { DEFAULTS } from '../support/defaults.js';

export type Outcome = PluginOutcome<ReturnType<typeof phaseState>>;

export const running: Outcome = { ok: true, value: phaseState('RUNNING') };

export function fails(kind: FailureKind, retryAfterMs?: number): Outcome {
  return { ok: false, failure: { kind, code: 'X', message: kind, faultKind: 'SYSTEM', retryAfterMs } };
}

export const open: ReadCapacity = {
  slotsFree: 10,
  tokensNow: 10,
  msUntilToken: 0,
  pausedUntilMs: undefined,
  queued: 0,
  open: true,
};

export function configOf(parts: Partial<RefreshConfig> = {}): RefreshConfig {
  return { ...refreshConfig(DEFAULT_PLUGIN_CONFIG, 1, refreshTuning(DEFAULTS)), ...parts };
}

export interface PendingRead extends ReadRequest {
  readonly atMs: number;
  readonly answer: Deferred<readonly Outcome[]>;
  settled: boolean;
}

/** What a reader makes of a report. */
export interface ReadDecision {
  readonly terminal: boolean;
  readonly nextPollAfterMs?: number | undefined;
}

export type DecidingReader = Partial<Pick<TaskReader, 'tokenWanted'>> &
  Omit<TaskReader, 'onOutcome' | 'tokenWanted'> & { onOutcome(report: ReadReport): ReadDecision };

/** A task as a test describes it: its record, and what is known of its reads. */
export interface Facts extends PollHistory {
  readonly id: string;
  readonly createdAtMs: number;
  readonly lastAskedAtMs?: number | undefined;
  readonly nextPollAfterMs?: number | undefined;
  readonly quotaNamespace?: string | undefined;
}

class FakeRecord implements PolledTask {
  readonly id: string;
  readonly liveSinceMs: number;
  lastAskedAtMs: number;
  readonly identity: { readonly quotaNamespace: string };
  readonly state: { nextPollAfterMs: number | undefined };

  constructor(facts: Facts, nowMs: number) {
    this.id = facts.id;
    this.liveSinceMs = facts.createdAtMs;
    this.lastAskedAtMs = facts.lastAskedAtMs ?? nowMs;
    this.identity = { quotaNamespace: facts.quotaNamespace ?? '' };
    this.state = { nextPollAfterMs: facts.nextPollAfterMs };
  }
}

export function recordOf(facts: Facts, nowMs: number): PolledTask {
  return new FakeRecord(facts, nowMs);
}

export type TestRefresher = Omit<Refresher, 'track' | 'trackAll'> & {
  track(facts: Facts): void;
  trackAll(facts: readonly Facts[]): void;
};

/** A refresher over records that the test makes up and that change as the store's would. */
export function createTestRefresher(
  options: Omit<RefresherOptions, 'reader'> & { reader: DecidingReader },
): TestRefresher {
  const records = new Map<string, FakeRecord>();
  const { reader, clock } = options;
  const refresher = createRefresher({
    ...options,
    reader: {
      read: (request) => reader.read(request),
      capacity: () => reader.capacity(),
      due: (calls) => reader.due?.(calls),
      tokenWanted: (quotaNamespace) => reader.tokenWanted?.(quotaNamespace) ?? false,
      onOutcome(report) {
        const { terminal, nextPollAfterMs } = reader.onOutcome(report);
        const record = records.get(report.id);
        if (report.outcome.ok && record !== undefined) record.state.nextPollAfterMs = nextPollAfterMs;
        if (terminal) refresher.untrack(report.id);
      },
    },
  });
  return {
    track(facts) {
      const record = new FakeRecord(facts, clock.now());
      records.set(facts.id, record);
      refresher.track(record, facts);
    },
    trackAll(many) {
      const batchKeys = new Map(many.map(({ id, batchKey = '' }) => [id, batchKey]));
      const made = many.map((facts) => new FakeRecord(facts, clock.now()));
      for (const record of made) records.set(record.id, record);
      refresher.trackAll(made, ({ id }) => batchKeys.get(id) ?? '');
    },
    asked(id) {
      const record = records.get(id);
      if (record !== undefined) record.lastAskedAtMs = clock.now();
      refresher.asked(id);
    },
    untrack: (id, becomes) => refresher.untrack(id, becomes),
    hold: (id) => refresher.hold(id),
    resume: (id, delayMs) => refresher.resume(id, delayMs),
    regroup: (id, batchKey) => refresher.regroup(id, batchKey),
    awaitAsked: (id) => refresher.awaitAsked(id),
    readNow: (id, deadlineMs, signal) => refresher.readNow(id, deadlineMs, signal),
    wake: () => refresher.wake(),
    reconfigure: (config) => refresher.reconfigure(config),
    missing: (id) => refresher.missing(id),
    get remoteDown() {
      return refresher.remoteDown;
    },
    get tracked() {
      return refresher.tracked;
    },
    countDue: () => refresher.countDue(),
    stats: () => refresher.stats(),
    stop: () => refresher.stop(),
  };
}

/** A daemon around the refresher: reads are answered by `respond`, or by hand where it answers undefined. */
export class FakeReader implements DecidingReader {
  readonly reads: PendingRead[] = [];
  readonly reports: ReadReport[] = [];
  gate: ReadCapacity = open;
  respond: (id: string, request: ReadRequest) => Outcome | undefined = () => running;
  decide: (report: ReadReport) => ReadDecision = (report) => ({ terminal: report.verdict !== undefined });
  wanted = new Set<string>();
  /** Calls that were told to be due last. */
  calls = 0;
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  read(request: ReadRequest): Promise<readonly Outcome[]> {
    const pending = { ...request, atMs: this.#now(), answer: createDeferred<readonly Outcome[]>(), settled: false };
    this.reads.push(pending);
    const outcomes = request.ids.map((id) => this.respond(id, request));
    if (!outcomes.includes(undefined)) this.settle(pending, outcomes as Outcome[]);
    return pending.answer.promise;
  }

  settle(read: PendingRead | undefined, outcomes: readonly Outcome[]): void {
    if (read === undefined || read.settled) return;
    read.settled = true;
    read.answer.resolve(outcomes);
  }

  get pending(): PendingRead[] {
    return this.reads.filter((read) => !read.settled);
  }

  capacity(): ReadCapacity {
    return this.gate;
  }

  due(calls: number): void {
    this.calls = calls;
  }

  onOutcome(report: ReadReport): ReadDecision {
    this.reports.push(report);
    return this.decide(report);
  }

  tokenWanted(quotaNamespace: string): boolean {
    return this.wanted.has(quotaNamespace);
  }

  readsOf(id: string): PendingRead[] {
    return this.reads.filter((read) => read.ids.includes(id));
  }

  last(id: string): ReadReport | undefined {
    return this.reports.filter((report) => report.id === id).at(-1);
  }
}

/**
 * A refresher over a fake reader on a clock of the test's. `told` has its events in short: `down`, `up after` the milliseconds it
 * was away, `fault`, `wave` and the batch key, `over` and how many were found and lost.
 */
export function pollsOf(parts: Partial<RefreshConfig> = {}, random = 0.5) {
  const clock = new ManualClock();
  const reader = new FakeReader(() => clock.now());
  const told: string[] = [];
  const refresher = createTestRefresher({
    reader,
    config: configOf(parts),
    clock,
    random: () => random,
    events: {
      remoteDown: () => told.push('down'),
      remoteUp: ({ downMs }) => told.push(`up after ${downMs}`),
      fault: () => told.push('fault'),
      notFoundWave: ({ batchKey }) => told.push(`wave ${batchKey}`),
      notFoundWaveOver: ({ found, lost }) => told.push(`over ${found} ${lost}`),
    },
  });
  /** Tracks a task that is new unless its facts say otherwise. */
  const track = (id: string, facts: Partial<Facts> = {}) => refresher.track({ id, createdAtMs: clock.now(), ...facts });
  return { clock, reader, refresher, told, track, start: clock.now() };
}
