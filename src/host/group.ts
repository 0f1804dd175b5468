import { isDeepStrictEqual } from 'node:util';
import { HostError } from '../errors/index.js';
import type { Clock, Timer } from '../lib/clock.js';
import { createDeferred } from '../lib/deferred.js';
import type { HostEvents } from '../model/events/host.js';
import { Life, type Move, type Pacing } from './life.js';
import type { Loading, LoadingPlugin } from './loading.js';
import type { Plugin, PluginCode } from './plugin.js';
import { asHostError, isLate, isStarved } from './process/load-steps.js';
import type { RunningProcess } from './process/plugin-process.js';

/** For the calls in flight of the old process after a reload. */
const DRAIN_MS = 30_000;
const DRAIN_LOOK_MS = 50;

export interface GroupOptions {
  readonly plugins: readonly Plugin[];
  /** Looks for these plugins, and starts nothing yet; `anew` as in LoadingOptions. */
  readonly load: (plugins: readonly Plugin[], anew: boolean) => Loading;
  /** Gives plugins that have never served their ids; who gets none has its `error` set. */
  readonly admit: (loading: Loading) => void;
  /** Routes task types to what is to serve, as from now on. Throws HostError, and changes nothing, where they conflict. */
  readonly reroute: (coming: readonly LoadingPlugin[]) => void;
  readonly events: HostEvents;
  readonly clock: Clock;
  readonly random: () => number;
  readonly pacing: Pacing;
}

/** A try to start the group, of one turn of its life. */
export interface Try {
  readonly turn: number;
  readonly loading: Loading;
}

/** What a reload replaced: `ended` resolves when its process has, after its calls. */
export interface Replaced {
  readonly ended: Promise<void>;
}

/** What was replaced or given up, and is to end. */
interface Leaving {
  readonly inFlight: number;
  stop(): Promise<void>;
}

/**
 * The plugins that share a process, mostly one alone, and the owner of that process over all its runs. The states and what
 * leads from one to the other are told in life.ts; here each has just what it needs:
 *
 * - `starting`, `trying`: a try, which ends with the state unless it is what serves then;
 * - `serving`: a process whose end is listened to;
 * - `crashed`, `quarantined`, `starved`: a timer;
 * - `out`, `stopped`: nothing.
 *
 * A reload loads beside whatever the state has, and replaces it or leaves it alone. What was replaced finishes its calls.
 */
export class Group {
  readonly #options: GroupOptions;
  readonly #life: Life;
  #try: Try | undefined;
  #process: RunningProcess | undefined;
  #timer: Timer | undefined;
  /** What a reload has begun to load. */
  #beside: Loading | undefined;
  readonly #leaving = new Set<Leaving>();

  constructor(options: GroupOptions) {
    const { clock, random, pacing } = options;
    this.#options = options;
    this.#life = new Life({ ...pacing, random, now: () => clock.now() });
  }

  get plugins(): readonly Plugin[] {
    return this.#options.plugins;
  }
  /** Calls in flight, those of replaced processes too. */
  get inFlight(): number {
    return [...this.#leaving].reduce((sum, { inFlight }) => sum + inFlight, this.#process?.inFlight ?? 0);
  }

  /** Begins a try: the plugins that are in are looked for. */
  begin(): Try {
    const wanted = this.plugins.filter(({ out }) => !out);
    this.#try = { turn: this.#life.turn, loading: this.#options.load(wanted, false) };
    return this.#try;
  }

  /** What the try brought up serves from now on; what it did not is out, or tried again later. */
  conclude({ turn, loading }: Try): void {
    const event = eventOf(loading);
    const short = event === 'short';
    const move = this.#life.happened(turn, event);
    if (move === undefined) return;
    this.#try = undefined;
    if (move.from === 'trying' && !short) for (const { plugin } of loading.items) plugin.restarted();
    if (move.from === 'starting' || move.to === 'serving') {
      const again = event === 'slow' ? isLate : isStarved;
      for (const item of loading.items) if (!again(item)) this.#putOut(item);
    }
    switch (move.to) {
      case 'serving':
        this.#serve(loading);
        return;
      case 'starved':
        for (const item of loading.items) if (isStarved(item)) this.#tellAgain(item, 'restarting', 'warn');
        this.#wait(move);
        return;
      case 'crashed':
      case 'quarantined':
        if (move.from === 'starting') this.#late(move, loading);
        else
          this.#fallen(move, `did not come up again: ${loading.items.map(({ error }) => error?.message).join('; ')}`);
        return;
      default:
        return;
    }
  }

  /** A plugin that does not load while others do is out until somebody reloads it. */
  #putOut({ plugin, error }: LoadingPlugin): void {
    if (error === undefined) return;
    const first = plugin.kind === undefined;
    const skipped = first && error.code === 'PLUGIN_SKIPPED';
    plugin.tell(skipped ? 'skipped' : 'failed', error.message, error);
    if (first) this.#log(plugin, skipped ? 'info' : 'error', error);
  }

