import { ManualClock } from '../../src/lib/clock.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import type { NewTask } from '../../src/store/entry.js';
import { TaskStore, type TaskStoreOptions } from '../../src/store/task-store.js';
import type { UnclearCreate } from '../../src/store/unclear-creates.js';
import { identityOf } from '../support/identity.js';

export function storeOf(overrides: Partial<TaskStoreOptions> = {}) {
  const clock = new ManualClock();
  const store = new TaskStore({
    clock,
    maxTasks: 100,
    finished: { maxCount: 10, maxBytes: 1e6, ttlMs: 60_000 },
    endMarks: { max: 100, ttlMs: 60_000 },
    watchRing: 8,
    ...overrides,
  });
  return { clock, store };
}

export function handleOf(key: string): Buffer {
  return Buffer.from(`handle-${key}`);
}

export function insertTask(store: TaskStore, key: string, more: Partial<NewTask> = {}): TaskRecord {
  return store.insert({
    identity: identityOf(key),
    stage: 'accepted',
    state: phaseState('WAITING_FOR_RESOURCES'),
    outputPrefix: '',
    ...more,
  });
}

/** A task whose job runs and whose handle was answered. */
export function liveTask(store: TaskStore, key: string, plugin = 'demo'): TaskRecord {
  const task = insertTask(store, key, { identity: identityOf(key, { plugin }), answeredHandle: handleOf(key) });
  store.setCreated(task, Buffer.from('{}'));
  store.observed(task, phaseState('QUEUED'));
  return task;
}

/** A task that is known from its handle alone. */
export function adoptedTask(store: TaskStore, key: string, more: Partial<NewTask> = {}): TaskRecord {
  const meta = Buffer.from('{}');
  return insertTask(store, key, { stage: 'live', adopted: true, meta, answeredHandle: handleOf(key), ...more });
}

/** A create of unclear outcome, by its key. */
export function unclearCreate(key: string, more: Partial<UnclearCreate> = {}): UnclearCreate {
  return {
    id: `${key}-1`,
    identity: identityOf(key),
    node: undefined,
    outputPrefix: '',
    sinceMs: 1,
    looks: 0,
    nextLookMs: undefined,
    leftBecause: undefined,
    lastError: { code: 'X', message: 'm' },
    args: undefined,
    connection: undefined,
    connectionUntilMs: 0,
    ...more,
  };
}
