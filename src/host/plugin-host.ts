import path from 'node:path';
import type { DefinitionFacts } from '../channel/messages.js';
import { HostError } from '../errors/index.js';
import { backoffMs } from '../lib/backoff.js';
import type { Timer } from '../lib/clock.js';
import { SecretMasks } from '../lib/secrets.js';
import type { PluginConfig } from '../plugin-api/config.js';
import { asHostError, type Candidate, reportOf, resolveCandidates, unitsOf } from './candidate.js';
import { DEFAULT_HOST_LIMITS } from './limits.js';
import type { ResolvedEntry } from './load/entry.js';
import { NETWORK_VARIABLES, pickVariables } from './load/environment.js';
import { mergePluginConfig } from './load/plugin-config.js';
import { buildRoutes, type Routes } from './load/routing.js';
import { type Group, isStarved, type Member } from './process/group.js';
import { drain, GroupMaker } from './process/group-maker.js';
import { StartedProcesses } from './process/started.js';
import { PluginSlot } from './slot.js';
import type { HostedPlugin, HostLimits, LoadReport, PluginHost, PluginHostOptions, ReloadResult } from './types.js';

/** For the calls in flight of the old process after a reload. */
const DRAIN_MS = 30_000;

/** See PluginHost. Starts nothing by itself. */
export function createPluginHost(options: PluginHostOptions): PluginHost {
  return new Host(options);
}

/**
 * States: created → `start` → started → `stop` → stopped. `start` goes through the entries in fixed steps: find the
 * module, import it, check its shape, admit its id and limits, validate settings and load, build the routes.
 */
class Host implements PluginHost {
  readonly #options: PluginHostOptions;
  readonly #limits: HostLimits;
  readonly #baseDir: string;
  readonly #env: Readonly<Record<string, string | undefined>>;
  readonly #groups: GroupMaker;
  readonly #started = new StartedProcesses();
  #state: 'created' | 'started' | 'stopped' = 'created';
  #candidates: Candidate[] = [];
  #routes: Routes | undefined;
  #stopping: Promise<void> | undefined;
  /** Settles with the last reload; one at a time, since each replaces what the one before put there. */
  #reloads: Promise<unknown> = Promise.resolve();
  /** What a reload has loaded and not yet switched to. */
  #fresh: Group | undefined;
  /** Replaced by reloads, with calls in flight or processes not ended yet. */
  readonly #retired = new Set<Group>();
  /** Before the next try of plugins that the machine had nothing left for. */
  readonly #tries = new Set<Timer>();

