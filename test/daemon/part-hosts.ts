import { Parts } from '../../src/daemon/parts.js';
import { type RuntimeParts, RuntimeRegistry } from '../../src/daemon/runtimes.js';
import { HostError } from '../../src/errors/index.js';
import type { PluginHost } from '../../src/host/types.js';
import { ManualClock } from '../../src/lib/clock.js';
import { SecretMasks } from '../../src/lib/secrets.js';
import { attemptKeyOf } from '../../src/model/attempt-key.js';
import { partitionOf, partOf } from '../../src/model/handle.js';
import { DEFAULT_PLUGIN_CONFIG } from '../../src/model/options/plugin.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { PluginRuntime } from '../../src/runtime/runtime.js';
import { type FactKey, PartedEngine, type Puts, type StateEngine } from '../../src/state/index.js';
import type { CallScope, TaskSpec } from '../../src/tasks/types.js';
import type { Log, Telemetry } from '../../src/telemetry/index.js';
import { DEFAULT_ENTRY, DEFAULTS } from '../support/defaults.js';
import { created, FakePlugin, fail, makeHarness, ok, settle } from '../tasks/harness.js';

export const PARTS = 4;

/** Names of tasks that lie in a part. */
export function namesIn(part: number, count: number): string[] {
  const names: string[] = [];
  for (let at = 0; names.length < count; at++) {
    const name = `task-${at}`;
    if (partOf(partitionOf(attemptKeyOf({ name, executionId: '' })), PARTS) === part) names.push(name);
  }
  return names;
}

/** Facts in memory, each commit of which takes a while and is not there before. */
export class SlowEngine implements StateEngine {
  readonly name = 'slow';
  readonly durable = true;
  readonly sizeBytes = 0;
  readonly facts = new Map<FactKey, Buffer>();
  readonly #clock: ManualClock;
  fails = false;

  constructor(clock: ManualClock) {
    this.#clock = clock;
  }

  async open(): Promise<void> {}

  async *load({ after = '', before = '\uffff' } = {}): AsyncIterable<readonly (readonly [FactKey, Buffer])[]> {
    const found = [...this.facts].filter(([key]) => key > after && key < before);
    if (found.length > 0) yield found;
  }

  async commit(puts: Puts, drops: readonly FactKey[]): Promise<void> {
    const copies = [...puts].map(([key, value]) => [key, Buffer.from(value)] as const);
    await new Promise<void>((resolve) => this.#clock.setTimer(20, resolve));
    if (this.fails) throw new HostError('STATE_UNWRITABLE', 'as the test has it');
    this.apply(copies, drops);
  }

  /** At once. */
  apply(puts: Iterable<readonly [FactKey, Buffer]>, drops: readonly FactKey[]): void {
    for (const [key, value] of puts) this.facts.set(key, Buffer.from(value));
    for (const key of drops) this.facts.delete(key);
  }

  async close(): Promise<void> {}
}

interface Job {
  readonly key: string;
  state: 'RUNNING' | 'SUCCESS' | 'CANCELLED';
}

/** A remote that both hosts' plugins work with. */
export class SharedRemote {
  readonly jobs: Job[] = [];
  readonly #clock: ManualClock;
  /** Whether it finds a job by its key. */
  readonly #finds: boolean;
  /** What a create takes, and when a job is over. Milliseconds. */
  createMs = 500;
  lastsMs = 20_000;
  creates = 0;
  /** Jobs that ran at a time, at most. */
  mostRunning = 0;

  constructor(clock: ManualClock, finds: boolean) {
    this.#clock = clock;
    this.#finds = finds;
  }

  plugin(): FakePlugin {
    const plugin = new FakePlugin();
    plugin.config = { ...DEFAULT_PLUGIN_CONFIG, resourceQuotas: { default: 50 } };
    plugin.features.findsByKey = this.#finds;
    plugin.on.create = async ({ idempotencyKey: key }) => {
      this.creates += 1;
      await this.#pass(this.createMs);
      const known = this.#finds ? this.jobs.findIndex((job) => job.key === key) : -1;
      if (known !== -1) return created(String(known), undefined, true);
      const job: Job = { key, state: 'RUNNING' };
      this.#clock.setTimer(this.lastsMs, () => {
        if (job.state === 'RUNNING') job.state = 'SUCCESS';
      });
      const at = this.jobs.push(job) - 1;
      this.mostRunning = Math.max(this.mostRunning, this.jobs.filter(({ state }) => state === 'RUNNING').length);
      return created(String(at));
    };
    plugin.on.get = async ({ meta }) => {
      await this.#pass(50);
      const job = this.jobs[Number(meta.toString())];
      if (job === undefined) return fail('not_found');
      return ok(phaseState(job.state === 'CANCELLED' ? 'RETRYABLE_FAILURE' : job.state, { reason: job.state }));
    };
    plugin.on.delete = async ({ meta }) => {
      await this.#pass(100);
      const job = this.jobs[Number(meta.toString())];
      if (job?.state === 'RUNNING') job.state = 'CANCELLED';
      return ok({});
    };
    return plugin;
  }

  #pass(ms: number): Promise<void> {
    return new Promise((resolve) => this.#clock.setTimer(ms, resolve));
  }
}

