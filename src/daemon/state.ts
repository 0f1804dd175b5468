import { randomBytes } from 'node:crypto';
import { isDeepStrictEqual } from 'node:util';
import type { GateSnapshot } from '../calls/types.js';
import type { Config } from '../config/index.js';
import { HostError } from '../errors/index.js';
import { buildRoutes } from '../host/load/routing.js';
import type { HostedPlugin, PluginHost } from '../host/types.js';
import type { Clock } from '../lib/clock.js';
import type { KeptOutage } from '../model/kept-outage.js';
import { guardOf } from '../model/limits-tenancy.js';
import {
  decodePair,
  type FactKey,
  type FactsByKind,
  factKey,
  isKeyOfPart,
  type StateEngine,
  type StateEvents,
  type StateTrouble,
  StateWriter,
} from '../state/index.js';
import { StoreFacts } from '../store/facts.js';
import type { ReplayCache } from '../store/replay-cache.js';
import { RestoredFacts, restoreStore } from '../store/restore.js';
import type { StateFeed } from '../store/state-feed.js';
import type { TaskStore } from '../store/task-store.js';
import type { ServedBefore } from '../tasks/report.js';
import type { KeptKey } from './handle-keys.js';
import { within } from './lifecycle.js';
import { engineOf, placeName } from './state-engine.js';
import { statePlace } from './state-place.js';

export interface KeptStateOptions {
  readonly config: Config;
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly clock: Clock;
  readonly random: () => number;
  readonly events: StateEvents;
  /** Told of each secret by which the state is reached, before it is used. */
  readonly onSecret?: (secret: string) => void;
  /** Instead of the one that the config says. */
  readonly engine?: StateEngine | undefined;
  /** Where that one keeps it, in words. */
  readonly at?: string | undefined;
}

/** `at`: where it is kept, in words; undefined for nowhere, and `because` says why where nobody asked for that. */
export interface OpenedState {
  readonly at: string | undefined;
  readonly because: string | undefined;
  /** Tasks that are not over. */
  readonly tasks: number;
}

const LANES = ['read', 'write'] as const;

/** What is said of a bucket that is in use: a crash leaves it empty. */
const EMPTY_BUCKET: FactsByKind['bucket'] = { level: 0, pausedUntilMs: undefined, failingForMs: undefined };

/** Far below the replay window, so that it does not matter for that. Milliseconds. */
const FORGOTTEN_PAUSE_MS = 60_000;

/** What closing may take after a start that came to nothing. Milliseconds. */
const CLOSE_MS = 2_000;

/**
 * What survives the daemon: opens the engine, fills the store from it, feeds it from the store, and keeps what is the
 * daemon's own (routes, bucket levels, since when the state is complete).
 *
 * States: not opened, where changes are told to nobody → `open` → written by its writer → `close`. Where nothing is kept it stays
 * as it was made, and each of these does nothing. A bucket's level of the last run is given out once.
 */
