import type { DefinitionFacts, PluginFacts } from '../channel/messages.js';
import type { ErrorCode, HostError } from '../errors/index.js';
import type { Clock } from '../lib/clock.js';
import type { HostEvents, PluginState, StateChange } from '../model/events/host.js';
import { DEFAULT_PLUGIN_CONFIG, type PluginEntry, type PluginIsolation } from '../model/options/plugin.js';
import type { PluginMethod, PluginMethods, PluginOutcome } from '../model/plugin-call.js';
import type { ServedTaskType } from '../model/plugin-facts.js';
import { failedCall } from '../model/plugin-failure.js';
import { isOffered, methodTraits, NO_FEATURES, type PluginFeatures } from '../model/plugin-methods.js';
import type { PluginConfig } from '../plugin-api/config.js';
import { type ResolvedSource, sourceLabel } from './load/source.js';
import type { RunningProcess } from './process/plugin-process.js';
import type { CallOptions, HostedPlugin } from './types.js';

/** Code of a plugin, and what follows from it here. */
export interface PluginCode {
  readonly definition: DefinitionFacts;
  /** Start of the SHA-256 of the module's own file; empty where it could not be read. */
  readonly digest: string;
  /** The limits in force. */
  readonly config: PluginConfig;
  /** Names of the variables that its process gets, sorted. */
  readonly environment: readonly string[];
}

export interface PluginOptions {
  readonly entry: PluginEntry;
  /** Its number within its process. */
  readonly p: number;
  readonly events: HostEvents;
  readonly clock: Clock;
}

/**
 * A configured plugin, from the start of the host to its stop, over all the processes that serve it one after the other:
 * the one place of what is known of it. It is known by an id from its admission on (`known`), by its code from the first
 * import on (`defined`), and by its kind from the first process on that served it.
 *
 * Its states are told at PluginState, and `tell` and `serve` are their setters: serving means that a process is bound. What
 * leads from one to the other is its group's life (life.ts); `failed` and `skipped` alone are its own, and end with a reload.
 */
export class Plugin implements HostedPlugin {
  readonly entry: PluginEntry;
  readonly p: number;
  /** The source as configured. */
  readonly source: string;
  readonly #options: PluginOptions;
  readonly #listeners = new Set<(change: StateChange) => void>();
  #id: string | undefined;
  #state: PluginState = 'starting';
  #reason = 'it is being loaded';
  #error: HostError | undefined;
  #module: ResolvedSource | undefined;
  #code: PluginCode | undefined;
  #facts: PluginFacts | undefined;
  #process: RunningProcess | undefined;
  #inFlight = 0;
  #restarts = 0;

  constructor(options: PluginOptions) {
    this.#options = options;
    this.entry = options.entry;
    this.p = options.p;
    this.source = sourceLabel(options.entry.source);
  }

  /** Its source, as long as it is not known by an id. */
  get id(): string {
    return this.#id ?? this.source;
  }
  get known(): boolean {
    return this.#id !== undefined;
  }
  get kind(): 'async' | 'sync' | undefined {
    return this.#facts?.kind;
  }
  get state(): PluginState {
    return this.#state;
  }
  get stateReason(): string {
    return this.#reason;
  }
  get stateCode(): ErrorCode | undefined {
    return this.#error?.code;
  }
  /** Where its state comes from an error. */
  get error(): HostError | undefined {
    return this.#error;
  }
  /** Whether it failed or skipped itself, so that only a reload brings it back. */
  get out(): boolean {
    return this.#state === 'failed' || this.#state === 'skipped';
  }
  get version(): string {
    return this.#code?.definition.version ?? '';
  }
  get isolation(): PluginIsolation {
    return this.entry.isolation;
  }
  get taskTypes(): readonly ServedTaskType[] {
    return (this.#code?.definition.taskTypes ?? []).map(({ name, versions }) => ({ name, versions }));
  }
  /** Whether its definition was read; before, its task types are not known. */
  get defined(): boolean {
    return this.#code !== undefined;
  }
  get isDefault(): boolean {
    return this.#code?.definition.isDefault ?? false;
  }
  get required(): boolean {
    return this.entry.required;
  }
  get config(): PluginConfig {
    return this.#code?.config ?? DEFAULT_PLUGIN_CONFIG;
  }
  get features(): PluginFeatures {
    return this.#facts?.features ?? NO_FEATURES;
  }
  get pid(): number | undefined {
    return this.#process?.pid;
  }
  get restarts(): number {
    return this.#restarts;
  }
  get rssBytes(): number {
    return this.#process?.rssBytes ?? 0;
  }
  get inFlight(): number {
    return this.#inFlight;
  }
  get environment(): readonly string[] {
    return this.#code?.environment ?? [];
  }
  get writable(): boolean {
    return this.#process?.writable ?? false;
  }
  /** Where its module was found last. */
  get module(): ResolvedSource | undefined {
    return this.#module;
  }
  get code(): PluginCode | undefined {
    return this.#code;
  }

  drained(): Promise<void> {
    return this.#process?.drained() ?? Promise.resolve();
  }

  async call<M extends PluginMethod>(
    method: M,
    args: PluginMethods[M]['args'],
    options: CallOptions,
  ): Promise<PluginOutcome<PluginMethods[M]['answer']>> {
    const offered = isOffered(method, this.features);
    const { absent } = methodTraits(method);
    if (!offered && absent !== undefined) return { ok: true, value: absent };
    const process = this.#process;
    if (process === undefined) {
      const code = this.#state === 'quarantined' ? 'PLUGIN_QUARANTINED' : 'PLUGIN_NOT_SERVING';
      return failedCall('process_died', code, `plugin ${this.id} is ${this.#state}: ${this.#reason}`);
    }
    if (!offered) {
      return failedCall('invalid', 'PLUGIN_METHOD_MISSING', `plugin ${this.id} does not offer ${method}`);
    }
    const deadlineMs = options.deadlineMs ?? this.#options.clock.now() + this.entry.callTimeoutMs;
    this.#inFlight++;
    try {
      return await process.call(this.p, method, args, { ...options, deadlineMs });
    } finally {
      this.#inFlight--;
    }
  }

  onStateChange(listener: (change: StateChange) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** It has an id of its own from now on. */
  admit(id: string): void {
    this.#id = id;
  }

  found(module: ResolvedSource): void {
    this.#module = module;
  }

  /** What its definition says, before it serves for the first time, and whenever other code is to serve. */
  describe(code: PluginCode): void {
    this.#code = code;
  }

  /** Its process was started again after a crash, whether the plugin came up or not. */
  restarted(): void {
    this.#restarts++;
  }

  /** From now on this process serves the plugin. */
  serve(process: RunningProcess, facts: PluginFacts): void {
    this.#process = process;
    this.#facts = facts;
    this.#setState('serving', '', undefined);
  }

  /** The process is gone, or must get no more calls. */
  tell(state: Exclude<PluginState, 'serving'>, reason: string, error?: HostError): void {
    this.#process = undefined;
    this.#setState(state, reason, error);
  }

  #setState(state: PluginState, reason: string, error: HostError | undefined): void {
    const previous = this.#state;
    this.#state = state;
    this.#reason = reason;
    this.#error = error;
    if (!this.known) return;
    const change: StateChange = {
      pluginId: this.id,
      state,
      previous,
      reason,
      code: error?.code,
      pid: this.pid,
      restarts: this.#restarts,
    };
    this.#options.events.lifecycle(change);
    for (const listener of [...this.#listeners]) listener(change);
  }
}
