import path from 'node:path';
import { HostError } from '../errors/index.js';
import { SecretMasks } from '../lib/secrets.js';
import { defaultsOf } from '../model/options/defaults.js';
import { SANDBOX_SCHEMA } from '../model/options/sandbox.js';
import { drain, Group, type Replaced, type Try } from './group.js';
import { DEFAULT_HOST_LIMITS } from './limits.js';
import { buildRoutes, type Claims, type Routable, type Routes } from './load/routing.js';
import { resolveSource, stripsTypes } from './load/source.js';
import { digestOf, Loading, type LoadingPlugin } from './loading.js';
import { Plugin } from './plugin.js';
import { asHostError, isLate } from './process/load-steps.js';
import { type ProcessParts, startProcess } from './process/start-process.js';
import { StartedProcesses } from './process/started.js';
import { reportOf } from './report.js';
import type { HostedPlugin, LoadReport, PluginHost, PluginHostOptions, ReloadResult } from './types.js';

/** See PluginHost. Starts nothing by itself. */
export function createPluginHost(options: PluginHostOptions): PluginHost {
  return new Host(options);
}

/**
 * All plugins and who serves which task type. A plugin is known by plugin.ts, the life of what shares a process is a
 * group's (group.ts); here is what concerns several groups: the order of a start and of a stop, ids, routes.
 *
 * States: created (some processes may be coming up, by `prepare`) → `start` → started → `stop` or `killAll` → stopped. `start` goes
 * through the entries in fixed steps: find the module, import it, check its shape, admit its id and limits, validate settings and load, build the routes.
 */
class Host implements PluginHost {
  readonly #options: PluginHostOptions;
  readonly #parts: ProcessParts;
  readonly #plugins: readonly Plugin[];
  readonly #groups: readonly Group[];
  readonly #started = new StartedProcesses();
  #state: 'created' | 'started' | 'stopped' = 'created';
  /** The first tries, once they have begun. */
  #tries: readonly (Try & { readonly group: Group })[] | undefined;
  #routes: Routes | undefined;
  /** Plugins whose task types are known to the routes. */
  #routed: ReadonlySet<Plugin> = new Set();
  #stopping: Promise<void> | undefined;
  /** Settles with the start, and then the last reload; one at a time, since each replaces what the one before put there. */
  #reloads: Promise<unknown> = Promise.resolve();

