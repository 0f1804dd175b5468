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
import type { PluginProcess } from './process/plugin-process.js';
import type { CallOptions, HostedPlugin } from './types.js';

/** What serves a plugin now. */
export interface Binding {
  readonly process: PluginProcess;
  /** The plugin's number in that process. */
  readonly p: number;
}

export interface SlotOptions {
  readonly id: string;
  readonly entry: PluginEntry;
  /** The source as configured, for messages. */
  readonly label: string;
  readonly events: HostEvents;
  readonly clock: Clock;
}

/**
 * A plugin as the daemon sees it, over all the processes that serve it one after the other. `setState` is the one
 * setter of its state; the states are told at PluginState. Serving means that a process is bound.
 */
export class PluginSlot implements HostedPlugin {
  readonly id: string;
  readonly #options: SlotOptions;
  readonly #listeners = new Set<(change: StateChange) => void>();
  #state: PluginState = 'starting';
  #reason = 'it is being loaded';
  #code: ErrorCode | undefined;
  #entry: PluginEntry;
  #definition: DefinitionFacts | undefined;
  #facts: PluginFacts | undefined;
  #config: PluginConfig = DEFAULT_PLUGIN_CONFIG;
  #bound: Binding | undefined;
  #inFlight = 0;
  #environment: readonly string[] = [];
  restarts = 0;

  constructor(options: SlotOptions) {
    this.id = options.id;
    this.#options = options;
    this.#entry = options.entry;
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
    return this.#code;
  }
  get version(): string {
    return this.#definition?.version ?? '';
  }
  get source(): string {
    return this.#options.label;
  }
  get isolation(): PluginIsolation {
    return this.#entry.isolation;
  }
  get taskTypes(): readonly ServedTaskType[] {
    return (this.#definition?.taskTypes ?? []).map(({ name, versions }) => ({ name, versions }));
  }
  /** Whether its definition was read; before, its task types are not known. */
  get defined(): boolean {
    return this.#definition !== undefined;
  }
  get isDefault(): boolean {
    return this.#definition?.isDefault ?? false;
  }
  get required(): boolean {
    return this.#entry.required;
  }
  get config(): PluginConfig {
    return this.#config;
  }
  get features(): PluginFeatures {
    return this.#facts?.features ?? NO_FEATURES;
  }
  get pid(): number | undefined {
    return this.#bound?.process.pid;
  }
  get rssBytes(): number {
    return this.#bound?.process.rssBytes ?? 0;
  }
  get inFlight(): number {
    return this.#inFlight;
  }
  get environment(): readonly string[] {
    return this.#environment;
  }
  get writable(): boolean {
    return this.#bound?.process.writable ?? false;
  }

  drained(): Promise<void> {
    return this.#bound?.process.drained() ?? Promise.resolve();
  }

  async call<M extends PluginMethod>(
    method: M,
    args: PluginMethods[M]['args'],
    options: CallOptions,
  ): Promise<PluginOutcome<PluginMethods[M]['answer']>> {
    const offered = isOffered(method, this.features);
    const { absent } = methodTraits(method);
    if (!offered && absent !== undefined) return { ok: true, value: absent };
    const bound = this.#bound;
    if (bound === undefined) {
      const code = this.#state === 'quarantined' ? 'PLUGIN_QUARANTINED' : 'PLUGIN_NOT_SERVING';
      return failedCall('process_died', code, `plugin ${this.id} is ${this.#state}: ${this.#reason}`);
    }
    if (!offered) {
      return failedCall('invalid', 'PLUGIN_METHOD_MISSING', `plugin ${this.id} does not offer ${method}`);
    }
    const deadlineMs = options.deadlineMs ?? this.#options.clock.now() + this.#entry.callTimeoutMs;
    this.#inFlight++;
    try {
      return await bound.process.call(bound.p, method, args, { deadlineMs, signal: options.signal });
    } finally {
      this.#inFlight--;
    }
  }

  onStateChange(listener: (change: StateChange) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** What the definition says and the limits in force; before the plugin serves for the first time, and at a reload. */
  describe(
    entry: PluginEntry,
    definition: DefinitionFacts,
    config: PluginConfig,
    environment: readonly string[],
  ): void {
    this.#entry = entry;
    this.#environment = environment;
    this.#definition = definition;
    this.#config = config;
  }

  /** From now on this process serves the plugin. */
  bind(binding: Binding, facts: PluginFacts): void {
    this.#bound = binding;
    this.#facts = facts;
    this.#setState('serving', '', undefined);
  }

  /** The process is gone, or must get no more calls. */
  unbind(state: Exclude<PluginState, 'serving'>, reason: string, error?: HostError): void {
    this.#bound = undefined;
    this.#setState(state, reason, error?.code);
  }

  #setState(state: PluginState, reason: string, code: ErrorCode | undefined): void {
    const previous = this.#state;
    this.#state = state;
    this.#reason = reason;
    this.#code = code;
    const change: StateChange = {
      pluginId: this.id,
      state,
      previous,
      reason,
      code,
      pid: this.pid,
      restarts: this.restarts,
    };
    this.#options.events.lifecycle(change);
    for (const listener of [...this.#listeners]) listener(change);
  }
}
