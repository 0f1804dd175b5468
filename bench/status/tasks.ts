import type { PluginHost } from '../../src/host/types.js';
import { memoryJournal } from '../../src/journal/journal.js';
import { systemClock } from '../../src/lib/clock.js';
import { attemptKeyOf } from '../../src/model/attempt-key.js';
import { encodeHandle, type TaskIdentity } from '../../src/model/handle.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { ReplayCache } from '../../src/store/replay-cache.js';
import { TaskStore } from '../../src/store/task-store.js';
import { DEFAULT_TASKS_OPTIONS } from '../../src/tasks/deps.js';
import type { PluginRuntime } from '../../src/tasks/runtime.js';
import { createTasks } from '../../src/tasks/tasks.js';
import type { Tasks } from '../../src/tasks/types.js';
import { MetricSet } from '../../src/telemetry/metric-set.js';
import { closedRefresher } from './refresher.js';

const PLUGIN = 'demo';

/** A task as a running Slurm or Spark job of a Flyte workflow looks: handle, prefix, phase, one log link. */
function identityOf(index: number): TaskIdentity {
  const name = `s3://flyte-metadata/propeller/flytesnacks-development-f${index.toString(16).padStart(12, '0')}/n0/data/0`;
  return {
    plugin: PLUGIN,
    taskType: 'demo',
    taskTypeVersion: 0,
    key: attemptKeyOf({ name, executionId: '' }),
    incarnation: 1,
    project: 'flytesnacks',
    domain: 'development',
    namespace: 'flytesnacks-development',
    quotaNamespace: 'default',
    createdAtMs: 1_700_000_000_000 + index,
    outputNames: ['o0'],
  };
}

/** The daemon's use cases over its store, holding `count` live tasks that were read once. */
export function makeTasks(count: number): { tasks: Tasks; records: TaskRecord[] } {
  const clock = systemClock;
  const store = new TaskStore({
    clock,
    journal: memoryJournal,
    maxTasks: count + 1,
    finished: { maxCount: 1000, maxBytes: 1 << 24, ttlMs: 3_600_000 },
    endMarks: { max: 1000, ttlMs: 3_600_000 },
    watchRing: 10_000,
  });
  const refresher = closedRefresher();
  const records = Array.from({ length: count }, (_, index) => {
    const identity = identityOf(index);
    const meta = Buffer.from(JSON.stringify({ jobId: `job-${index}`, cluster: 'main' }));
    const answeredHandle = encodeHandle({ identity, meta });
    const outputPrefix = `s3://flyte-metadata/propeller/flytesnacks-development-f${index}/n0/data/0`;
    const queued = phaseState('QUEUED');
    const task = store.insert({ identity, stage: 'live', state: queued, meta, outputPrefix, answeredHandle });
    const logs = [{ uri: `https://logs.example.org/jobs/job-${index}`, name: 'Job log' }];
    store.observed(task, phaseState('RUNNING', { reason: 'on node c12', logs, remotePhase: 'R' }));
    refresher.track({ id: task.id, createdAtMs: identity.createdAtMs, lastReadAtMs: clock.now() });
    return task;
  });
  const runtime = { refresher } as unknown as PluginRuntime;
  const tasks = createTasks({
    clock,
    random: Math.random,
    store,
    journal: memoryJournal,
    host: {} as PluginHost,
    runtimes: { get: (id) => (id === PLUGIN ? runtime : undefined), all: () => [runtime] },
    replays: new ReplayCache({ clock, ttlMs: 60_000, max: 10, maxBytes: 1 << 20 }),
    options: DEFAULT_TASKS_OPTIONS,
    events: {},
    writeOutputs: undefined,
  });
  return { tasks, records };
}

export function benchMetrics(): MetricSet {
  return new MetricSet();
}
