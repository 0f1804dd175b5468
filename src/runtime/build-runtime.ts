import { type GateTuning, gateConfig } from '../calls/config.js';
import { createGate } from '../calls/gate.js';
import type { GateSnapshot } from '../calls/types.js';
import type { HostedPlugin } from '../host/types.js';
import type { Clock } from '../lib/clock.js';
import { QuotaLedger, type QuotaLedgerOptions } from '../limits/quota-ledger.js';
import type { PluginBounds, PluginLimits } from '../limits/shared-limits.js';
import type { CreateLaneEvents } from '../model/events/creates.js';
import type { GateEvents } from '../model/events/gate.js';
import type { QuotaEvents } from '../model/events/quotas.js';
import type { RefreshEvents } from '../model/events/refresh.js';
import type { KeptOutage } from '../model/kept-outage.js';
import type { PhaseState } from '../model/phase-state.js';
import type { FailureKind, PluginOutcome } from '../model/plugin-call.js';
import { failedCall } from '../model/plugin-failure.js';
import type { Lane } from '../model/plugin-methods.js';
import type { TaskRecord } from '../model/task-record.js';
import type { PluginConfig, RateLimiterConfig } from '../plugin-api/config.js';
import { type RefreshTuning, refreshConfig } from '../refresh/config.js';
import { createRefresher } from '../refresh/refresher.js';
import type { ReadReport, ReadRequest } from '../refresh/types.js';
import type { TaskStores } from '../store/joined-stores.js';
import { BatchItem } from './batch-item.js';
import { CreateLane } from './create-lane.js';
import { hasBatchKeys, jobOf, regroupAll } from './polling.js';
import { lacksCredentials, type PluginRuntime, resourceArgs } from './runtime.js';
import { SecretsWait } from './secrets-wait.js';

/** What a runtime asks of the tasks that it works for. */
export type RuntimeStore = Pick<TaskStores, 'byId' | 'entry' | 'owed' | 'unfinishedOf' | 'listen'>;

export interface RuntimeOptions {
  readonly plugin: HostedPlugin;
  readonly clock: Clock;
  readonly random: () => number;
  /** Of all tasks that it works for. */
  readonly store: RuntimeStore;
  readonly gate: GateTuning;
  readonly refresh: RefreshTuning;
  /** Creates that may wait for a token of this plugin. */
  readonly maxWaiting: number;
  readonly events: GateEvents & RefreshEvents & QuotaEvents & CreateLaneEvents;
  /** Whether calls may leave at all; see the gate. */
  readonly mayWork?: (() => boolean) | undefined;
  /** Where replicas share the limits; without it the plugin has buckets and a ledger of its own. */
  readonly shared?: PluginLimits | undefined;
  /** Bucket levels of the last clean stop; without them both start empty (rule 1). */
  readonly snapshot?: GateSnapshot | undefined;
  /** Told until when a lane rests that its remote throttled, milliseconds since the epoch. */
  readonly keepPause?: ((lane: Lane, untilMs: number) => void) | undefined;
  /** The outages of its remote by reads and by creates, over restarts; without them their graces begin anew with each start. */
  readonly outages?: { readonly reads: KeptOutage; readonly creates: KeptOutage } | undefined;
  /** Of the daemon's event loop, since it was last asked; without it spare polls are bounded by the read limit alone. */
  readonly loopShare?: () => number | undefined;
  /** The part of the limits that is for the tasks here, where replicas share them. */
  readonly limitShare?: (() => number) | undefined;
  /** Where what was read goes. */
  readonly report: (runtime: PluginRuntime, report: ReadReport) => void;
}

/** What a plugin may answer for no other reason than that it has no secrets. */
const SAID_WITHOUT_SECRETS: ReadonlySet<FailureKind> = new Set([
  'permanent',
  'transient',
  'unknown',
  'not_found',
  'invalid',
]);

/** As good as none, and still a rate. Calls a second. */
const UNKNOWN_QPS = 0.001;

/**
 * The limits of a plugin. One that did not come up yet has told none, and a bucket that was filled at another rate until then
 * would let more through than its own allows (rule 1).
 */
function knownLimits({ kind, config }: HostedPlugin): PluginConfig {
  if (kind !== undefined) return config;
  const still = (rate: RateLimiterConfig) => ({ ...rate, qps: UNKNOWN_QPS });
  return {
    ...config,
    readRateLimiter: still(config.readRateLimiter),
    writeRateLimiter: still(config.writeRateLimiter),
  };
}

/** What the limits of a plugin are now, for replicas that share them. */
export function boundsOf(plugin: HostedPlugin, tuning: GateTuning): PluginBounds {
  const limits = gateConfig(knownLimits(plugin), tuning);
  const { callTimeoutMs: callMs, doTimeoutMs } = limits;
  const longestMs = plugin.kind === 'async' ? callMs : Math.max(callMs, doTimeoutMs);
  const { resourceQuotas, caching } = plugin.config;
  return {
    read: { rate: limits.readRateLimiter, concurrency: limits.readConcurrency, callMs },
    write: { rate: limits.writeRateLimiter, concurrency: limits.writeConcurrency, callMs: longestMs },
    quotas: { quotas: resourceQuotas, capacity: caching.size },
  };
}