  constructor(options: PluginHostOptions) {
    this.#options = options;
    this.#parts = {
      clock: options.clock,
      lease: options.lease,
      events: options.events,
      limits: { ...DEFAULT_HOST_LIMITS, ...options.limits },
      baseDir: path.resolve(options.baseDir ?? '.'),
      env: options.env ?? process.env,
      masks: options.masks ?? new SecretMasks(),
      started: this.#started,
      sandbox: options.sandbox ?? defaultsOf(SANDBOX_SCHEMA),
      data: options.data,
      guarded: options.guarded ?? [],
    };
    const groups = this.#gather();
    this.#groups = groups.map(({ group }) => group);
    this.#plugins = groups
      .flatMap(({ members }) => members)
      .sort((a, b) => a.index - b.index)
      .map(({ plugin }) => plugin);
  }

  /** The entries as plugins, those together that share a process; groups in the order of their first entries. */
  #gather(): { group: Group; members: { index: number; plugin: Plugin }[] }[] {
    const { entries, events, clock } = this.#options;
    const byName = new Map<string, { index: number; plugin: Plugin }[]>();
    for (const [index, entry] of entries.entries()) {
      const { isolation } = entry;
      const name = isolation.startsWith('shared:') ? isolation : `${isolation}#${index}`;
      const members = byName.get(name) ?? [];
      members.push({ index, plugin: new Plugin({ entry, p: members.length, events, clock }) });
      byName.set(name, members);
    }
    return [...byName].map(([name, members]) => {
      const plugins = members.map(({ plugin }) => plugin);
      return { group: this.#makeGroup(name, plugins), members };
    });
  }

  #makeGroup(name: string, plugins: readonly Plugin[]): Group {
    const { clock, events, random, data } = this.#options;
    const { limits, env, baseDir } = this.#parts;
    const { logLinesPerSecond } = limits;
    const find = ({ source }: Plugin['entry']) => resolveSource(source, baseDir, stripsTypes());
    const modules = { find, digest: digestOf };
    const launch = (folders: readonly string[]) => startProcess(name, plugins, this.#parts, folders);
    return new Group({
      plugins,
      load: (wanted, anew) =>
        new Loading({ plugins: wanted, anew, modules, launch, clock, data, env, logLinesPerSecond }),
      admit: (loading) => {
        for (const item of loading.items) this.#admit(loading, item);
      },
      reroute: (coming) => this.#reroute(coming),
      events,
      clock,
      random,
      pacing: limits,
    });
  }

  prepare(): void {
    if (this.#state !== 'created')
      throw new HostError('DAEMON_STATE', `prepare of a plugin host that is ${this.#state}`);
    // No more than are imported at once: the others would only take cores from these.
    for (const { loading } of this.#firstTries().slice(0, this.#parts.limits.startConcurrency)) loading.prepare();
  }

  #firstTries(): readonly (Try & { readonly group: Group })[] {
    this.#tries ??= this.#groups.map((group) => ({ group, ...group.begin() }));
    return this.#tries;
  }

  start(): Promise<LoadReport> {
    const starting = this.#start();
    this.#reloads = starting.catch(() => undefined);
    return starting;
  }

  async #start(): Promise<LoadReport> {
    if (this.#state !== 'created') throw new HostError('DAEMON_STATE', `start of a plugin host that is ${this.#state}`);
    this.#state = 'started';
    const tries = this.#firstTries();
    await this.#concurrently(tries, ({ loading }) => loading.importAll());
    const items = new Map(
      tries.flatMap(({ loading }) => loading.items.map((item) => [item.plugin, { loading, item }])),
    );
    for (const plugin of this.#plugins) {
      const found = items.get(plugin);
      if (found !== undefined) this.#admit(found.loading, found.item);
    }
    await this.#concurrently(tries, ({ loading }) => loading.loadAll());
    for (const one of tries) one.group.conclude(one);
    if (this.#isStopped()) return reportOf(this.#plugins, [], true);
    const { routes, errors } = this.#buildRoutes([]);
    this.#useRoutes(routes, []);
    this.#warnOfLostClaims();
    return reportOf(this.#plugins, errors, false);
  }

  /** The default plugin gets what nobody claims, also what a plugin would claim that failed before it could, and never served. */
  #warnOfLostClaims(): void {
    const fallback = this.plugins().find((plugin) => plugin.isDefault);
    for (const { id, known, defined, error } of this.#plugins) {
      if (fallback === undefined || !known || defined || error === undefined) continue;
      const message = `plugin ${id} failed before it told its task types; those that it did not serve in the last run, and that defaultForTaskTypes does not give to it, go to the default plugin ${fallback.id}`;
      const fields = { code: error.code, default: fallback.id };
      this.#options.events.log({ pluginId: id, level: 'warn', message, fields, source: 'host' });
    }
  }

  #isStopped(): boolean {
    return this.#state === 'stopped';
  }

  /**
   * Gives an imported plugin its id and its limits; in the order of the entries, so that the first one keeps an id. What
   * has served keeps its id, since it serves again only where that is the same.
   */
  #admit(loading: Loading, item: LoadingPlugin): void {
    const { plugin, imported } = item;
    if (plugin.kind !== undefined) {
      loading.admit(item);
      return;
    }
    const id = plugin.known ? plugin.id : (plugin.entry.id ?? imported?.definition.id);
    const taken = this.#plugins.find((other) => other !== plugin && other.known && other.id === id);
    if (taken !== undefined) {
      item.error ??= new HostError(
        'PLUGIN_ID_TAKEN',
        `plugin ${plugin.source}: the id ${id} is taken by ${taken.source}; give one of them another id in its entry`,
      );
      return;
    }
    if (id === undefined) return;
    plugin.admit(id);
    loading.admit(item);
    // What it claims is its own from now on, whether it comes up or not.
    if (item.code !== undefined) plugin.describe(item.code);
  }

  reroute(): void {
    if (this.#routes === undefined) return;
    const { routes } = this.#buildRoutes([]);
    this.#useRoutes(routes, []);
  }

  /** See GroupOptions. */
  #reroute(coming: readonly LoadingPlugin[]): void {
    const { routes, errors } = this.#buildRoutes(coming);
    if (errors[0] !== undefined) throw errors[0];
    this.#useRoutes(routes, coming);
  }

  #useRoutes(routes: Routes, coming: readonly LoadingPlugin[]): void {
    this.#routes = routes;
    this.#routed = new Set(
      this.#plugins.filter((plugin) => plugin.defined || coming.some((one) => one.plugin === plugin && one.code)),
    );
  }

  /**
   * A plugin that failed keeps its claims: its tasks are refused in its name, rather than unknown or another's. Where it failed before
   * it told them, they are those of the last run.
   */
  #buildRoutes(coming: readonly LoadingPlugin[]): { routes: Routes; errors: readonly HostError[] } {
    const before = new Map((this.#options.servedBefore?.() ?? []).map((claims) => [claims.id, claims]));
    const routable = this.#plugins.flatMap((plugin): Routable[] => {
      const item = coming.find((one) => one.plugin === plugin);
      const skipped = item === undefined ? plugin.state === 'skipped' : item.error?.code === 'PLUGIN_SKIPPED';
      if (!plugin.known || skipped) return [];
      if (item?.code !== undefined) return [{ ...item.code.definition, id: plugin.id, defined: true }];
      return [plugin.defined ? plugin : silent(plugin, before.get(plugin.id))];
    });
    return buildRoutes(routable, this.#options.defaultForTaskTypes ?? {});
  }

  plugins(): readonly HostedPlugin[] {
    return this.#plugins.filter(({ known }) => known);
  }

  plugin(id: string): HostedPlugin | undefined {
    return this.#plugins.find((plugin) => plugin.known && plugin.id === id);
  }

  route(taskType: string, version: number): HostedPlugin {
    const routes = this.#routes;
    if (routes === undefined) {
      const why = 'the daemon starts, and its plugins are not loaded yet; try again in a moment';
      throw new HostError('PLUGIN_NOT_SERVING', why, { retryAfterMs: 2_000 });
    }
    try {
      return this.plugin(routes.lookup(taskType, version))!;
    } catch (error) {
      throw this.#mayBeServedLater(error);
    }
  }

  /**
   * A task type that nobody serves may be one of a plugin that is still to come up, and whose own the routes do not have yet. One that was
   * late may hang for ever, and holds back no answer: a type that nobody serves is to be told as such.
   */
  #mayBeServedLater(error: unknown): unknown {
    const coming = this.#plugins.filter((plugin) => !this.#routed.has(plugin) && !plugin.out && !isLate(plugin));
    if (!HostError.is(error) || error.code !== 'TASK_TYPE_UNKNOWN' || coming.length === 0) return error;
    const why = `${error.message}; still to come up: ${coming.map(({ source }) => source).join(', ')}`;
    return new HostError('PLUGIN_NOT_SERVING', why, { retryAfterMs: 5_000 });
  }

  /** All entries that share the process are loaded anew together; the switch happens when every one of them is up. */
  async reload(id: string): Promise<void> {
    const { ended } = await this.#inTurn(() => this.#groupOf(id).reload());
    await ended;
  }

  async reloadAll(): Promise<readonly ReloadResult[]> {
    const results: ReloadResult[] = [];
    for (const group of this.#groups) {
      const ids = group.plugins.filter(({ known }) => known).map(({ id }) => id);
      const [first] = ids;
      if (first === undefined || this.#isStopped()) continue;
      const reloaded = this.#inTurn(() => this.#groupOf(first).reload());
      const error = await reloaded.then(() => undefined, asHostError);
      for (const pluginId of ids) results.push({ pluginId, error });
    }
    return results;
  }

  async #inTurn(reload: () => Promise<Replaced>): Promise<Replaced> {
    const replaced = this.#reloads.then(reload);
    this.#reloads = replaced.catch(() => undefined);
    return replaced;
  }

  #groupOf(id: string): Group {
    const group = this.#groups.find(({ plugins }) => plugins.some((plugin) => plugin.known && plugin.id === id));
    if (group !== undefined && this.#state === 'started') return group;
    throw new HostError(
      'PLUGIN_NOT_SERVING',
      `reload: there is no plugin ${id} to reload; see ListPlugins for the ids`,
    );
  }

  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#stop(graceMs);
    return this.#stopping;
  }

  async #stop(graceMs: number): Promise<void> {
    this.#halt();
    await drain(this.#groups, graceMs, this.#options.clock);
    for (const plugin of this.#plugins) if (!plugin.out) plugin.tell('stopped', 'the plugin host was stopped');
    for (const group of [...this.#groups].reverse()) await group.stop();
  }

  killAll(): void {
    this.#halt();
    this.#started.killAll();
  }

  #halt(): void {
    this.#state = 'stopped';
    for (const group of this.#groups) group.halt();
  }

  /** Runs `work` on all, a few at a time: each starts a process, which costs a core for a moment. */
  async #concurrently<T>(all: readonly T[], work: (one: T) => Promise<void>): Promise<void> {
    const waiting = [...all];
    const worker = async (): Promise<void> => {
      for (let one = waiting.shift(); one !== undefined; one = waiting.shift()) await work(one);
    };
    await Promise.all(Array.from({ length: this.#parts.limits.startConcurrency }, worker));
  }
}

/** A plugin that has told nothing of itself in this run. */
function silent({ id }: Plugin, before: Claims | undefined): Routable {
  return { id, defined: false, taskTypes: [], isDefault: false, before };
}
