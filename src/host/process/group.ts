import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { isDeepStrictEqual } from 'node:util';
import type { DefinitionFacts, PluginFacts } from '../../channel/messages.js';
import type { DataOptions } from '../../data/options.js';
import { HostError, messageOf } from '../../errors/index.js';
import { backoffMs } from '../../lib/backoff.js';
import type { Timer } from '../../lib/clock.js';
import type { PluginChange } from '../../model/events/host.js';
import type { PluginConfig } from '../../plugin-api/config.js';
import type { ResolvedEntry } from '../load/entry.js';
import { pickVariables } from '../load/environment.js';
import type { PluginSlot } from '../slot.js';
import { starved } from './load-steps.js';
import type { PluginProcess } from './plugin-process.js';
import { isShortage } from './shortage.js';

/** A configured plugin within its group. */
export class Member {
  readonly entry: ResolvedEntry;
  /** The number within the process. */
  readonly p: number;
  /** From the first import on. */
  definition: DefinitionFacts | undefined;
  /** From admission on: the plugin has an id of its own and valid limits. */
  admitted: { readonly slot: PluginSlot; readonly config: PluginConfig } | undefined;
  facts: PluginFacts | undefined;
  /** Of the module's file that the definition is of. */
  digest = '';
  /** Other code, imported after a crash: in force once it is loaded and serves, forgotten where it does not come to that. */
  next: Imported | undefined;
  /** Set once the plugin is out: it failed or skipped itself. */
  error: HostError | undefined;
  importedIn: PluginProcess | undefined;
  loadedIn: PluginProcess | undefined;

  constructor(entry: ResolvedEntry, p: number) {
    this.entry = entry;
    this.p = p;
  }
}

/** A module's code as an import found it, with the limits that it would have. */
interface Imported {
  readonly definition: DefinitionFacts;
  readonly digest: string;
  readonly config: PluginConfig;
}

export interface GroupOptions {
  readonly name: string;
  readonly members: readonly Member[];
  /** Starts a process for the group; it tells the group's plugins apart by their numbers. */
  readonly launch: () => PluginProcess;
  /** The limits of a member with this definition. Throws HostError where they are none. */
  readonly configOf: (member: Member, definition: DefinitionFacts) => PluginConfig;
  /** Other code than before serves from now on: its definition and limits are the member's. */
  readonly redescribe: (member: Member) => void;
  readonly changed: (event: PluginChange) => void;
  readonly data: DataOptions;
  /** Where declared variables are taken from. */
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly supervision: Supervision;
}

export interface Supervision {
  readonly clock: { now(): number; setTimer(delayMs: number, fn: () => void): Timer };
  readonly random: () => number;
  readonly restartInitialMs: number;
  readonly restartMaxMs: number;
  readonly maxCrashes: number;
  readonly crashWindowMs: number;
  readonly quarantineMs: number;
  readonly logLinesPerSecond: number;
}

/**
 * The plugins of one process, and the supervisor of that process.
 *
 * States: idle → `importAll` → `loadAll` → `serve` → supervised → `retire` → retired → `stop` → stopped; `stop` may come
 * at any time. While supervised, the end of the process is a crash: its plugins are `restarting` and a new process is
 * started after a back-off; `maxCrashes` within `crashWindowMs` make them `quarantined` for a time, after which one more
 * start is tried. A process that the machine is too short of something to start is no crash: that is tried again after a
 * back-off for as long as it takes. A retired group finishes its calls; it and a stopped one start nothing and touch no slot again.
 */
export class Group {
  readonly #options: GroupOptions;
  #process: PluginProcess | undefined;
  #crashes: number[] = [];
  /** Starts in a row that the machine was too short of something for. */
  #shortages = 0;
  #timer: Timer | undefined;
  #retired = false;

  constructor(options: GroupOptions) {
    this.#options = options;
  }

  get name(): string {
    return this.#options.name;
  }
  get members(): readonly Member[] {
    return this.#options.members;
  }
  get inFlight(): number {
    return this.#process?.inFlight ?? 0;
  }

  /** Imports every member; who fails has its `error` set. */
  async importAll(): Promise<void> {
    await this.#each(
      (member, process) => member.importedIn === process,
      async (member, process) => void (await this.#importModule(member, process)),
    );
  }

  /** Loads every admitted member; who fails has its `error` set. Members fallen out do not disturb the others. */
  async loadAll(): Promise<void> {
    await this.#each(
      (member, process) => member.loadedIn === process,
      async (member, process) => {
        const spent = await this.#importModule(member, process);
        await this.#load(member, process, spent);
      },
    );
    if (this.#live.length === 0) await this.#discard();
  }

