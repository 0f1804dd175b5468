import type { DefinitionFacts, PluginFacts } from '../channel/messages.js';
import { HostError } from '../errors/index.js';
import { mergePluginConfig, readPluginConfig } from '../host/load/plugin-config.js';
import { machineMs } from '../lib/clock.js';
import type { JsonObject } from '../lib/json.js';
import type { PluginMethod, PluginMethods, PluginOutcome } from '../model/plugin-call.js';
import type { LogLevel } from '../model/plugin-facts.js';
import type { PluginConfigInput } from '../plugin-api/config.js';
import type { ConnectionInfo } from '../plugin-api/contexts.js';
import { makeDataKit } from '../sandbox/make-data-kit.js';
import { PluginRuntime } from '../sandbox/runtime.js';
import { MemoryStore } from './memory-store.js';
import { createArgsOf, type TestTask } from './task.js';

export interface BenchOptions {
  readonly settings?: JsonObject;
  readonly config?: PluginConfigInput;
  /** Secrets by `group/key`. */
  readonly secrets?: Readonly<Record<string, string>>;
  readonly store?: MemoryStore;
  /** Of each call, in milliseconds. Default 10,000. */
  readonly callTimeoutMs?: number;
}

export interface LoggedLine {
  readonly level: LogLevel;
  readonly message: string;
  readonly fields: JsonObject;
}

/** What a call about a resource may be given besides its meta. */
export interface ResourceOptions {
  readonly outputPrefix?: string;
  /** Names of the declared outputs; not known unless given. */
  readonly outputNames?: readonly string[];
  readonly idempotencyKey?: string;
  readonly connection?: ConnectionInfo;
  readonly signal?: AbortSignal;
}

const SECRET_PREFIX = 'FLYTE_SECRET_';
const MAX_BYTES = 16 * 1024 * 1024;

/**
 * A plugin loaded in this process, run by the very code that runs it in the daemon's plugin process: the same contexts,
 * checks and conversions, over a data store in memory. For unit tests of a plugin; `startPluginFile` runs a file in a
 * real process.
 */
export class PluginBench {
  readonly definition: DefinitionFacts;
  readonly facts: PluginFacts;
  readonly store: MemoryStore;
  /** Lines the plugin logged. */
  readonly logs: LoggedLine[];
  /** Counters and gauges by name, as last sent; of observations, their number. */
  readonly metrics: Map<string, number>;
  readonly #runtime: PluginRuntime;
  readonly #callTimeoutMs: number;

  private constructor(parts: {
    readonly definition: DefinitionFacts;
    readonly facts: PluginFacts;
    readonly store: MemoryStore;
    readonly logs: LoggedLine[];
    readonly metrics: Map<string, number>;
    readonly runtime: PluginRuntime;
    readonly callTimeoutMs: number;
  }) {
    this.definition = parts.definition;
    this.facts = parts.facts;
    this.store = parts.store;
    this.logs = parts.logs;
    this.metrics = parts.metrics;
    this.#runtime = parts.runtime;
    this.#callTimeoutMs = parts.callTimeoutMs;
  }

  /** Throws HostError with the code that the daemon's load report would show. `definition` is the default export. */
  static async load(definition: unknown, options: BenchOptions = {}): Promise<PluginBench> {
    const store = options.store ?? new MemoryStore();
    const logs: LoggedLine[] = [];
    const metrics = new Map<string, number>();
    const runtime = new PluginRuntime({
      log: (level, message, fields) => void logs.push({ level, message, fields }),
      metric: (kind, name, values) => {
        const added = kind === 'observe' ? values.length : (values[0] ?? 0);
        metrics.set(name, kind === 'gauge' ? added : (metrics.get(name) ?? 0) + added);
      },
    });
    const facts = runtime.define(definition, 'the plugin');
    const env = Object.fromEntries(
      Object.entries(options.secrets ?? {}).map(([name, value]) => [secretVariable(name), value]),
    );
    const data = {
      dataStore: { localRoots: [], maxObjectBytes: MAX_BYTES },
      secrets: { envPrefixes: [SECRET_PREFIX] },
      maxOutputBytes: MAX_BYTES,
    };
    const loaded = await runtime.load({
      pluginId: facts.id,
      settings: options.settings ?? {},
      config: mergePluginConfig(
        `plugin ${facts.id}`,
        facts.config,
        options.config && readPluginConfig(options.config, `plugin ${facts.id}: config`),
      ),
      kit: makeDataKit(data, { env, store }),
      signal: new AbortController().signal,
      logLinesPerSecond: 10_000,
    });
    const callTimeoutMs = options.callTimeoutMs ?? 10_000;
    return new PluginBench({ definition: facts, facts: loaded, store, logs, metrics, runtime, callTimeoutMs });
  }

  create(task: TestTask, signal?: AbortSignal): Promise<PluginOutcome<PluginMethods['create']['answer']>> {
    return this.call('create', createArgsOf(task), signal);
  }

  do(task: TestTask, signal?: AbortSignal): Promise<PluginOutcome<PluginMethods['do']['answer']>> {
    return this.call('do', createArgsOf(task), signal);
  }

  get(meta: Buffer, options: ResourceOptions = {}): Promise<PluginOutcome<PluginMethods['get']['answer']>> {
    return this.call('get', argsOf(meta, options), options.signal);
  }

  /** The options are those of every item. */
  getMany(
    metas: readonly Buffer[],
    options: ResourceOptions = {},
  ): Promise<PluginOutcome<PluginMethods['getMany']['answer']>> {
    return this.call('getMany', { items: metas.map((meta) => argsOf(meta, options)) }, options.signal);
  }

  delete(meta: Buffer, options: ResourceOptions & { readonly reason?: string } = {}): Promise<PluginOutcome<unknown>> {
    return this.call('delete', { ...argsOf(meta, options), reason: options.reason ?? 'test' }, options.signal);
  }

  /** Any method with its plain arguments. Never rejects: what the plugin throws is an outcome. */
  async call<M extends PluginMethod>(
    method: M,
    args: PluginMethods[M]['args'],
    signal?: AbortSignal,
  ): Promise<PluginOutcome<PluginMethods[M]['answer']>> {
    const limit = AbortSignal.timeout(this.#callTimeoutMs);
    const outcome = await this.#runtime.call(method, args, {
      signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
      deadlineMs: Date.now() + this.#callTimeoutMs,
      sentAtMs: machineMs(),
    });
    this.#runtime.flush();
    return outcome;
  }

  close(): Promise<void> {
    return this.#runtime.close();
  }
}

function argsOf(meta: Buffer, options: ResourceOptions): PluginMethods['get']['args'] {
  const { outputPrefix = 's3://test/outputs', outputNames, idempotencyKey = 'test-key-1', connection } = options;
  return { meta, outputPrefix, outputNames, idempotencyKey, connection };
}

function secretVariable(name: string): string {
  const [group, key, more] = name.split('/');
  if (!group || !key || more !== undefined) {
    throw new HostError('SECRET_NOT_FOUND', `the secret ${JSON.stringify(name)} is not named as group/key`);
  }
  return `${SECRET_PREFIX}${group}_${key}`.toUpperCase();
}
