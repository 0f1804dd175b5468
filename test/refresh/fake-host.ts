import { refreshTuning } from '../../src/daemon/options.js';
import { createDeferred, type Deferred } from '../../src/lib/deferred.js';
import { DEFAULT_PLUGIN_CONFIG } from '../../src/model/options/plugin.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { FailureKind, PluginOutcome } from '../../src/model/plugin-call.js';
import { refreshConfig } from '../../src/refresh/config.js';
import type {
  ReadCapacity,
  ReadDecision,
  ReadReport,
  ReadRequest,
  RefreshConfig,
  RefreshHost,
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

/** A daemon around the refresher: reads are answered by `respond`, or by hand where it answers undefined. */
export class FakeHost implements RefreshHost {
  readonly reads: PendingRead[] = [];
  readonly reports: ReadReport[] = [];
  gate: ReadCapacity = open;
  respond: (id: string, request: ReadRequest) => Outcome | undefined = () => running;
  decide: (report: ReadReport) => ReadDecision = (report) => ({ terminal: report.verdict !== undefined });
  wanted = new Set<string>();
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