  /** A plugin that is tried again, though nothing of it may ever have served. */
  #tellAgain({ plugin, error }: LoadingPlugin, state: 'restarting' | 'quarantined', level: 'warn' | 'error'): void {
    if (error === undefined) return;
    plugin.tell(state, error.message, error);
    if (plugin.kind === undefined) this.#log(plugin, level, error);
  }

  /** What did not come up in its time at its first start counts as crashed: a machine that stood still is no fault of it. */
  #late(move: Move, loading: Loading): void {
    const state = move.to === 'quarantined' ? 'quarantined' : 'restarting';
    for (const item of loading.items) if (isLate(item)) this.#tellAgain(item, state, 'error');
    this.#wait(move);
  }

  #log({ id: pluginId }: Plugin, level: 'info' | 'warn' | 'error', { code, message }: HostError): void {
    this.#options.events.log({ pluginId, level, message, fields: { code }, source: 'host' });
  }

  #serve(loading: Loading): void {
    const { process, up } = loading;
    if (process === undefined) return;
    this.#process = process;
    for (const item of up) this.#describe(item, loading.anew);
    for (const { plugin, facts } of up) if (facts !== undefined) plugin.serve(process, facts);
    const { turn } = this.#life;
    void process.ended.then((why) => this.#ended(turn, why));
  }

  /** What is told of a plugin is what runs: other code is told when it serves, and not before. */
  #describe({ plugin, module, code }: LoadingPlugin, anew: boolean): void {
    if (module === undefined || code === undefined) return;
    const before = plugin.code;
    plugin.found(module);
    plugin.describe(code);
    if (anew || plugin.kind === undefined || before === undefined || isSameCode(before, code)) return;
    this.#options.events.changed({
      pluginId: plugin.id,
      version: plugin.version,
      digest: code.digest,
      previousVersion: before.definition.version ?? '',
      previousDigest: before.digest,
    });
  }

  #ended(turn: number, why: string): void {
    const move = this.#life.happened(turn, 'ended');
    if (move === undefined) return;
    this.#process = undefined;
    this.#fallen(move, why);
  }

  #fallen(move: Move, why: string): void {
    const { crashWindowMs } = this.#options.pacing;
    const often = `its process crashed ${move.crashes} times in ${Math.round(crashWindowMs / 1000)} s; the last time it ${why}`;
    const [state, reason] =
      move.to === 'quarantined' ? (['quarantined', often] as const) : (['restarting', `its process ${why}`] as const);
    for (const plugin of this.plugins) if (!plugin.out) plugin.tell(state, reason);
    this.#wait(move);
  }

  #wait({ waitMs }: Move): void {
    const { turn } = this.#life;
    this.#timer = this.#options.clock.setTimer(waitMs, () => {
      if (this.#life.happened(turn, 'due') !== undefined) void this.#again(this.begin());
    });
  }

  async #again(again: Try): Promise<void> {
    const { loading } = again;
    await loading.importAll();
    this.#options.admit(loading);
    await loading.loadAll();
    if (again === this.#try && loading.items.some(({ plugin }) => plugin.kind === undefined)) this.#claim(loading);
    this.conclude(again);
  }

  /** What serves for the first time gets its task types, or is out. */
  #claim(loading: Loading): void {
    const { up } = loading;
    if (up.length === 0) return;
    try {
      this.#options.reroute(loading.items);
    } catch (error) {
      for (const item of up) item.error = asHostError(error);
      void this.#end(loading, 0);
    }
  }

  /**
   * Loads all anew, whatever state they are in, and switches when every one of them is up; answers then. Throws HostError,
   * and changes nothing, where one does not come up. To be called once at a time.
   */
  async reload(): Promise<Replaced> {
    const loading = this.#options.load(this.plugins, true);
    this.#beside = loading;
    try {
      await loading.importAll();
      for (const item of loading.items) readmit(loading, item);
      await loading.loadAll();
      this.#assertUp(loading);
      this.#options.reroute(loading.items);
    } catch (error) {
      await loading.stop();
      throw asHostError(error);
    } finally {
      this.#beside = undefined;
    }
    const old = this.#leave();
    this.#life.ordered('replaced');
    this.#serve(loading);
    return { ended: old === undefined ? Promise.resolve() : this.#end(old, DRAIN_MS) };
  }

  #assertUp(loading: Loading): void {
    if (this.#life.state === 'stopped') {
      const ids = this.plugins.map(({ id }) => id).join(', ');
      throw new HostError('PLUGIN_NOT_SERVING', `reload: stopped before ${ids} was loaded`);
    }
    for (const { error } of loading.items) if (error !== undefined) throw error;
  }

  /** Takes from the state what it has; what finishes calls, or has to be ended, is answered. */
  #leave(): Leaving | undefined {
    this.#timer?.cancel();
    const left = this.#try?.loading ?? this.#process;
    this.#timer = undefined;
    this.#try = undefined;
    this.#process = undefined;
    if (left !== undefined) this.#leaving.add(left);
    return left;
  }

  /** Ends something when its calls are done, or after so many milliseconds. */
  async #end(leaving: Leaving, graceMs: number): Promise<void> {
    this.#leaving.add(leaving);
    await drain([leaving], graceMs, this.#options.clock);
    await leaving.stop();
    this.#leaving.delete(leaving);
  }

  /** Starts nothing any more: what loads is ended, and what serves finishes its calls. Callable twice. */
  halt(): void {
    const loading = [this.#try?.loading, this.#beside];
    this.#leave();
    this.#life.ordered('stop');
    for (const one of loading) if (one !== undefined) void this.#end(one, 0);
  }

  /** Ends every process in order, and starts none again. Callable twice. Plugins are told by the caller. */
  async stop(): Promise<void> {
    this.halt();
    await Promise.all([...this.#leaving].map((one) => one.stop()));
  }
}

/** What a try came to. Of several plugins one that is late is out where others came up, which go on. */
function eventOf({ items, up }: Loading): 'up' | 'failed' | 'slow' | 'short' {
  if (items.some(isStarved)) return 'short';
  if (up.length > 0) return 'up';
  return items.some(isLate) ? 'slow' : 'failed';
}

/** A reload gives no plugin an id or another one. Throws HostError, the plugin's own error first. */
function readmit(loading: Loading, item: LoadingPlugin): void {
  const { plugin, imported, error } = item;
  if (error !== undefined) throw error;
  if (!plugin.known || imported === undefined) {
    throw new HostError('PLUGIN_NOT_SERVING', `reload: ${plugin.source} has no id yet; restart the daemon`);
  }
  if ((plugin.entry.id ?? imported.definition.id) !== plugin.id) {
    throw new HostError(
      'PLUGIN_ID_TAKEN',
      `reload: ${plugin.source} now has the id ${imported.definition.id} instead of ${plugin.id}; restart the daemon for that`,
    );
  }
  loading.admit(item);
  if (item.error !== undefined) throw item.error;
}

function isSameCode(a: PluginCode, b: PluginCode): boolean {
  return a.digest === b.digest && isDeepStrictEqual(a.definition, b.definition);
}

/** Waits until none of these has calls in flight, at most `graceMs`. */
export async function drain(
  those: readonly { readonly inFlight: number }[],
  graceMs: number,
  clock: Clock,
): Promise<void> {
  const end = clock.now() + graceMs;
  while (those.some(({ inFlight }) => inFlight > 0) && clock.now() < end) {
    const look = createDeferred<void>();
    clock.setTimer(DRAIN_LOOK_MS, () => look.resolve());
    await look.promise;
  }
}