export interface World {
  readonly clock: ManualClock;
  readonly engine: SlowEngine;
  readonly parted: PartedEngine;
  readonly remote: SharedRemote;
  spec(name: string): TaskSpec;
  scope(ms?: number): CallScope;
}

export async function worldOf(finds = true): Promise<World> {
  const clock = new ManualClock();
  const engine = new SlowEngine(clock);
  const { spec } = await makeHarness({ world: { manual: new ManualClock(), clock: new ManualClock() }, warmUpMs: 1 });
  return {
    clock,
    engine,
    parted: new PartedEngine(engine, PARTS),
    remote: new SharedRemote(clock, finds),
    spec,
    scope: (ms = 9_000) => ({
      arrivedMs: clock.now(),
      deadlineMs: clock.now() + ms,
      signal: new AbortController().signal,
    }),
  };
}

export interface PartHost {
  readonly parts: Parts;
  readonly runtime: PluginRuntime;
  readonly faults: unknown[];
  /** What grows with the tasks that it has. */
  sizes(): Record<string, unknown>;
}

/** What a host has of its own where several share limits: its way to the state and to the remote, and whom it asks for limits. */
export interface OwnWays {
  readonly parted: PartedEngine;
  readonly plugin: FakePlugin;
  readonly limits: NonNullable<RuntimeParts['limits']>;
}

/** What a daemon has of parts and plugins, without its ports and processes. */
export async function hostOf(
  world: World,
  begins: readonly number[],
  keysFile?: string,
  taken?: () => void,
  own?: OwnWays,
): Promise<PartHost> {
  const { clock, remote } = world;
  const { parted = world.parted, plugin = remote.plugin(), limits } = own ?? {};
  const config = {
    ...DEFAULTS,
    plugins: { [plugin.id]: DEFAULT_ENTRY },
    handles: { ...DEFAULTS.handles, keysFile, graceMs: 0 },
  };
  const faults: unknown[] = [];
  const nothing = () => ({});
  const telemetry = {
    taskEvents: { fault: (where: string, error: unknown) => faults.push([where, error]) },
    stateEvents: {},
    gateEvents: {},
    refreshEvents: nothing,
    quotaEvents: nothing,
  } as unknown as Telemetry;
  const host = {
    plugins: () => [plugin],
    plugin: () => plugin,
    route: () => plugin,
  } as unknown as PluginHost;
  const random = () => 0.5;
  const runtimes = new RuntimeRegistry({ config, clock, random, telemetry, limits });
  const parts = new Parts(PARTS, {
    config,
    env: {},
    clock,
    random,
    masks: new SecretMasks(),
    log: { emit: () => undefined } as unknown as Log,
    telemetry,
    host,
    runtimes,
    writeOutputs: undefined,
    mayWork: undefined,
    onSecret: () => undefined,
    engine: parted,
    at: 'memory',
    begins,
    taken,
  });
  await settle(clock, parts.load());
  if (begins.length > 0) await settle(clock, parts.trust());
  parts.loaded({ results: [], fatal: [] } as never);
  runtimes.build(host, parts);
  parts.serve();
  // Buckets start empty.
  if (own === undefined) await clock.advance(60_000);
  const runtime = runtimes.get(plugin.id) as PluginRuntime;
  const { tasks } = parts as unknown as { tasks: { callsUnderWay: number; openWatches: number } };
  return {
    parts,
    runtime,
    faults,
    sizes: () => ({
      unfinished: parts.store.unfinished,
      finished: parts.store.finished,
      owed: parts.store.owed.size,
      unclear: parts.store.unclear.size,
      tracked: runtime.refresher.stats().tracked,
      creates: runtime.creates.waiting,
      held: runtime.quotas.snapshot().map(({ quotaNamespace, used, waiting }) => ({ quotaNamespace, used, waiting })),
      calls: tasks.callsUnderWay,
      watches: tasks.openWatches,
      signing: parts.signing,
      facts: parts.kept.facts(),
    }),
  };
}
