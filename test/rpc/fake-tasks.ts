import { HostError } from '../../src/errors/index.js';
import { attemptKeyOf, taskIdOf } from '../../src/model/attempt-key.js';
import { encodeHandle, type Handle } from '../../src/model/handle.js';
import { type PhaseState, phaseState } from '../../src/model/phase-state.js';
import type { PluginReport } from '../../src/model/plugin-report.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import type { WatchFilter, WatchReader } from '../../src/model/watch.js';
import { sharedScope } from '../../src/store/scopes.js';
import type { CallScope, CreateAnswerView, HandleHints, TaskSpec, Tasks } from '../../src/tasks/types.js';
import { FakeRing } from './fake-ring.js';

export const NOW = 1_700_000_000_123;

export interface Mutable {
  state: PhaseState;
  phaseVersion: number;
  observedAtMs: number | undefined;
  consecutiveFailures: number;
  lastFailure: TaskRecord['lastFailure'];
  revision: number;
}

export function makeRecord(handle: Handle, state: PhaseState): TaskRecord & Mutable {
  const { identity } = handle;
  const record = {
    id: taskIdOf(identity.key, identity.incarnation),
    identity,
    scope: sharedScope(identity),
    stage: 'live',
    meta: handle.meta,
    outputPrefix: '',
    payload: undefined,
    node: undefined,
    requirements: undefined,
    connection: undefined,
    connectionUntilMs: 0,
    state,
    phaseVersion: 0,
    observedAtMs: undefined,
    consecutiveFailures: 0,
    lastFailure: undefined,
    answeredHandle: encodeHandle(handle),
    hasHandle: true,
    createdAtMs: NOW,
    liveSinceMs: NOW,
    lastAskedAtMs: NOW,
    confirmed: false,
    undeliveredAtMs: undefined,
    undeliveredForMs: 0,
    adopted: false,
    deleted: false,
    endedBefore: false,
    revision: 0,
  } as const;
  let shown = state;
  // As in the store, whatever is set anew makes answers out of date.
  return Object.defineProperty({ ...record } as TaskRecord & Mutable, 'state', {
    enumerable: true,
    get: () => shown,
    set(this: Mutable, next: PhaseState) {
      shown = next;
      this.revision += 1;
    },
  });
}

/** Use cases that keep what they are asked and answer what a test sets. */
export class FakeTasks implements Tasks {
  readonly specs: TaskSpec[] = [];
  readonly scopes: CallScope[] = [];
  readonly deletes: { handle: Buffer; reason: string; hints: HandleHints }[] = [];
  readonly hints: HandleHints[] = [];
  readonly records = new Map<string, TaskRecord & Mutable>();
  readonly down = new Set<string>();
  readonly ring = new FakeRing();
  undeliveredCount = 0;
  reports: PluginReport[] = [];
  /** Set to hold up, or to fail, the named use case. */
  before: (method: string, scope: CallScope) => Promise<void> | void = () => {};
  createState: PhaseState = phaseState('QUEUED', { reason: 'submitted' });
  doState: PhaseState = phaseState('SUCCESS');
  peeks = 0;
  /** How old an answer might be, where it was said. */
  readonly bears: (readonly ['peek' | 'status', number])[] = [];
  readonly tooOld = new Set<TaskRecord>();

  async create(spec: TaskSpec, scope: CallScope): Promise<CreateAnswerView> {
    this.specs.push(spec);
    this.scopes.push(scope);
    await this.before('create', scope);
    const handle: Handle = {
      identity: {
        plugin: 'demo',
        taskType: spec.taskType,
        taskTypeVersion: spec.taskTypeVersion,
        key: attemptKeyOf(spec.attempt),
        incarnation: 1,
        project: spec.metadata.taskExecutionId.project,
        domain: spec.metadata.taskExecutionId.domain,
        namespace: spec.metadata.namespace,
        quotaNamespace: '',
        createdAtMs: NOW,
        outputNames: spec.outputNames,
      },
      meta: Buffer.from('{"job":1}'),
    };
    const task = makeRecord(handle, this.createState);
    const bytes = task.answeredHandle!;
    this.records.set(bytes.toString('latin1'), task);
    return {
      handle: bytes,
      task,
      undelivered: () => {
        this.undeliveredCount += 1;
        this.onUndelivered();
      },
    };
  }

  onUndelivered: () => void = () => {};

  peek(handle: Buffer, maxStalenessMs = 0): (TaskRecord & Mutable) | undefined {
    this.peeks += 1;
    if (maxStalenessMs > 0) this.bears.push(['peek', maxStalenessMs]);
    const task = this.records.get(handle.toString('latin1'));
    return maxStalenessMs > 0 && task !== undefined && this.tooOld.has(task) ? undefined : task;
  }

  async status(handle: Buffer, hints: HandleHints, scope: CallScope): Promise<TaskRecord> {
    this.hints.push(hints);
    this.scopes.push(scope);
    await this.before('status', scope);
    const task = this.peek(handle);
    if (task !== undefined) return task;
    throw new HostError('HANDLE_MALFORMED', `not a handle: ${handle.length} bytes`, { details: { field: 'handle' } });
  }

  async get(handle: Buffer, hints: HandleHints, scope: CallScope): Promise<TaskRecord> {
    this.hints.push(hints);
    this.scopes.push(scope);
    await this.before('get', scope);
    const task = this.peek(handle);
    if (task === undefined) throw new HostError('TASK_UNKNOWN', 'no such task');
    return task;
  }

  async delete(handle: Buffer, reason: string, hints: HandleHints): Promise<void> {
    this.deletes.push({ handle, reason, hints });
    await this.before('delete', {
      arrivedMs: 0,
      deadlineMs: Number.POSITIVE_INFINITY,
      signal: new AbortController().signal,
    });
  }

  async do(spec: TaskSpec, scope: CallScope): Promise<PhaseState> {
    this.specs.push(spec);
    await this.before('do', scope);
    return this.doState;
  }

  watch(filter: WatchFilter): WatchReader {
    return this.ring.read(filter);
  }

  listPlugins(): readonly PluginReport[] {
    return this.reports;
  }

  async adoptForeign(): Promise<never> {
    throw new HostError('HANDLE_MALFORMED', 'no plugin knows it');
  }

  async getLogs(): Promise<never> {
    throw new HostError('PLUGIN_METHOD_MISSING', 'no logs here');
  }

  async getMetrics(): Promise<never> {
    throw new HostError('PLUGIN_METHOD_MISSING', 'no metrics here');
  }

  remoteDown(plugin: string): boolean {
    return this.down.has(plugin);
  }
}
