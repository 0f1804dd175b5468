import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { completeEntry } from '../../src/host/load/entry.js';
import { createPluginHost } from '../../src/host/plugin-host.js';
import type { HostedPlugin, HostLimits, LoadReport, PluginHost, PluginHostOptions } from '../../src/host/types.js';
import { systemClock } from '../../src/lib/clock.js';
import type {
  PluginChange,
  PluginLogEvent,
  PluginMetricEvent,
  PluginState,
  StateChange,
} from '../../src/model/events/host.js';
import type { WrittenPluginEntry } from '../../src/model/options/plugin.js';
import type { PhaseState } from '../../src/model/phase-state.js';
import type { CreateArgs, PluginOutcome, ResourceArgs } from '../../src/model/plugin-call.js';

const ROOT = fileURLToPath(new URL('../../../', import.meta.url));
export const FIXTURES = path.join(ROOT, 'test', 'fixtures', 'plugins');

export const fixture = (name: string): string => path.join(FIXTURES, name);

/** Paces for tests: quick, but with nothing that an assertion depends on. */
export const QUICK: Partial<HostLimits> = {
  heartbeatMs: 100,
  hangMs: 300,
  memoryPollMs: 50,
  restartInitialMs: 10,
  restartMaxMs: 50,
  maxCrashes: 100,
  stopStepMs: 500,
};

export interface TestHost {
  readonly host: PluginHost;
  readonly report: LoadReport;
  readonly logs: PluginLogEvent[];
  readonly metrics: PluginMetricEvent[];
  readonly changes: StateChange[];
  /** Restarts that found other code. */
  readonly codeChanges: PluginChange[];
  /** Every process id that a plugin ever had. */
  readonly pids: Set<number>;
  plugin(id: string): HostedPlugin;
  /** Resolves when an event satisfies the test; looks at past ones first. */
  logged(matches: (event: PluginLogEvent) => boolean): Promise<PluginLogEvent>;
}

/** A started host that is stopped when the test ends. */
export async function startHost(
  t: TestContext,
  entries: readonly WrittenPluginEntry[],
  options: Partial<PluginHostOptions> = {},
): Promise<TestHost> {
  const logs: PluginLogEvent[] = [];
  const metrics: PluginMetricEvent[] = [];
  const changes: StateChange[] = [];
  const codeChanges: PluginChange[] = [];
  const pids = new Set<number>();
  const waiting = new Set<(event: PluginLogEvent) => void>();
  const host = createPluginHost({
    entries: entries.map(completeEntry),
    clock: systemClock,
    random: () => 0.5,
    data: {
      dataStore: { localRoots: [], maxObjectBytes: 1024 * 1024 },
      secrets: { envPrefixes: ['FLYTE_SECRET_'] },
      maxOutputBytes: 1024 * 1024,
    },
    baseDir: FIXTURES,
    env: {},
    ...options,
    limits: { ...QUICK, ...options.limits },
    events: {
      log: (event) => {
        logs.push(event);
        for (const one of waiting) one(event);
      },
      metric: (event) => void metrics.push(event),
      changed: (event) => void codeChanges.push(event),
      lifecycle: (change) => {
        changes.push(change);
        if (change.pid !== undefined) pids.add(change.pid);
      },
    },
  });
  // The host's own timers keep no process alive, and between two plugin processes there is nothing else.
  const alive = setInterval(() => undefined, 1_000);
  t.after(async () => {
    await host.stop(0);
    clearInterval(alive);
  });
  const report = await host.start();
  return {
    host,
    report,
    logs,
    metrics,
    changes,
    codeChanges,
    pids,
    plugin: (id) => {
      const plugin = host.plugin(id);
      if (plugin === undefined) throw new Error(`no plugin ${id}`);
      return plugin;
    },
    logged: (matches) =>
      new Promise((resolve) => {
        const past = logs.find(matches);
        if (past !== undefined) return resolve(past);
        const look = (event: PluginLogEvent): void => {
          if (!matches(event)) return;
          waiting.delete(look);
          resolve(event);
        };
        waiting.add(look);
      }),
  };
}

/** Resolves when the plugin is in the state; at once if it is. */
export function untilState(plugin: HostedPlugin, state: PluginState): Promise<void> {
  if (plugin.state === state) return Promise.resolve();
  return new Promise((resolve) => {
    const stop = plugin.onStateChange((change) => {
      if (change.state !== state) return;
      stop();
      resolve();
    });
  });
}

export const EXECUTION_METADATA: CreateArgs['metadata'] = {
  generatedName: 'attempt-1',
  taskExecutionId: {
    task: { project: 'p', domain: 'd', name: 'n', version: 'v' },
    project: 'p',
    domain: 'd',
    execution: 'e',
    nodeId: 'n0',
    retryAttempt: 0,
  },
  namespace: 'p-d',
  labels: {},
  annotations: {},
  serviceAccount: '',
  environmentVariables: {},
  maxAttempts: 0,
  interruptible: false,
};

export function createArgs(parts: Partial<CreateArgs> = {}): CreateArgs {
  return {
    template: Buffer.alloc(0),
    inputs: undefined,
    inputPrefix: '',
    outputPrefix: '',
    metadata: EXECUTION_METADATA,
    maxDatasetSizeBytes: 0,
    idempotencyKey: 'key-1',
    connection: undefined,
    ...parts,
  };
}

export function resourceArgs(meta: unknown, parts: Partial<ResourceArgs> = {}): ResourceArgs {
  return {
    meta: Buffer.from(JSON.stringify(meta)),
    outputPrefix: '',
    idempotencyKey: 'key-1',
    connection: undefined,
    ...parts,
  };
}

/** Calls `get` of the unruly plugin; generous unless the deadline is what is tested. */
export function act(plugin: HostedPlugin, action: string, leftMs = 60_000): Promise<PluginOutcome<PhaseState>> {
  return plugin.call('get', resourceArgs({ do: action }), { deadlineMs: systemClock.now() + leftMs });
}

/** Whether a process runs. A zombie does not: who inherits an orphan may never wait for it. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch {
    return false;
  }
  try {
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'latin1'));
  } catch {
    // No /proc here, or the process has just ended.
    return !existsSync('/proc/self/status');
  }
}
