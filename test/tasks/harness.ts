import type { GateTuning } from '../../src/calls/config.js';
import { refreshTuning, tasksOptions } from '../../src/daemon/options.js';
import { KeptState } from '../../src/daemon/state.js';
import { HostError } from '../../src/errors/index.js';
import type { CallOptions, HostedPlugin, PluginHost } from '../../src/host/types.js';
import { buildLiteralMap } from '../../src/idl/literal-map.js';
import { type Clock, ManualClock } from '../../src/lib/clock.js';
import { createDeferred, type Deferred } from '../../src/lib/deferred.js';
import type { CreateLaneEvents } from '../../src/model/events/creates.js';
import type { PluginState, StateChange } from '../../src/model/events/host.js';
import type { RefreshEvents } from '../../src/model/events/refresh.js';
import type { TaskEvents } from '../../src/model/events/tasks.js';
import { HandleKeys } from '../../src/model/handle-keys.js';
import { DEFAULT_PLUGIN_CONFIG } from '../../src/model/options/plugin.js';
import { type PhaseState, phaseState } from '../../src/model/phase-state.js';
import type {
  FailureKind,
  PluginFailure,
  PluginMethod,
  PluginMethods,
  PluginOutcome,
} from '../../src/model/plugin-call.js';
import { NO_FEATURES, type PluginFeatures } from '../../src/model/plugin-methods.js';
import type { PluginConfig } from '../../src/plugin-api/config.js';
import type { RefreshTuning } from '../../src/refresh/config.js';
import { buildRuntime } from '../../src/runtime/build-runtime.js';
import type { PluginRuntime } from '../../src/runtime/runtime.js';
import type { StateEngine } from '../../src/state/index.js';
import { ReplayCache } from '../../src/store/replay-cache.js';
import type { StateFeed } from '../../src/store/state-feed.js';
import { TaskStore } from '../../src/store/task-store.js';
import type { TasksDeps, TasksOptions } from '../../src/tasks/deps.js';
import { HandleTrust } from '../../src/tasks/read/handle-trust.js';
import { createTasks, type TasksControl } from '../../src/tasks/tasks.js';
import type { CallScope, TaskSpec } from '../../src/tasks/types.js';
import { DEFAULT_ENTRY, DEFAULTS } from '../support/defaults.js';

type Answer<M extends PluginMethod> = PluginOutcome<PluginMethods[M]['answer']>;
type Handler<M extends PluginMethod> = (
  args: PluginMethods[M]['args'],
  call: CallOptions,
) => Answer<M> | Promise<Answer<M>>;

export const ok = <T>(value: T): PluginOutcome<T> => ({ ok: true, value });

export function fail(kind: FailureKind, parts: Partial<PluginFailure> = {}): PluginOutcome<never> {
  const failure = {
    kind,
    message: `${kind} happened`,
    code: kind.toUpperCase(),
    faultKind: 'SYSTEM',
    retryAfterMs: undefined,
  } as const;
  return { ok: false, failure: { ...failure, ...parts } };
}

export const created = (meta = '{"job":1}', state?: PhaseState, existing = false) =>
  ok({ meta: Buffer.from(meta), state, existing });

export function literals(...names: string[]): PhaseState['outputs'] {
  const literalMap = buildLiteralMap(names.map((name) => ({ name, value: Buffer.from([0x0a, 0x00]) })));
  return { kind: 'inline', literalMap, names };
}

/** A plugin whose answers the test decides; it records every call. */
export class FakePlugin implements HostedPlugin {
  readonly id = 'fake';
  kind: 'async' | 'sync' | undefined = 'async';
  state: PluginState = 'serving';
  stateReason = '';
  stateCode = undefined;
  version = '1';
  source = 'fake';
  isolation = 'process' as const;
  taskTypes = [{ name: 't', versions: undefined }];
  isDefault = false;
  required = false;
  config: PluginConfig = DEFAULT_PLUGIN_CONFIG;
  features: { -readonly [F in keyof PluginFeatures]: PluginFeatures[F] } = { ...NO_FEATURES };
  pid = 1;
  restarts = 0;
  rssBytes = 0;
  inFlight = 0;
  writable = true;
  environment: readonly string[] = [];
  readonly calls: { method: PluginMethod; args: unknown }[] = [];
  readonly on: { [M in PluginMethod]?: Handler<M> } = {};
  readonly listeners = new Set<(change: StateChange) => void>();

  drained(): Promise<void> {
    return Promise.resolve();
  }

  async call<M extends PluginMethod>(
    method: M,
    args: PluginMethods[M]['args'],
    options: CallOptions,
  ): Promise<Answer<M>> {
    this.calls.push({ method, args });
    const handler = this.on[method] as Handler<M> | undefined;
    return handler === undefined ? fail('unknown', { message: `no handler for ${method}` }) : handler(args, options);
  }

