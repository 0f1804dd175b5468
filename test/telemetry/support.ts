import { phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
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
  unservedTasks: 4,
  stateStore: { bytes: 4_096, lagMs: 20, trouble: 'STATE_DISK_FULL', facts: { task: 9, mark: 2 } },
  cluster: {
    role: 'owner',
    roles: ['standby', 'owner'],
    members: 3,
    leaseLeftMs: 7_500,
    parts: { owned: 3, taking: 1 },
    links: { up: 1, down: 1 },
    inbox: { waiting: 3, running: 1, oldestMs: 1_500 },
  },
  certificates: [{ port: 'grpc', daysLeft: 20 }],
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
      shared: {
        owner: 'other',
        read: { drawn: 9, lapsed: 2, granted: 0 },
        write: { drawn: 1, lapsed: 0, granted: 30 },
      },
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

export const task = (plugin: string): TaskRecord =>
  ({
    id: 'k-1',
    identity: { plugin, taskType: 'sleep' },
    scope: { plugin },
    state: phaseState('SUCCESS'),
  }) as unknown as TaskRecord;

/** Lets everything happen once that a metric tells of. */
export function everythingOnce(telemetry: Telemetry): void {
  telemetry.measure(() => FIGURES);
  const observer = telemetry.rpcMetrics({ service: 'pluginhost.v1.PluginHost', method: 'Status', type: 'unary' });
  observer.started();
  observer.received();
  observer.handled('OK', 0.002);
  observer.handled('NOT_FOUND', 60);
  observer.sent();
  telemetry.connectionCut('idle');
  telemetry.accessEvents.refused({ port: 'grpc', reason: 'plaintext', remote: '10.0.0.9', detail: 'from elsewhere' });
  const { gateEvents, taskEvents, hostEvents } = telemetry;
  gateEvents.callEnded({
    plugin: 'slurm',
    method: 'getMany',
    outcome: 'ok',
    waitMs: 5,
    durationMs: 20,
    batchSize: 9,
  });
  gateEvents.callEnded({
    plugin: 'slurm',
    method: 'create',
    outcome: 'unknown',
    waitMs: 0,
    durationMs: 1,
    batchSize: 1,
  });
  const inside = {
    plugin: 'slurm',
    method: 'batchKeys',
    outcome: 'ok',
    waitMs: 0,
    durationMs: 1,
    batchSize: 1,
  } as const;
  gateEvents.callEnded(inside);
  gateEvents.throttled({ plugin: 'slurm', lane: 'read', pauseMs: 2_500 });
  gateEvents.rejected({ plugin: 'slurm', method: 'get', code: 'ADMISSION_DEADLINE' });
  const refresh = telemetry.refreshEvents('slurm');
  refresh.readStarted({ purpose: 'poll', lagMs: 40, late: 1, batchSize: 1 });
  const failure = {
    kind: 'transient',
    message: 'x',
    code: 'X',
    faultKind: 'SYSTEM',
    retryAfterMs: undefined,
  } as const;
  refresh.remoteDown({ failure, sinceMs: 0 });
  refresh.remoteUp({ downMs: 5 });
  refresh.createsDown({ failure });
  refresh.createsUp({ downMs: 5 });
  telemetry.quotaEvents('slurm').granted({ quotaNamespace: 'q', waitMs: 1_000, forced: false });
  hostEvents.metric({ pluginId: 'slurm', kind: 'count', name: 'BAD NAME', value: 1 });
  const record = task('slurm');
  taskEvents.accepted(record);
  taskEvents.created(record);
  taskEvents.adopted(record);
  taskEvents.handleUnverified('none', true);
  taskEvents.ended(record);
  taskEvents.createRetried(record, 'X', 'x', 1);
  taskEvents.tokenLapsed(record);
  taskEvents.createUnclear('k-1', 'slurm', 'CREATE_BUDGET_SPENT', 'slow');
  taskEvents.createCleared('k-1', 'slurm', 'cancelled');
  taskEvents.orphanDeleted(record);
  taskEvents.outputsDropped(record, ['a']);
  taskEvents.stoodIn('create', 'answered');
  taskEvents.tookIn('create');
  taskEvents.leftInInbox('delete', '7', 'STATE_FORMAT_NEWER', 'a later release wrote it');
  taskEvents.deleteFreed('k-1', 'slurm', 3_600_000);
  taskEvents.deleteDone('k-1', 'slurm', 1);
  taskEvents.deleteFailed('k-1', 'slurm', 'X', 'x', 1);
  telemetry.clusterEvents.taken('host, process 7', 120);
  telemetry.clusterEvents.passedOn('OK');
  telemetry.spreadEvents.taken(undefined, 40, 3);
  telemetry.spreadEvents.gives(3, 'balance');
  telemetry.spreadEvents.refused(4, 'it is damaged');
  telemetry.stateEvents.committed(3);
  telemetry.stateEvents.failed('STATE_DISK_FULL');
}
