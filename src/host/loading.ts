import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import type { DefinitionFacts, PluginFacts } from '../channel/messages.js';
import type { DataOptions } from '../data/options.js';
import { HostError, messageOf } from '../errors/index.js';
import { isShortage } from '../lib/shortage.js';
import type { PluginEntry } from '../model/options/plugin.js';
import { NETWORK_VARIABLES, pickVariables } from './load/environment.js';
import { mergePluginConfig } from './load/plugin-config.js';
import type { ResolvedSource } from './load/source.js';
import type { Plugin, PluginCode } from './plugin.js';
import { asHostError, isStarved, starved } from './process/load-steps.js';
import type { RunningProcess } from './process/plugin-process.js';

/** Where modules are. */
export interface Modules {
  /** Throws as resolveSource does. */
  find(entry: PluginEntry): ResolvedSource;
  /** Start of the SHA-256 of a module's own file, not of what it imports; empty where it cannot be read. Never rejects. */
  digest(url: string): Promise<string>;
}

export interface LoadingOptions {
  readonly plugins: readonly Plugin[];
  /** All is looked for and read anew, whatever served before; else other code must fit what served. */
  readonly anew: boolean;
  readonly modules: Modules;
  /** Starts a process for the plugins, which it tells apart by their numbers; `folders` are those of their modules. */
  readonly launch: (folders: readonly string[]) => RunningProcess;
  readonly clock: { now(): number };
  readonly data: DataOptions;
  /** Where variables are taken from. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly logLinesPerSecond: number;
}

/** A plugin on its way through a loading. */
export interface LoadingPlugin {
  readonly plugin: Plugin;
  module: ResolvedSource | undefined;
  /** From the import on. */
  imported: { readonly definition: DefinitionFacts; readonly digest: string } | undefined;
  /** From its admission on. */
  code: PluginCode | undefined;
  /** From load() on. */
  facts: PluginFacts | undefined;
  /** It is out of this loading. */
  error: HostError | undefined;
  importedIn: RunningProcess | undefined;
  loadedIn: RunningProcess | undefined;
  /** Of its `loadTimeout`, by the import. */
  spentMs: number;
}

/**
 * One try to bring up the plugins of a group in a process. What it finds is its own: the plugins are told of it by whoever
 * lets it serve.
 *
 * States: found (its process may be started already, by `prepare`) → `importAll` → `admit` each → `loadAll` → loaded; then its
 * process is somebody's who serves with it, or `stop` ends it, at any time, after which it starts none. It stops itself where nothing is up in the end.
 */
export class Loading {
  readonly items: readonly LoadingPlugin[];
  readonly #options: LoadingOptions;
  #process: RunningProcess | undefined;
  #stopped = false;

  constructor(options: LoadingOptions) {
    this.#options = options;
    this.items = options.plugins.map((plugin) => this.#find(plugin));
    const short = this.items.find(isStarved);
    if (short !== undefined) for (const item of this.#live) item.error = short.error;
  }

  get anew(): boolean {
    return this.#options.anew;
  }
  get process(): RunningProcess | undefined {
    return this.#process;
  }
  /** Calls in flight; none before its process serves. */
  get inFlight(): number {
    return 0;
  }
  /** Those that its process can serve. */
  get up(): LoadingPlugin[] {
    return this.#live.filter(({ loadedIn }) => loadedIn !== undefined && loadedIn === this.#process);
  }

  get #live(): LoadingPlugin[] {
    return this.items.filter(({ error }) => error === undefined);
  }

  /** A module that was found before is not looked for again, which a machine without file handles could not do. */
  #find(plugin: Plugin): LoadingPlugin {
    const item: LoadingPlugin = {
      plugin,
      module: this.#options.anew ? undefined : plugin.module,
      imported: undefined,
      code: undefined,
      facts: undefined,
      error: undefined,
      importedIn: undefined,
      loadedIn: undefined,
      spentMs: 0,
    };
    try {
      item.module ??= this.#options.modules.find(plugin.entry);
    } catch (error) {
      item.error = isShortage(error)
        ? starved(`plugin ${plugin.source}`, `could not be looked for: ${messageOf(error)}`)
        : asHostError(error);
    }
    return item;
  }

  /** Starts the process that the imports need, if any: it comes up while something else is done. */
  prepare(): void {
    if (!this.#stopped && this.#live.length > 0) this.#running();
  }

  /** Imports every plugin; who fails has its `error` set. */
  async importAll(): Promise<void> {
    await this.#each(
      (item, process) => item.importedIn === process,
      (item, process) => this.#importModule(item, process),
    );
  }