  /** Members that are still in. */
  get #live(): Member[] {
    return this.members.filter((member) => member.error === undefined);
  }

  /**
   * One step for every live member in a process that is up. A member whose step ends the process is out, and the others
   * take the step again in the next process; each round puts one member out or is the last.
   */
  async #each(
    done: (member: Member, process: PluginProcess) => boolean,
    step: (member: Member, process: PluginProcess) => Promise<void>,
  ): Promise<void> {
    for (;;) {
      if (this.#retired || this.#live.length === 0) return;
      const process = this.#running();
      if (process === undefined) return;
      const member = this.#live.find((candidate) => !done(candidate, process));
      if (member === undefined) return;
      try {
        await step(member, process);
      } catch (error) {
        member.error = HostError.is(error) ? error : new HostError('INTERNAL', String(error), { cause: error });
        if (!isStarved(member)) continue;
        for (const other of this.#live) other.error = member.error;
      }
    }
  }

  /** A process that is up. Where none can be started (no file handle left, an impossible environment) all are out. */
  #running(): PluginProcess | undefined {
    if (this.#process?.over === false) return this.#process;
    try {
      this.#process = this.#options.launch();
      return this.#process;
    } catch (error) {
      // Node quotes the value that it does not take, which may be a secret of the environment.
      const why = messageOf(error).split('. Received ')[0] ?? '';
      for (const member of this.#live) {
        const label = `plugin ${member.entry.label}`;
        const text = `${label}: its process could not be started: ${why}`;
        member.error = isShortage(error)
          ? starved(label, `could not be started: ${why}`)
          : new HostError('PLUGIN_IMPORT_FAILED', text);
      }
      return undefined;
    }
  }

  /** Answers the milliseconds it took: import and load() share one deadline. */
  async #importModule(member: Member, process: PluginProcess): Promise<number> {
    if (member.importedIn === process) return 0;
    const { clock } = this.#options.supervision;
    const { entry, p } = member;
    const started = clock.now();
    const digest = await digestOf(entry.resolved.url);
    const facts = await process.importModule(p, entry.resolved.url, `plugin ${entry.label}`, entry.loadTimeoutMs);
    if (member.definition !== undefined && !sameRoutes(member.definition, facts)) {
      throw changedOnDisk(member, 'its id, task types or isDefault');
    }
    member.next = undefined;
    if (member.definition === undefined) {
      member.digest = digest;
      member.definition = facts;
    } else if (digest !== member.digest || !isDeepStrictEqual(member.definition, facts)) {
      member.next = { definition: facts, digest, config: this.#options.configOf(member, facts) };
    }
    member.importedIn = process;
    return clock.now() - started;
  }

  async #load(member: Member, process: PluginProcess, spentMs: number): Promise<void> {
    const { admitted, entry, p, next } = member;
    const definition = next?.definition ?? member.definition;
    if (admitted === undefined || definition === undefined) throw new HostError('INTERNAL', 'load before admission');
    const facts = await process.load({
      t: 'load',
      p,
      pluginId: admitted.slot.id,
      environment: pickVariables(definition.environment, this.#options.env),
      settings: entry.settings,
      config: next?.config ?? admitted.config,
      data: this.#options.data,
      timeoutMs: Math.max(1, Math.floor(entry.loadTimeoutMs - spentMs)),
      logLinesPerSecond: this.#options.supervision.logLinesPerSecond,
    });
    // Tasks that are accepted in one way cannot go on in the other.
    if (member.facts !== undefined && member.facts.kind !== facts.kind) {
      throw changedOnDisk(member, `its kind (${member.facts.kind}, now ${facts.kind})`);
    }
    member.facts = facts;
    member.loadedIn = process;
  }

  /** Binds the loaded members to their slots and keeps them up from now on. */
  serve(): void {
    const process = this.#process;
    if (process === undefined) return;
    for (const member of this.#live) {
      if (member.admitted !== undefined && member.facts !== undefined && member.loadedIn === process) {
        this.#takeNext(member);
        member.admitted.slot.bind({ process, p: member.p }, member.facts);
      }
    }
    void process.ended.then((why) => this.#onEnd(process, why));
  }

  /** What is told of a plugin is what runs: other code is told when it serves, and not before. */
  #takeNext(member: Member): void {
    const { admitted, definition: before, digest: previousDigest, next } = member;
    if (next === undefined || admitted === undefined) return;
    const { definition, digest, config } = next;
    member.next = undefined;
    member.definition = definition;
    member.digest = digest;
    member.admitted = { slot: admitted.slot, config };
    this.#options.redescribe(member);
    const [version, previousVersion] = [definition.version ?? '', before?.version ?? ''];
    this.#options.changed({ pluginId: admitted.slot.id, version, digest, previousVersion, previousDigest });
  }

  #onEnd(process: PluginProcess, why: string): void {
    if (this.#retired || process !== this.#process) return;
    const { clock, crashWindowMs, maxCrashes, quarantineMs, random } = this.#options.supervision;
    const now = clock.now();
    this.#crashes = [...this.#crashes.filter((at) => now - at < crashWindowMs), now];
    const quarantine = this.#crashes.length >= maxCrashes;
    const { restartInitialMs: initialMs, restartMaxMs: maxMs } = this.#options.supervision;
    const delay = quarantine ? quarantineMs : backoffMs(this.#crashes.length, { initialMs, maxMs }, random);
    const reason = quarantine
      ? `its process crashed ${this.#crashes.length} times in ${Math.round(crashWindowMs / 1000)} s; the last time it ${why}`
      : `its process ${why}`;
    for (const slot of this.#slots()) slot.unbind(quarantine ? 'quarantined' : 'restarting', reason);
    this.#timer = clock.setTimer(delay, () => void this.#restart());
  }

  #slots(): PluginSlot[] {
    return this.#live.flatMap((member) => (member.admitted === undefined ? [] : [member.admitted.slot]));
  }

  /**
   * A member that no longer loads while others do is out until somebody reloads it. When none loads, that is one more
   * crash: what load() needs may be back later.
   */
  async #restart(): Promise<void> {
    const before = this.#live;
    await this.loadAll();
    if (this.#retired) return;
    const short = before.find(isStarved)?.error;
    if (short !== undefined) {
      for (const member of before) member.error = undefined;
      this.#waitOutShortage(short);
      return;
    }
    this.#shortages = 0;
    for (const { admitted } of before) if (admitted !== undefined) admitted.slot.restarts++;
    if (this.#live.length > 0) {
      for (const member of before) {
        if (member.error !== undefined) member.admitted?.slot.unbind('failed', member.error.message, member.error);
      }
      this.serve();
      return;
    }
    const why = before.map((member) => member.error?.message).join('; ');
    for (const member of before) member.error = undefined;
    const process = this.#process;
    if (process !== undefined) this.#onEnd(process, `did not come up again: ${why}`);
  }

  #waitOutShortage(error: HostError): void {
    const { clock, random, restartInitialMs: initialMs, restartMaxMs: maxMs } = this.#options.supervision;
    for (const slot of this.#slots()) slot.unbind('restarting', error.message, error);
    const delay = backoffMs(++this.#shortages, { initialMs, maxMs }, random);
    this.#timer = clock.setTimer(delay, () => void this.#restart());
  }

  /** A process that serves nobody is not kept. */
  async #discard(): Promise<void> {
    await this.#process?.stop();
  }

  /** Another group serves its plugins from now on: what becomes of this one's process is no news of theirs. */
  retire(): void {
    this.#retired = true;
    this.#timer?.cancel();
  }

  /** Ends the process in order and starts none again. Callable twice. Slots are told by the caller. */
  async stop(): Promise<void> {
    this.retire();
    if (this.#process !== undefined && !this.#process.over) await this.#process.stop();
  }
}

/** The machine had nothing left for its process: nothing is wrong with the plugin. */
export function isStarved({ error }: { readonly error: HostError | undefined }): boolean {
  return error?.code === 'PLUGIN_START_STARVED';
}

/** Start of the SHA-256 of a module's own file, not of what it imports. Never rejects. */
async function digestOf(url: string): Promise<string> {
  const bytes = await readFile(new URL(url)).catch(() => undefined);
  return bytes === undefined ? '' : createHash('sha256').update(bytes).digest('hex').slice(0, 16);
}

function changedOnDisk({ entry }: Member, what: string): HostError {
  const text = `plugin ${entry.label}: ${what} changed on disk since it was loaded; reload it`;
  return new HostError('PLUGIN_SHAPE_INVALID', text);
}

function sameRoutes(a: DefinitionFacts, b: DefinitionFacts): boolean {
  return a.id === b.id && a.isDefault === b.isDefault && JSON.stringify(a.taskTypes) === JSON.stringify(b.taskTypes);
}