  onStateChange(listener: (change: StateChange) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** It did not come up, and told nothing of itself. */
  isDown(): void {
    this.kind = undefined;
    this.state = 'restarting';
    this.features = { ...NO_FEATURES };
  }

  /** It comes up, and tells what it is. */
  comesUp(told: Partial<Pick<FakePlugin, 'kind' | 'features' | 'config'>> = {}): void {
    const { id: pluginId, state: previous, pid, restarts } = this;
    Object.assign(this, { kind: 'async', state: 'serving' }, told);
    const change = { pluginId, state: 'serving', previous, reason: '', code: undefined, pid, restarts } as const;
    for (const tell of [...this.listeners]) tell(change);
  }

  count(method: PluginMethod): number {
    return this.calls.filter((call) => call.method === method).length;
  }
}

export interface Harness {
  readonly clock: ManualClock;
  readonly plugin: FakePlugin;
  readonly store: TaskStore;
  readonly tasks: TasksControl;
  readonly runtime: PluginRuntime;
  readonly faults: unknown[];
  readonly written: { prefix: string; bytes: Buffer }[];
  readonly trust: HandleTrust;
  readonly deps: TasksDeps;
  /** With `starts`: the plugin is loaded from here on. */
  load(): void;
  spec(name: string, parts?: Partial<TaskSpec>): TaskSpec;
  scope(ms?: number): CallScope;
  /** Begins to stop, and moves no time. */
  stops(): Promise<unknown>;
  stop(): Promise<void>;
}

export interface HarnessOptions {
  readonly config?: Partial<PluginConfig>;
  readonly options?: Partial<TasksOptions>;
  readonly plugin?: (plugin: FakePlugin) => void;
  readonly events?: TaskEvents;
  readonly refresh?: Partial<RefreshTuning>;
  readonly gate?: Partial<GateTuning>;
  /** Told of outages. */
  readonly remote?: RefreshEvents & CreateLaneEvents;
  /** Another's time: `clock` is the daemon's, which may end before `manual` does. */
  readonly world?: { readonly manual: ManualClock; readonly clock: Clock };
  /** Time that passes before the test begins; a minute unless given. */
  readonly warmUpMs?: number;
  readonly maxTasks?: number;
  readonly finished?: { readonly maxCount?: number; readonly maxBytes?: number; readonly ttlMs?: number };
  readonly replayWindowMs?: number;
  readonly dataStore?: 'none' | 'works' | 'fails';
  readonly feed?: StateFeed;
  /** Keys that handles are signed with; not signed unless given. */
  readonly handleKeys?: readonly string[] | undefined;
  readonly handleGraceMs?: number;
  /** Whether the state is its own for sure; always unless given. */
  readonly mayWork?: () => boolean;
  /** Where the state is kept, and what an earlier run left there. */
  readonly engine?: StateEngine;
  /** Told of each row of the inbox that is dropped with what is written next. */
  readonly consumed?: (row: string) => void;
  /** The daemon still starts: its plugin is loaded by `load`. */
  readonly starts?: boolean;
  /** Awaited before outputs are written. */
  readonly beforeWrite?: () => Promise<void>;
}

/** The use cases over a fake plugin, with real gate, quotas, schedule and store, on a clock that the test moves. */
export async function makeHarness(given: HarnessOptions = {}): Promise<Harness> {
  const manual = given.world?.manual ?? new ManualClock();
  const clock = given.world?.clock ?? manual;
  const plugin = new FakePlugin();
  plugin.config = { ...DEFAULT_PLUGIN_CONFIG, ...given.config };
  given.plugin?.(plugin);
  const { engine } = given;
  const env = {};
  const kept = engine && new KeptState({ config: DEFAULTS, env, clock, random: () => 0.5, events: {}, engine });
  if (kept !== undefined && given.consumed !== undefined) Object.assign(kept.feed, { consumed: given.consumed });
  const feed = given.feed ?? kept?.feed;
  const fed = feed === undefined ? {} : { feed };
  const store = new TaskStore({
    clock,
    ...fed,
    maxTasks: given.maxTasks ?? 1000,
    finished: { maxCount: 100, maxBytes: 64 * 1024 * 1024, ttlMs: 86_400_000, ...given.finished },
    endMarks: { max: 1000, ttlMs: given.replayWindowMs ?? 86_400_000 },
    watchRing: 100,
  });
  const runtimes = new Map<string, PluginRuntime>();
  let loaded = false;
  const host = {
    plugins: () => [plugin],
    plugin: (id: string) => (id === plugin.id ? plugin : undefined),
    route: (name: string) => {
      if (plugin.taskTypes.some((served) => served.name === name)) return plugin;
      throw new HostError('TASK_TYPE_UNKNOWN', `no plugin serves ${name}`);
    },
  } as unknown as PluginHost;
  const faults: unknown[] = [];
  const written: { prefix: string; bytes: Buffer }[] = [];
  const writeOutputs = async (prefix: string, bytes: Buffer) => {
    await given.beforeWrite?.();
    if (given.dataStore === 'fails') throw new Error('disk full');
    written.push({ prefix, bytes });
  };
  const replays = new ReplayCache({ clock, ...fed, ttlMs: 600_000, max: 100, maxBytes: 1e7 });
  if (kept !== undefined) await settle(manual, kept.open(store, replays));
  const deps: TasksDeps = {
    clock,
    random: () => 0.5,
    store,
    host,
    runtimes: {
      get: (id) => runtimes.get(id),
      comes: (id) => given.starts === true && !loaded && id === plugin.id,
      all: () => runtimes.values(),
    },
    replays,
    options: { ...tasksOptions(DEFAULTS), ...given.options },
    events: { ...given.events, fault: (where, error) => faults.push([where, error]) },
    mayWork: given.mayWork,
    writeOutputs: given.dataStore === 'none' ? undefined : writeOutputs,
    handles: new HandleTrust({ clock, graceMs: given.handleGraceMs ?? 0, events: { ...given.events } }),
  };
  if (given.handleKeys !== undefined) deps.handles.use(new HandleKeys(given.handleKeys), 0);
  const tasks = createTasks(deps);
  const runtime = buildRuntime({
    plugin,
    clock,
    random: () => 0.5,
    store,
    gate: { ...DEFAULT_ENTRY, ...given.gate },
    refresh: { ...refreshTuning(DEFAULTS), ...given.refresh },
    snapshot: kept?.levels(plugin.id),
    keepPause: kept && ((lane, untilMs) => kept.keepPause(plugin.id, lane, untilMs)),
    outages: kept && { reads: kept.outage(plugin.id, 'read'), creates: kept.outage(plugin.id, 'write') },
    maxWaiting: 1000,
    events: { ...given.remote },
    report: (one, report) => tasks.reads.report(one, report),
  });
  const load = () => {
    loaded = true;
    runtimes.set(plugin.id, runtime);
    if (!tasks.recover(runtime)()) runtime.creates.forgetBefore();
    tasks.recovered();
  };
  if (given.starts !== true) load();
  else if (kept !== undefined) {
    tasks.starting({ route: () => plugin.id, served: () => [{ ...plugin, kind: 'async' }] });
  }
  // Buckets start empty; let them fill, so that a test sees limits only where it asks for them.
  await manual.advance(given.warmUpMs ?? 60_000);
  return {
    clock: manual,
    plugin,
    store,
    tasks,
    runtime,
    faults,
    written,
    trust: deps.handles,
    deps,
    load,
    spec: (name, parts = {}) => ({
      taskType: 't',
      taskTypeVersion: 0,
      attempt: { name, executionId: '' },
      node: undefined,
      template: Buffer.from('template'),
      outputNames: undefined,
      inputs: undefined,
      inputPrefix: '',
      outputPrefix: `s3://bucket/${name}`,
      metadata: {
        generatedName: name,
        taskExecutionId: {
          task: { project: 'p', domain: 'd', name: 'n', version: 'v' },
          project: 'p',
          domain: 'd',
          execution: 'e',
          nodeId: 'n0',
          retryAttempt: 0,
        },
        namespace: 'ns',
        labels: {},
        annotations: {},
        serviceAccount: '',
        environmentVariables: {},
        maxAttempts: 0,
        interruptible: false,
      },
      maxDatasetSizeBytes: 0,
      connection: undefined,
      ...parts,
    }),
    scope: (ms = 9_000) => ({
      arrivedMs: clock.now(),
      deadlineMs: clock.now() + ms,
      signal: new AbortController().signal,
    }),
    stops: () => Promise.all([tasks.stop(), runtime.stop()]),
    async stop() {
      const stopping = Promise.all([tasks.stop(), runtime.stop()]);
      await manual.advance(1);
      await stopping;
      for (const { plugin, gate } of deps.runtimes.all()) kept?.keepLevels(plugin.id, gate.snapshot());
      if (kept !== undefined) await settle(manual, kept.close());
    },
  };
}

/** A handler that answers when the test says so. */
export function held<T>(): { readonly promise: Promise<T>; release(value: T): void } {
  const deferred: Deferred<T> = createDeferred<T>();
  return { promise: deferred.promise, release: (value) => deferred.resolve(value) };
}

/** Moves the clock until the promise has settled, at most `maxMs`. */
export async function settle<T>(clock: ManualClock, promise: Promise<T>, maxMs = 3_600_000): Promise<T> {
  let settled = false;
  const done = promise.finally(() => {
    settled = true;
  });
  done.catch(() => undefined);
  for (let passed = 0; passed < maxMs && !settled; passed += 250) await clock.advance(250);
  return done;
}

export const HINTS = { outputPrefix: '', connection: undefined };
export const running = (reason = 'runs') => ok(phaseState('RUNNING', { reason }));
export const success = (outputs?: PhaseState['outputs']) =>
  ok(phaseState('SUCCESS', outputs === undefined ? {} : { outputs }));
