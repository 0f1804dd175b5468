import type { DaemonFigures } from '../../src/telemetry/figures.js';
import { createLog, type Log, type LogOptions, Telemetry } from '../../src/telemetry/index.js';

/** A log whose lines are kept as objects. */
export function captureLog(options: LogOptions = {}): {
  log: Log;
  lines: Record<string, unknown>[];
  text: () => string;
} {
  const lines: Record<string, unknown>[] = [];
  let text = '';
  const sink = {
    write(line: string) {
      text += line;
      if (line.startsWith('{')) lines.push(JSON.parse(line));
    },
  };
  return { log: createLog({ ...options, sink }), lines, text: () => text };
}

export function makeTelemetry(plugins: readonly string[] = ['slurm', 'demo'], processMetrics = false): Telemetry {
  const { log } = captureLog({ level: 'silent' });
  return new Telemetry({ log, version: '1.2.3', plugins, processMetrics });
}

const lane = { tokensNow: 3, queued: 1, inFlight: 2, qps: 0.5, burst: 10 };

/** Figures with something in every place. */
export const FIGURES: DaemonFigures = {
  state: 'ready',
  states: ['starting', 'ready', 'draining'],
  finishedTasks: 12,
  evictions: 4,
  watchers: 2,
  lagged: 1,
  deletesOwed: 3,
  stateStore: { bytes: 4_096, lagMs: 20, trouble: 'STATE_DISK_FULL', facts: { task: 9, mark: 2 } },
  plugins: [
    {
      id: 'slurm',
      state: 'serving',
      paused: false,
      restarts: 2,
      rssBytes: 1_000_000,
      unclearCreates: { looking: 1, left: 2 },
      stages: { accepted: 1, creating: 0, live: 7 },
      lanes: { read: lane, write: { ...lane, qps: 20 } },
      schedule: {
        tracked: 7,
        inFlight: 1,
        due: 2,
        oldestOverdueMs: 1500,
        longestIntervalMs: 30_000,
        remote: 'down',
        notFound: 5,
        notFoundFrozen: 4,
      },
      creates: { down: true, held: 6 },
      quotas: [
        { quotaNamespace: 'gpu', total: 4, used: 3, waiting: 1 },
        { quotaNamespace: 'from-a-request-1', total: undefined, used: 5, waiting: 0 },
        { quotaNamespace: 'from-a-request-2', total: undefined, used: 6, waiting: 0 },
      ],
    },
    { id: 'demo', state: 'failed', paused: true, restarts: 0, rssBytes: 0 },
  ],
};