export class KeptState {
  readonly #options: KeptStateOptions;
  readonly #others: {
    buckets: Map<string, FactsByKind['bucket']>;
    routes?: FactsByKind['routes'];
    birth?: FactsByKind['birth'];
    handleKey?: FactsByKind['handleKey'];
  } = { buckets: new Map() };
  readonly feed: StateFeed;
  #writer: StateWriter | undefined;
  #facts: StoreFacts | undefined;
  /** Levels at the end of the last run, until the gates that go on from them are made. */
  readonly #levels = new Map<string, FactsByKind['bucket']>();
  #lastRoutes: FactsByKind['routes'] | undefined;

  constructor(options: KeptStateOptions) {
    this.#options = options;
    const durable = options.engine?.durable ?? keeps(options);
    const writer = () => this.#writer;
    this.feed = {
      durable,
      get completeSinceMs() {
        return durable ? self.#others.birth?.completeSinceMs : undefined;
      },
      get endsKnownSinceMs() {
        return durable ? self.#others.birth?.endsKnownSinceMs : undefined;
      },
      endForgotten: () => self.#endForgotten(),
      get trouble() {
        return writer()?.trouble;
      },
      assertRoom: () => writer()?.assertRoom(),
      changed: (kind, name) => writer()?.changed(factKey(kind, name)),
      consumed: (row) => writer()?.consumed(row),
      safe: () => writer()?.safe() ?? Promise.resolve(),
      get safeUnder() {
        const kept = writer();
        return kept?.hasGuards === true ? (tenancy: string) => kept.safeUnder(guardOf(tenancy)) : undefined;
      },
    };
    const self = this;
  }

  get trouble(): StateTrouble | undefined {
    return this.#writer?.trouble;
  }

  get sizeBytes(): number {
    return this.#writer?.sizeBytes ?? 0;
  }

  get lagMs(): number {
    return this.#writer?.lagMs ?? 0;
  }

  /**
   * Opens the state and fills the store with what it says. Throws one of the STATE_ codes, also where the first commit fails, and
   * what `stop` says; nothing is held then. From here on every change of the store is written.
   */
  async open(store: TaskStore, replays: ReplayCache, stop?: AbortSignal): Promise<OpenedState> {
    const { config, env, clock, random, events, onSecret } = this.#options;
    const place = this.#options.engine === undefined ? statePlace(config, env) : undefined;
    const parts = { clock, random, maxBytes: config.state.maxBytes, ...(onSecret === undefined ? {} : { onSecret }) };
    const engine = this.#options.engine ?? (place && engineOf(place, parts));
    if (engine === undefined || !engine.durable) {
      return { at: undefined, because: place?.in === 'nowhere' ? place.because : undefined, tasks: 0 };
    }
    await engine.open(stop);
    try {
      const loaded = await loadAll(engine, clock.now());
      const source = new StoreFacts(store, replays, this.#others);
      this.#facts = source;
      this.#writer = new StateWriter({ engine, source, clock, random, maxBytes: config.state.maxBytes, events });
      const writer = this.#writer;
      engine.onLost?.(() => writer.changedAll());
      this.#begin(loaded);
      restoreStore(store, replays, loaded.facts);
      // What could not be taken up, or is over its time, goes.
      for (const key of loaded.keys) if (!source.has(key)) this.#writer.changed(key);
      await unlessAborted(this.#writer.begin(), stop);
    } catch (error) {
      // A commit that hangs holds the close up as well.
      await within(CLOSE_MS, engine.close()).catch(() => undefined);
      throw error;
    }
    return {
      at: place === undefined ? (this.#options.at ?? engine.name) : placeName(place),
      because: undefined,
      tasks: store.unfinished,
    };
  }

  /** A bucket's level is good once: it is dropped, safely, before anything is taken from the bucket (rule 1). */
  #begin({ facts }: Loaded): void {
    const { clock } = this.#options;
    const before = facts.of('birth').get('');
    const id = before?.id ?? randomBytes(8).toString('hex');
    const completeSinceMs = Math.min(before?.completeSinceMs ?? clock.now(), clock.now());
    const endsKnownSinceMs =
      before?.endsKnownSinceMs && Math.min(before.endsKnownSinceMs, clock.now() + FORGOTTEN_PAUSE_MS);
    this.#others.birth = { id, completeSinceMs, endsKnownSinceMs, starts: (before?.starts ?? 0) + 1 };
    this.#lastRoutes = facts.of('routes').get('');
    if (this.#lastRoutes !== undefined) this.#others.routes = this.#lastRoutes;
    for (const [name, lane] of facts.of('bucket')) {
      this.#levels.set(name, lane);
      this.#keepBucket(name, { ...lane, level: 0 });
    }
    this.#writer?.changed(factKey('birth'));
    this.#others.handleKey = facts.of('handleKey').get('') ?? { signingKey: randomBytes(32).toString('base64') };
    this.#writer?.changed(factKey('handleKey'));
  }

  /**
   * An end gave way to others within the replay window: what a create finds over is not taken for an earlier life from here on,
   * until the window is over once more (rule 8).
   */
  #endForgotten(): void {
    const { clock, events } = this.#options;
    const { birth } = this.#others;
    if (birth === undefined) return;
    const now = clock.now();
    // Written, and told, once a minute while a flood lasts; what goes within that minute is among what may be forgotten.
    if (now < (birth.endsKnownSinceMs ?? 0)) return;
    this.#others.birth = { ...birth, endsKnownSinceMs: now + FORGOTTEN_PAUSE_MS };
    this.#writer?.changed(factKey('birth'));
    events.endsForgotten?.();
  }

  /** The key that handles are signed with where the operator gives none; undefined where nothing is kept. */
  get handleKey(): KeptKey | undefined {
    const { handleKey, birth } = this.#others;
    if (handleKey === undefined || birth === undefined) return undefined;
    return { text: handleKey.signingKey, bornMsAgo: Math.max(0, this.#options.clock.now() - birth.completeSinceMs) };
  }

  /** Where a plugin's buckets go on from. Good for one gate: for another they begin empty. */
  levels(plugin: string): GateSnapshot {
    const atMs = this.#options.clock.now();
    const [read, write] = LANES.map((lane) => {
      const name = `${plugin}/${lane}`;
      const { level, pausedUntilMs } = this.#levels.get(name) ?? EMPTY_BUCKET;
      this.#levels.delete(name);
      // What the daemon was away for has refilled nothing.
      return { level, atMs, pausedUntilMs };
    });
    return { read: read!, write: write! };
  }

  /**
   * Who serves a task type, by what the last run served and the config of this one. Throws PLUGIN_NOT_SERVING where nobody is known
   * to.
   */
  lastRoute(taskType: string, version: number): string {
    const claims = this.lastClaims();
    const known = claims.map((plugin) =>
      plugin.failed ? { ...NOTHING_TOLD, id: plugin.id, before: plugin } : { ...plugin, defined: true },
    );
    // What is in conflict, or names a plugin that is new, is told once the plugins are loaded.
    const { routes } = buildRoutes(known, this.#options.config.defaultForTaskTypes);
    try {
      const id = routes.lookup(taskType, version);
      if (claims.some((plugin) => plugin.id === id && !plugin.failed)) return id;
    } catch {}
    throw new HostError(
      'PLUGIN_NOT_SERVING',
      `the daemon starts, and no plugin served task type "${taskType}" in its last run; try again in a moment`,
      { retryAfterMs: 2_000 },
    );
  }

  /** What the last run served, of what this one is to load. */
  lastServed(): readonly ServedBefore[] {
    return this.lastClaims().filter(({ failed }) => !failed);
  }

  /** The same with what was a failed plugin's. */
  lastClaims(): readonly (ServedBefore & { readonly failed: boolean })[] {
    const { plugins } = this.#options.config;
    return (this.#lastRoutes?.plugins ?? [])
      .filter(({ id }) => Object.hasOwn(plugins, id) && plugins[id]?.enabled === true)
      .map(({ id, failed, kind, isDefault, taskTypes }) => ({
        id,
        failed,
        kind: kind === 'sync' ? 'sync' : 'async',
        isDefault,
        taskTypes: taskTypes.map(({ name, versions }) => ({ name, versions })),
      }));
  }

  /**
   * Remembers what is served now, for the next start, and of a plugin that has not told it what was known before. To be called
   * whenever that may have changed.
   */
  keepRoutes(host: PluginHost): void {
    const before = new Map((this.#others.routes?.plugins ?? []).map((plugin) => [plugin.id, plugin]));
    const plugins = host
      .plugins()
      .filter(({ state }) => state !== 'skipped')
      .flatMap((plugin) => routesOf(plugin, before.get(plugin.id)) ?? []);
    const routes = { plugins, defaultForTaskTypes: this.#options.config.defaultForTaskTypes };
    if (isDeepStrictEqual(routes, this.#others.routes)) return;
    this.#others.routes = routes;
    this.#writer?.changed(factKey('routes'));
  }

  /** How long a plugin's remote has failed by the calls of one lane. */
  outage(plugin: string, lane: (typeof LANES)[number]): KeptOutage {
    const name = `${plugin}/${lane}`;
    return {
      beforeMs: this.#others.buckets.get(name)?.failingForMs ?? 0,
      keep: (failingForMs) => this.#keepBucket(name, { failingForMs }),
    };
  }

  /** A remote asked that calls of a lane rest until then: so they do after a crash (rule 2). Milliseconds since the epoch. */
  keepPause(plugin: string, lane: (typeof LANES)[number], pausedUntilMs: number): void {
    const name = `${plugin}/${lane}`;
    const before = this.#others.buckets.get(name)?.pausedUntilMs ?? 0;
    this.#keepBucket(name, { pausedUntilMs: Math.max(before, pausedUntilMs) });
  }

  /** Until when a lane rests, as it was kept; undefined where it does not. Milliseconds since the epoch. */
  restsUntilMs(plugin: string, lane: (typeof LANES)[number]): number | undefined {
    return this.#others.buckets.get(`${plugin}/${lane}`)?.pausedUntilMs;
  }

  #keepBucket(name: string, change: Partial<FactsByKind['bucket']>): void {
    const { buckets } = this.#others;
    const bucket = { ...EMPTY_BUCKET, ...buckets.get(name), ...change };
    if ((bucket.pausedUntilMs ?? 0) <= this.#options.clock.now()) bucket.pausedUntilMs = undefined;
    if (isDeepStrictEqual(bucket, EMPTY_BUCKET)) buckets.delete(name);
    else buckets.set(name, bucket);
    this.#writer?.changed(factKey('bucket', name));
  }

  /** Nothing takes from a plugin's buckets any more: their levels are kept for the next start. */
  keepLevels(plugin: string, snapshot: GateSnapshot): void {
    for (const lane of LANES) {
      const { level, pausedUntilMs } = snapshot[lane];
      this.#keepBucket(`${plugin}/${lane}`, { level, pausedUntilMs });
    }
  }

  /** Writes what is left. Rejects where that is not possible. */
  async close(): Promise<void> {
    await this.#writer?.close();
  }

  /** Facts by kind as memory has them: what is on disk follows within a tenth of a second. */
  facts(): Readonly<Record<string, number>> {
    return this.#facts?.counts() ?? {};
  }
}

/** Whether a state is kept, unless the start finds out that it cannot be. */
function keeps({ config, env }: KeptStateOptions): boolean {
  try {
    return statePlace(config, env).in !== 'nowhere';
  } catch {
    return true;
  }
}

/** Rejects when `stop` says so, whatever becomes of the work. */
async function unlessAborted(work: Promise<void>, stop: AbortSignal | undefined): Promise<void> {
  if (stop === undefined) return work;
  const settled = new AbortController();
  work.catch(() => undefined);
  const stopped = new Promise<never>((_, reject) => {
    const heard = () => reject(stop.reason);
    if (stop.aborted) heard();
    else stop.addEventListener('abort', heard, { once: true, signal: settled.signal });
  });
  try {
    await Promise.race([work, stopped]);
  } finally {
    settled.abort();
  }
}

interface Loaded {
  readonly facts: RestoredFacts;
  /** Of those that the store may not take up. */
  readonly keys: readonly FactKey[];
}

async function loadAll(engine: StateEngine, nowMs: number): Promise<Loaded> {
  const facts = new RestoredFacts(nowMs);
  const keys: FactKey[] = [];
  for await (const batch of engine.load()) {
    for (const [key, value] of batch) {
      if (isKeyOfPart(key)) throw divided(key);
      if (facts.add(decodePair(key, value))) keys.push(key);
    }
  }
  return { facts, keys };
}

function divided(key: FactKey): HostError {
  const [parts] = key.split('.');
  return new HostError('STATE_FOREIGN', `the state is divided into ${parts} parts; set state.parts to ${parts}`);
}

type KeptClaims = FactsByKind['routes']['plugins'][number];

/** Of a plugin that failed before it told its task types. */
const NOTHING_TOLD = { defined: false, taskTypes: [], isDefault: false } as const;

function routesOf(plugin: HostedPlugin, before: KeptClaims | undefined): KeptClaims | undefined {
  const { id, state, kind, isDefault, taskTypes } = plugin;
  const failed = state === 'failed';
  // Its definition, which names one at least, was not read: it failed before that, or the machine was short of something.
  if (taskTypes.length === 0 && !isDefault) return before && { ...before, failed };
  return {
    id,
    failed,
    kind: kind ?? before?.kind ?? 'async',
    isDefault,
    taskTypes: taskTypes.map(({ name, versions }) => ({ name, versions })),
  };
}