  /** An imported plugin's limits and variables, once its id is known. Where it has no valid limits its `error` is set. */
  admit(item: LoadingPlugin): void {
    const { plugin, imported } = item;
    if (imported === undefined) return;
    const { entry } = plugin;
    const environment = variablesOf(entry, imported.definition, this.#options.env);
    let { config } = plugin;
    try {
      config = mergePluginConfig(`plugin ${plugin.id}`, imported.definition.config, entry.config);
    } catch (error) {
      item.error ??= asHostError(error);
    }
    item.code = { ...imported, config, environment };
  }

  /** Loads every admitted plugin; who fails has its `error` set. Those that fell out do not disturb the others. */
  async loadAll(): Promise<void> {
    await this.#each(
      (item, process) => item.loadedIn === process,
      async (item, process) => {
        await this.#importModule(item, process);
        await this.#load(item, process);
      },
    );
    if (this.#live.length === 0) await this.#process?.stop();
  }

  /**
   * One step for every live plugin in a process that is up. One whose step ends the process is out, and the others take
   * the step again in the next process; each round puts one out or is the last.
   */
  async #each(
    done: (item: LoadingPlugin, process: RunningProcess) => boolean,
    step: (item: LoadingPlugin, process: RunningProcess) => Promise<void>,
  ): Promise<void> {
    for (;;) {
      if (this.#stopped || this.#live.length === 0) return;
      const process = this.#running();
      if (process === undefined) return;
      const item = this.#live.find((one) => !done(one, process));
      if (item === undefined) return;
      try {
        await step(item, process);
      } catch (error) {
        item.error = asHostError(error);
        if (!isStarved(item)) continue;
        for (const other of this.#live) other.error = item.error;
      }
    }
  }

  /** A process that is up. Where none can be started (no file handle left, an impossible environment) all are out. */
  #running(): RunningProcess | undefined {
    if (this.#process?.over === false) return this.#process;
    try {
      this.#process = this.#options.launch(this.#live.flatMap(({ module }) => module?.folder ?? []));
      return this.#process;
    } catch (error) {
      if (HostError.is(error)) {
        for (const item of this.#live) {
          item.error = new HostError(error.code, `plugin ${item.plugin.source}: ${error.message}`);
        }
        return undefined;
      }
      // Node quotes the value that it does not take, which may be a secret of the environment.
      const why = messageOf(error).split('. Received ')[0] ?? '';
      for (const item of this.#live) {
        const label = `plugin ${item.plugin.source}`;
        const text = `${label}: its process could not be started: ${why}`;
        item.error = isShortage(error)
          ? starved(label, `could not be started: ${why}`)
          : new HostError('PLUGIN_IMPORT_FAILED', text);
      }
      return undefined;
    }
  }

  async #importModule(item: LoadingPlugin, process: RunningProcess): Promise<void> {
    if (item.importedIn === process) return;
    const { clock, modules } = this.#options;
    const { plugin, module } = item;
    if (module === undefined) throw new HostError('INTERNAL', 'import of a module that was not found');
    const startedMs = clock.now();
    const digest = await modules.digest(module.url);
    const { loadTimeoutMs } = plugin.entry;
    const definition = await process.importModule(plugin.p, module.url, `plugin ${plugin.source}`, loadTimeoutMs);
    const before = item.imported?.definition ?? this.#served(plugin)?.definition;
    if (before !== undefined && !sameRoutes(before, definition)) {
      throw changedOnDisk(plugin, 'its id, task types or isDefault');
    }
    const changed = digest !== item.imported?.digest || !isDeepStrictEqual(definition, item.imported.definition);
    item.imported = { definition, digest };
    // The file changed between two imports of one loading.
    if (changed && item.code !== undefined) this.admit(item);
    item.importedIn = process;
    item.spentMs = clock.now() - startedMs;
    if (item.error !== undefined) throw item.error;
  }

  /** What code of this plugin that is not loaded anew has to fit. */
  #served(plugin: Plugin): PluginCode | undefined {
    return this.#options.anew || plugin.kind === undefined ? undefined : plugin.code;
  }

  async #load(item: LoadingPlugin, process: RunningProcess): Promise<void> {
    const { plugin, code } = item;
    const { entry } = plugin;
    if (code === undefined) throw new HostError('INTERNAL', 'load before admission');
    const facts = await process.load({
      t: 'load',
      p: plugin.p,
      pluginId: plugin.id,
      environment: pickVariables(code.definition.environment, this.#options.env),
      settings: entry.settings,
      config: code.config,
      data: this.#options.data,
      timeoutMs: Math.max(1, Math.floor(entry.loadTimeoutMs - item.spentMs)),
      logLinesPerSecond: this.#options.logLinesPerSecond,
    });
    // Tasks that are accepted in one way cannot go on in the other.
    if (this.#served(plugin) !== undefined && plugin.kind !== facts.kind) {
      throw changedOnDisk(plugin, `its kind (${plugin.kind}, now ${facts.kind})`);
    }
    item.facts = facts;
    item.loadedIn = process;
  }

  /** Ends the process in order and starts none again. Callable twice. */
  async stop(): Promise<void> {
    this.#stopped = true;
    if (this.#process?.over === false) await this.#process.stop();
  }
}

/** Names of the variables that a plugin's process gets, sorted. */
function variablesOf(
  entry: PluginEntry,
  definition: DefinitionFacts,
  env: Readonly<Record<string, string | undefined>>,
): readonly string[] {
  const patterns = [...NETWORK_VARIABLES, ...entry.environment.pass, ...definition.environment];
  return [...new Set([...Object.keys(pickVariables(patterns, env)), ...Object.keys(entry.environment.set)])].sort();
}

/** See Modules.digest. */
export async function digestOf(url: string): Promise<string> {
  const bytes = await readFile(new URL(url)).catch(() => undefined);
  return bytes === undefined ? '' : createHash('sha256').update(bytes).digest('hex').slice(0, 16);
}

function changedOnDisk({ source }: Plugin, what: string): HostError {
  const text = `plugin ${source}: ${what} changed on disk since it was loaded; reload it`;
  return new HostError('PLUGIN_SHAPE_INVALID', text);
}

function sameRoutes(a: DefinitionFacts, b: DefinitionFacts): boolean {
  return a.id === b.id && a.isDefault === b.isDefault && JSON.stringify(a.taskTypes) === JSON.stringify(b.taskTypes);
}