/** Builds gate, poll schedule and quota ledger of one plugin and joins them. */
// biome-ignore lint/complexity/noExcessiveLinesPerFunction: it only joins parts, one after the other
export function buildRuntime(options: RuntimeOptions): PluginRuntime & { stop(): Promise<void> } {
  const { plugin, clock, random, store, events } = options;
  const gate = createGate({
    plugin,
    config: gateConfig(knownLimits(plugin), options.gate),
    clock,
    random,
    events: {
      ...events,
      throttled(event) {
        events.throttled?.(event);
        options.keepPause?.(event.lane, clock.now() + event.pauseMs);
      },
    },
    snapshot: options.snapshot,
    mayWork: options.mayWork,
    limiter: options.shared?.limiter,
  });
  const ledgerOptions: QuotaLedgerOptions = {
    clock,
    quotas: plugin.config.resourceQuotas,
    capacity: plugin.config.caching.size,
    maxWaiting: options.maxWaiting,
    jobOf(id) {
      const task = store.entry(id) ?? store.owed.get(id);
      const meta = task && ('metaText' in task ? task.metaText : task.meta);
      return meta === undefined ? undefined : jobOf(meta);
    },
    events,
  };
  const quotas = options.shared?.quotas(ledgerOptions) ?? new QuotaLedger(ledgerOptions);
  const creates = new CreateLane({
    clock,
    random,
    graceMs: options.refresh.outageGraceMs,
    events,
    outage: options.outages?.creates,
  });
  const secrets = new SecretsWait(clock);
  const pollConfig = () => ({
    ...refreshConfig(plugin.config, plugin.features.getMany?.maxBatch ?? 1, options.refresh),
    readConcurrency: options.gate.readConcurrency ?? plugin.config.caching.workers,
  });
  const refresher = createRefresher({
    clock,
    random,
    config: pollConfig(),
    loopShare: options.loopShare,
    limitShare: options.limitShare,
    outage: options.outages?.reads,
    events: {
      ...events,
      remoteDown(event) {
        events.remoteDown?.(event);
        creates.readsDown();
      },
      remoteUp(event) {
        events.remoteUp?.(event);
        creates.readsUp();
      },
    },
    reader: {
      read: (request) => read(request),
      capacity: () => gate.capacity('read'),
      due: options.shared && ((calls) => gate.readsDue(calls)),
      onOutcome: (report) => options.report(runtime, report),
      tokenWanted: (quotaNamespace) => quotas.hasWaiters(quotaNamespace),
    },
  });
  gate.onReadCapacity(() => refresher.wake());
  const deaf = store.listen(plugin.id, {
    left: (id, becomes) => refresher.untrack(id, becomes),
    asked: (id) => refresher.asked(id),
    enriched(id) {
      refresher.asked(id);
      secrets.came(id);
    },
    freed: (id) => quotas.release(id),
  });

  async function read(request: ReadRequest): Promise<readonly PluginOutcome<PhaseState>[]> {
    const now = clock.now();
    // What is tracked is in the store, which says so when it lets a task go.
    const tasks = request.tasks as readonly TaskRecord[];
    const { deadlineMs, signal } = request;
    const call = { admission: 'fail-fast', deadlineMs, signal, boundsUntilSent: true } as const;
    const [only] = tasks;
    if (tasks.length === 1 && only !== undefined) {
      return [excused(only, now, await gate.call('get', resourceArgs(only, now), call))];
    }
    const items = tasks.map((task) => new BatchItem(task, now));
    const outcome = await gate.call('getMany', { items }, call);
    if (!outcome.ok) return items.map(() => outcome);
    return outcome.value.map((one, at) => (one.ok ? one : excused(tasks[at], now, one)));
  }

  /** What a read says that went without the secrets of its task says nothing of the task: their engine brings them again. */
  function excused(task: TaskRecord | undefined, sentAtMs: number, outcome: PluginOutcome<PhaseState>) {
    if (outcome.ok || task === undefined || !lacksCredentials(task, sentAtMs)) return outcome;
    const { kind, code, message } = outcome.failure;
    if (!SAID_WITHOUT_SECRETS.has(kind)) return outcome;
    const said = `the secrets that came with its calls are no longer kept; without them the read failed: [${code}] ${message}`;
    return failedCall('not_admitted', 'SECRETS_GONE', said, pollConfig().resyncIntervalMs);
  }

  let keyed = hasBatchKeys(plugin);
  const unlisten = plugin.onStateChange(({ state }) => {
    // A reload may have brought other limits; the buckets keep their level.
    gate.reconfigure(gateConfig(knownLimits(plugin), options.gate));
    refresher.reconfigure(pollConfig());
    quotas.reconfigure({ quotas: plugin.config.resourceQuotas, capacity: plugin.config.caching.size });
    if (state !== 'serving') return;
    const first = !keyed && hasBatchKeys(plugin);
    keyed = hasBatchKeys(plugin);
    void regroupAll({ plugin, gate, refresher }, store, first);
  });

  const runtime: PluginRuntime & { stop(): Promise<void> } = {
    plugin,
    gate,
    refresher,
    quotas,
    creates,
    secrets,
    servesSinceMs: clock.now(),
    async stop() {
      unlisten();
      await refresher.stop();
      await gate.close();
      options.shared?.close();
      deaf();
    },
  };
  return runtime;
}