  constructor(options: PluginHostOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_HOST_LIMITS, ...options.limits };
    this.#baseDir = path.resolve(options.baseDir ?? '.');
    this.#env = options.env ?? process.env;
    this.#groups = new GroupMaker({
      ...options,
      limits: this.#limits,
      baseDir: this.#baseDir,
      env: this.#env,
      started: this.#started,
      configOf: (member, definition) => this.#configOf(member, definition),
      redescribe: (member) => this.#redescribe(member),
      masks: options.masks ?? new SecretMasks(),
    });
  }

  async start(): Promise<LoadReport> {
    if (this.#state !== 'created') throw new HostError('DAEMON_STATE', `start of a plugin host that is ${this.#state}`);
    this.#state = 'started';
    this.#candidates = resolveCandidates(this.#options.entries, this.#baseDir);
    const groups = this.#groups.make(this.#candidates);
    await this.#concurrently(groups, (group) => group.importAll());
    for (const candidate of this.#candidates) this.#admit(candidate);
    await this.#concurrently(groups, (group) => group.loadAll());
    for (const candidate of this.#candidates) this.#conclude(candidate);
    if (this.#isStopped()) return reportOf(this.#candidates, []);
    for (const group of groups) group.serve();
    const { routes, errors } = this.#buildRoutes();
    this.#routes = routes;
    this.#warnOfLostClaims();
    for (const unit of unitsOf(this.#candidates)) this.#tryLater(unit, 1);
    return reportOf(this.#candidates, errors);
  }

  /** The default plugin gets what nobody claims, also what a plugin would claim that failed before it could. */
  #warnOfLostClaims(): void {
    const fallback = this.plugins().find((plugin) => plugin.isDefault);
    for (const { slot, error } of this.#candidates) {
      if (fallback === undefined || slot === undefined || slot.defined || error === undefined) continue;
      const message = `plugin ${slot.id} failed before it told its task types; those that defaultForTaskTypes does not give to it go to the default plugin ${fallback.id}`;
      const fields = { code: error.code, default: fallback.id };
      this.#options.events.log({ pluginId: slot.id, level: 'warn', message, fields, source: 'host' });
    }
  }

  /** What the machine had nothing left for at the start is started again, for as long as it takes. */
  #tryLater(unit: readonly Candidate[], attempt: number): void {
    if (!unit.some(isStarved) || this.#isStopped()) return;
    const { restartInitialMs: initialMs, restartMaxMs: maxMs } = this.#limits;
    const delay = backoffMs(attempt, { initialMs, maxMs }, this.#options.random);
    const timer = this.#options.clock.setTimer(delay, () => {
      this.#tries.delete(timer);
      const tried = this.#reloads.then(() => this.#startAgain(unit, attempt));
      this.#reloads = tried.catch(() => undefined);
    });
    this.#tries.add(timer);
  }

  /** The steps of a start for what is started together. A reload may have replaced it meanwhile. */
  async #startAgain(affected: readonly Candidate[], attempt: number): Promise<void> {
    if (this.#isStopped() || !affected.every((candidate) => this.#candidates.includes(candidate))) return;
    const fresh = this.#lookAgain(affected);
    const [group] = this.#groups.make(fresh);
    this.#fresh = group;
    await group?.importAll();
    for (const candidate of fresh) this.#admit(candidate);
    await group?.loadAll();
    this.#fresh = undefined;
    if (this.#isStopped()) return void (await group?.stop());
    affected[0]?.group?.retire();
    this.#candidates = this.#candidates.map((candidate) => fresh[affected.indexOf(candidate)] ?? candidate);
    const { routes, errors } = this.#buildRoutes();
    if (errors[0] === undefined) this.#routes = routes;
    for (const candidate of fresh) {
      candidate.error ??= errors[0];
      this.#conclude(candidate);
    }
    if (errors[0] !== undefined) return void (await group?.stop());
    group?.serve();
    this.#tryLater(fresh, attempt + 1);
  }

  /** Modules that were found are not looked for again, which a machine without file handles could not do. */
  #lookAgain(affected: readonly Candidate[]): Candidate[] {
    if (affected.every(({ resolved }) => resolved !== undefined)) {
      return affected.map((candidate) => ({ ...candidate, member: undefined, error: undefined }));
    }
    const entries = affected.map(({ entry }) => entry);
    return resolveCandidates(entries, this.#baseDir).map((found, i) => ({ ...found, slot: affected[i]?.slot }));
  }

  #isStopped(): boolean {
    return this.#state === 'stopped';
  }

  /** Gives an imported plugin its id and its limits; in the order of the entries, so that the first one keeps an id. */
  #admit(candidate: Candidate): void {
    const { resolved, member } = candidate;
    const id = candidate.entry.id ?? member?.definition?.id;
    const taken = this.#candidates.find(({ slot }) => slot !== undefined && slot !== candidate.slot && slot.id === id);
    if (taken !== undefined) {
      candidate.error ??= new HostError(
        'PLUGIN_ID_TAKEN',
        `plugin ${candidate.label}: the id ${id} is taken by ${taken.label}; give one of them another id in its entry`,
      );
      if (member !== undefined) member.error ??= candidate.error;
      return;
    }
    if (id === undefined) return;
    const slot =
      candidate.slot ??
      new PluginSlot({
        id,
        entry: candidate.entry,
        label: candidate.label,
        events: this.#options.events,
        clock: this.#options.clock,
      });
    candidate.slot = slot;
    if (member?.definition === undefined || resolved === undefined) return;
    const environment = this.#environmentOf(resolved, member.definition);
    try {
      const config = mergePluginConfig(`plugin ${id}`, member.definition.config, resolved.config);
      slot.describe(resolved, member.definition, config, environment);
      member.admitted = { slot, config };
    } catch (error) {
      member.error = asHostError(error);
      slot.describe(resolved, member.definition, slot.config, environment);
    }
  }

  #configOf({ admitted, entry }: Member, definition: DefinitionFacts): PluginConfig {
    return mergePluginConfig(`plugin ${admitted?.slot.id ?? entry.label}`, definition.config, entry.config);
  }

  #redescribe({ admitted, definition, entry }: Member): void {
    if (admitted === undefined || definition === undefined) return;
    admitted.slot.describe(entry, definition, admitted.config, this.#environmentOf(entry, definition));
  }

  /** Names of the variables that the plugin's process gets. */
  #environmentOf(entry: ResolvedEntry, definition: DefinitionFacts): readonly string[] {
    const passed = pickVariables(
      [...NETWORK_VARIABLES, ...entry.environment.pass, ...definition.environment],
      this.#env,
    );
    return [...new Set([...Object.keys(passed), ...Object.keys(entry.environment.set)])].sort();
  }

  /** Tells the slot of a plugin that is out. */
  #conclude(candidate: Candidate): void {
    candidate.error ??= candidate.member?.error;
    if (this.#isStopped() && candidate.member?.facts === undefined) {
      candidate.error ??= new HostError(
        'PLUGIN_NOT_SERVING',
        `plugin ${candidate.label}: stopped before it was loaded`,
      );
    }
    const { error, slot } = candidate;
    if (error === undefined) return;
    const skipped = error.code === 'PLUGIN_SKIPPED';
    const starved = isStarved(candidate);
    slot?.unbind(skipped ? 'skipped' : starved ? 'restarting' : 'failed', error.message, error);
    this.#options.events.log({
      pluginId: slot?.id ?? candidate.label,
      level: skipped ? 'info' : starved ? 'warn' : 'error',
      message: error.message,
      fields: { code: error.code },
      source: 'host',
    });
  }

  #buildRoutes(): { routes: Routes; errors: readonly HostError[] } {
    // A plugin that failed keeps its claims: its tasks are refused in its name, rather than unknown or another's.
    const routable = this.#candidates.flatMap(({ slot, error }) =>
      slot === undefined || error?.code === 'PLUGIN_SKIPPED' ? [] : [slot],
    );
    return buildRoutes(routable, this.#options.defaultForTaskTypes ?? {});
  }

  plugins(): readonly HostedPlugin[] {
    return this.#candidates.flatMap(({ slot }) => (slot === undefined ? [] : [slot]));
  }

  plugin(id: string): HostedPlugin | undefined {
    return this.#candidates.find(({ slot }) => slot?.id === id)?.slot;
  }

  route(taskType: string, version: number): HostedPlugin {
    const routes = this.#routes;
    if (routes === undefined) throw new HostError('DAEMON_STATE', 'route before the plugin host was started');
    return this.plugin(routes.lookup(taskType, version))!;
  }

  /** All entries that share the process are loaded anew together; the switch happens when every one of them is up. */
  async reload(id: string): Promise<void> {
    await this.#endOld(await this.#switchTo(id));
  }

  async reloadAll(): Promise<readonly ReloadResult[]> {
    const results: ReloadResult[] = [];
    for (const sharing of this.#sharing()) {
      const [first] = sharing;
      if (first === undefined || this.#isStopped()) continue;
      const error = await this.#switchTo(first).then((old) => {
        // An old process that cannot be ended in order is killed by its group; nothing is left to tell.
        void this.#endOld(old).catch(() => undefined);
        return undefined;
      }, asHostError);
      for (const pluginId of sharing) results.push({ pluginId, error });
    }
    return results;
  }

  /** The ids of all plugins, those together that share a process. */
  #sharing(): readonly (readonly string[])[] {
    const byGroup = new Map<Group | Candidate, string[]>();
    for (const candidate of this.#candidates) {
      const key = candidate.group ?? candidate;
      if (candidate.slot !== undefined) byGroup.set(key, [...(byGroup.get(key) ?? []), candidate.slot.id]);
    }
    return [...byGroup.values()];
  }

  async #switchTo(id: string): Promise<Group | undefined> {
    const switched = this.#reloads.then(() => this.#replace(id));
    this.#reloads = switched.catch(() => undefined);
    return switched;
  }

  async #endOld(old: Group | undefined): Promise<void> {
    if (old === undefined) return;
    await drain([old], DRAIN_MS, this.#options.clock);
    await old.stop();
    this.#retired.delete(old);
  }

  /** Answers the group that was replaced. */
  async #replace(id: string): Promise<Group | undefined> {
    const target = this.#candidates.find(({ slot }) => slot?.id === id);
    if (target === undefined || this.#state !== 'started') {
      throw new HostError(
        'PLUGIN_NOT_SERVING',
        `reload: there is no plugin ${id} to reload; see ListPlugins for the ids`,
      );
    }
    const old = target.group;
    const affected = old === undefined ? [target] : this.#candidates.filter((candidate) => candidate.group === old);
    const entries = affected.map(({ entry }) => entry);
    const fresh = resolveCandidates(entries, this.#baseDir);
    const [group] = this.#groups.make(fresh);
    this.#fresh = group;
    try {
      await group?.importAll();
      const configs = fresh.map((candidate, i) => this.#readmit(affected[i]!, candidate));
      await group?.loadAll();
      if (this.#isStopped()) throw new HostError('PLUGIN_NOT_SERVING', `reload: stopped before ${id} was loaded`);
      for (const { member } of fresh) if (member?.error !== undefined) throw member.error;
      this.#switch(affected, fresh, configs);
    } catch (error) {
      await group?.stop();
      throw asHostError(error);
    } finally {
      this.#fresh = undefined;
    }
    if (old !== undefined) {
      old.retire();
      this.#retired.add(old);
    }
    group?.serve();
    return old;
  }

  /** The new plugin takes the slot of the old one. Answers the limits in force. Throws HostError. */
  #readmit(old: Candidate, fresh: Candidate): ReturnType<typeof mergePluginConfig> {
    const error = fresh.error ?? fresh.member?.error;
    if (error !== undefined) throw error;
    const { member, resolved } = fresh;
    const slot = old.slot;
    if (slot === undefined || member?.definition === undefined || resolved === undefined) {
      throw new HostError('PLUGIN_NOT_SERVING', `reload: ${old.label} has no id yet; restart the daemon`);
    }
    if ((resolved.id ?? member.definition.id) !== slot.id) {
      throw new HostError(
        'PLUGIN_ID_TAKEN',
        `reload: ${old.label} now has the id ${member.definition.id} instead of ${slot.id}; restart the daemon for that`,
      );
    }
    const config = mergePluginConfig(`plugin ${slot.id}`, member.definition.config, resolved.config);
    member.admitted = { slot, config };
    return config;
  }

  /** All or nothing: with conflicting routes the old plugins stay. */
  #switch(
    affected: readonly Candidate[],
    fresh: readonly Candidate[],
    configs: readonly ReturnType<typeof mergePluginConfig>[],
  ): void {
    const before = this.#candidates;
    const routable = before.flatMap((candidate) => {
      const index = affected.indexOf(candidate);
      const slot = candidate.slot;
      const definition = fresh[index]?.member?.definition;
      if (slot === undefined || (index < 0 && candidate.error?.code === 'PLUGIN_SKIPPED')) return [];
      return [definition === undefined ? slot : { ...definition, id: slot.id, defined: true }];
    });
    const { routes, errors } = buildRoutes(routable, this.#options.defaultForTaskTypes ?? {});
    if (errors[0] !== undefined) throw errors[0];
    for (const [i, candidate] of fresh.entries()) {
      const slot = affected[i]!.slot!;
      candidate.slot = slot;
      const { resolved, member } = candidate;
      slot.describe(resolved!, member!.definition!, configs[i]!, this.#environmentOf(resolved!, member!.definition!));
    }
    this.#candidates = before.map((candidate) => fresh[affected.indexOf(candidate)] ?? candidate);
    this.#routes = routes;
  }

  stop(graceMs: number): Promise<void> {
    this.#stopping ??= this.#stop(graceMs);
    return this.#stopping;
  }

  async #stop(graceMs: number): Promise<void> {
    this.#state = 'stopped';
    for (const timer of this.#tries) timer.cancel();
    await this.#fresh?.stop();
    const groups = this.#current().reverse();
    await drain(groups, graceMs, this.#options.clock);
    for (const { slot } of this.#candidates) {
      if (slot !== undefined && slot.state !== 'failed' && slot.state !== 'skipped') {
        slot.unbind('stopped', 'the plugin host was stopped');
      }
    }
    for (const group of groups) await group.stop();
  }

  killAll(): void {
    this.#state = 'stopped';
    for (const timer of this.#tries) timer.cancel();
    this.#fresh?.retire();
    for (const group of this.#current()) group.retire();
    this.#started.killAll();
  }

  /** Every group that serves or finishes calls, in the order of the entries. */
  #current(): Group[] {
    const serving = this.#candidates.flatMap(({ group }) => (group === undefined ? [] : [group]));
    return [...new Set([...serving, ...this.#retired])];
  }

  /** Runs `work` on all, a few at a time: each starts a process, which costs a core for a moment. */
  async #concurrently(groups: readonly Group[], work: (group: Group) => Promise<void>): Promise<void> {
    const waiting = [...groups];
    const worker = async (): Promise<void> => {
      for (let group = waiting.shift(); group !== undefined; group = waiting.shift()) await work(group);
    };
    await Promise.all(Array.from({ length: this.#limits.startConcurrency }, worker));
  }
}
