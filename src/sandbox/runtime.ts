import type { DefinitionFacts, PluginFacts } from '../channel/messages.js';
import { HostError, messageOf, stackOf } from '../errors/index.js';
import type { JsonObject } from '../lib/json.js';
import { broughtUpShort } from '../lib/shortage.js';
import type { PluginMethod, PluginMethods, PluginOutcome } from '../model/plugin-call.js';
import type { PluginConfig } from '../plugin-api/config.js';
import type { CallContext } from '../plugin-api/contexts.js';
import { isPluginError } from '../plugin-api/errors.js';
import type { PluginDefinition } from '../plugin-api/plugin.js';
import { watchSecrets } from './contexts.js';
import type { DataKit } from './data-kit.js';
import { checkDefinition } from './definition.js';
import { isSurprise, toFailure } from './failures.js';
import { type LoadedPlugin, METHODS } from './methods.js';
import { mistyped, OPTIONAL_OF_DEFINITION, OPTIONAL_OF_PLUGIN } from './mistyped.js';
import { bounded } from './plain-fields.js';
import { checkPlugin } from './plugin-shape.js';
import { Redactor } from './redactor.js';
import { checkSettings } from './settings.js';
import { ChildLogger, ChildMetrics, PerSecond, type TelemetrySink } from './telemetry.js';

export interface LoadOptions {
  readonly pluginId: string;
  readonly settings: JsonObject;
  readonly config: PluginConfig;
  readonly kit: DataKit;
  readonly signal: AbortSignal;
  readonly logLinesPerSecond: number;
}

const MAX_STACK = 8_192;
const TRACES_PER_SECOND = 100;

/**
 * One plugin in the process that runs it: imported, checked, loaded, called. Knows nothing of processes or channels,
 * so the kit for plugin authors runs the same code in-process.
 *
 * States: empty → `define` → defined → `load` → loaded. A step out of order throws.
 */
export class PluginRuntime {
  readonly #sink: TelemetrySink;
  readonly redactor: Redactor;
  #definition: PluginDefinition<unknown, unknown, unknown> | undefined;
  #label = '';
  readonly #traces = new PerSecond(TRACES_PER_SECOND);
  #loaded: { plugin: LoadedPlugin['plugin']; kit: DataKit; logger: ChildLogger; metrics: ChildMetrics } | undefined;

  constructor(sink: TelemetrySink, redactor = new Redactor()) {
    this.#sink = sink;
    this.redactor = redactor;
  }

  /** Takes a module's default export. Throws PLUGIN_SHAPE_INVALID or PLUGIN_API_VERSION_UNKNOWN. */
  define(exported: unknown, label: string): DefinitionFacts {
    const facts = checkDefinition(exported, label);
    this.#definition = exported as PluginDefinition<unknown, unknown, unknown>;
    this.#label = label;
    this.#warnOfMistyped(exported, OPTIONAL_OF_DEFINITION);
    return facts;
  }

  /**
   * Validates the settings, runs load() and checks what it gives. Throws PLUGIN_SETTINGS_INVALID, PLUGIN_SKIPPED,
   * PLUGIN_LOAD_FAILED, PLUGIN_START_STARVED or PLUGIN_SHAPE_INVALID.
   */
  async load(options: LoadOptions): Promise<PluginFacts> {
    const definition = this.#definition;
    if (definition === undefined) throw new HostError('INTERNAL', 'load before define');
    const logger = new ChildLogger(this.#sink, this.redactor, options.logLinesPerSecond);
    const metrics = new ChildMetrics(this.#sink, logger);
    const settings = await this.#settings(definition, options.settings);
    let plugin: unknown;
    try {
      plugin = await definition.load({
        pluginId: options.pluginId,
        settings,
        config: options.config,
        secretManager: watchSecrets(options.kit.secretManager(undefined), this.redactor),
        logger,
        metrics,
        signal: options.signal,
      });
    } catch (thrown) {
      throw this.#loadError(thrown);
    }
    const facts = checkPlugin(plugin, this.#label);
    this.#warnOfMistyped(plugin, OPTIONAL_OF_PLUGIN);
    this.#loaded = { plugin: plugin as LoadedPlugin['plugin'], kit: options.kit, logger, metrics };
    return facts;
  }

  #warnOfMistyped(of: unknown, optional: Parameters<typeof mistyped>[1]): void {
    for (const sentence of mistyped(of as object, optional)) {
      this.#sink.log('warn', this.redactor.redactStart(sentence), {});
    }
  }

  async #settings(definition: PluginDefinition<unknown, unknown, unknown>, raw: JsonObject): Promise<unknown> {
    this.redactor.addSettings(raw);
    try {
      return await checkSettings(definition.settings, raw, this.#label);
    } catch (thrown) {
      if (HostError.is(thrown)) throw thrown;
      throw new HostError('PLUGIN_SETTINGS_INVALID', `${this.#label}: the settings schema threw: ${messageOf(thrown)}`);
    }
  }

  #loadError(thrown: unknown): HostError {
    const message = bounded(this.redactor.redactStart(messageOf(thrown)), 4_096);
    if (isPluginError(thrown) && (thrown.kind as unknown) === 'skip') {
      return new HostError('PLUGIN_SKIPPED', `${this.#label}: ${message}`);
    }
    this.logThrown('load() threw', thrown);
    const code = broughtUpShort(thrown) ? 'PLUGIN_START_STARVED' : 'PLUGIN_LOAD_FAILED';
    return new HostError(code, `${this.#label}: load() threw: ${message}`);
  }

  /** Logs a stack trace, so that the author finds the line; a hundred of them a second tell enough. */
  logThrown(what: string, thrown: unknown, fields: JsonObject = {}): void {
    if (!this.#traces.take()) return;
    const stack = this.redactor.redactStart(stackOf(thrown));
    this.#sink.log('error', what, { ...fields, stack: bounded(stack, MAX_STACK) });
  }

  /** Never rejects. */
  async call<M extends PluginMethod>(
    method: M,
    args: PluginMethods[M]['args'],
    options: Pick<CallContext, 'signal' | 'deadlineMs' | 'sentAtMs'>,
  ): Promise<PluginOutcome<PluginMethods[M]['answer']>> {
    const redact = (text: string): string => this.redactor.redactStart(text);
    try {
      const loaded = this.#loaded;
      if (loaded === undefined) throw new HostError('INTERNAL', 'call before load');
      const { plugin, kit, logger, metrics } = loaded;
      const value = await METHODS[method](plugin, args, { ...options, kit, logger, metrics, redactor: this.redactor });
      return { ok: true, value };
    } catch (thrown) {
      if (isSurprise(thrown) && !options.signal.aborted) this.logThrown(`${method}() threw`, thrown, { method });
      return { ok: false, failure: toFailure(thrown, redact) };
    }
  }

  /** Sends what was gathered; to be called once a second. */
  flush(): void {
    this.#loaded?.metrics.flush();
    this.#loaded?.logger.flush();
  }

  /** Runs the plugin's close(), if there is one. Never rejects. */
  async close(): Promise<void> {
    const loaded = this.#loaded;
    this.#loaded = undefined;
    try {
      await loaded?.plugin.close?.();
    } catch (thrown) {
      this.logThrown('close() threw', thrown);
    }
    loaded?.metrics.flush();
  }
}
