import {
  needOf,
  needsOf,
  newerOf,
  PartPlugins,
  RemoteReach,
  type RemoteSight,
  type Seat,
  type Service,
  ServingPlugins,
} from '../cluster/index.js';
import type { Clock, Timer } from '../lib/clock.js';
import type { PluginState } from '../model/events/host.js';
import { partOfLimits } from '../model/limits-tenancy.js';
import type { PluginRuntime } from '../runtime/runtime.js';
import { type PartNeeds as Needs, READABLE_SINCE } from '../state/index.js';

export interface PartNeedsOptions {
  readonly seat: Pick<Seat, 'parts' | 'stateOf' | 'needsOf' | 'say' | 'describe'>;
  /** Ids of those that are configured. */
  readonly plugins: readonly string[];
  readonly host: { plugins(): Iterable<HostedState> };
  readonly runtimes: { all(): Iterable<SeenRuntime> };
  /** The plugins that a part needs for what is left to do in it; undefined where it is not here. */
  readonly workFor: (part: number) => Iterable<string> | undefined;
  readonly clock: Clock;
}

type HostedState = Pick<PluginRuntime['plugin'], 'id' | 'state' | 'version'>;

/** What is looked at of a runtime. */
export interface SeenRuntime {
  readonly plugin: Pick<PluginRuntime['plugin'], 'id'>;
  readonly refresher: { stats(): Pick<ReturnType<PluginRuntime['refresher']['stats']>, SeenReads> };
  readonly creates: Pick<PluginRuntime['creates'], 'sight'>;
}
type SeenReads = 'tracked' | 'remote' | 'firstFailureMs' | 'answeredAtMs';

/** Between two looks, and between two parts of which something is written. Milliseconds. */
const LOOK_MS = 1_000;

/** States that nothing but a reload leads out of. */
const OUT: ReadonlySet<PluginState> = new Set(['failed', 'skipped', 'stopped']);

/**
 * Tells the other replicas what parts are moved by: what this one has to work with, and what its parts need (`nextMoves`). Looks once a
 * second; what is written is written when it changed, for one part at a time. What could not be written is written by a later look.
 *
 * States: made → `start` → looking → `close` → closed.
 */
export class PartNeeds {
  readonly #options: PartNeedsOptions;
  readonly #serving = new ServingPlugins();
  readonly #reach = new RemoteReach();
  readonly #needed = new PartPlugins();
  /** Parts that the limits of a plugin are owned with. */
  readonly #withLimits: ReadonlySet<number>;
  #timer: Timer | undefined;
  #describing = false;
  /** Of plugins that serve here, those that state one. */
  #versions: Readonly<Record<string, string>> = {};

  constructor(options: PartNeedsOptions) {
    const { plugins, seat } = options;
    this.#options = options;
    this.#withLimits = new Set(plugins.map((id) => partOfLimits(id, seat.parts)));
  }

  /** Looks at once: what is said then is known before any part is taken. */
  start(): void {
    this.#look();
    this.#timer = this.#options.clock.setTimer(LOOK_MS, () => this.start());
  }

  close(): void {
    this.#timer?.cancel();
  }

  #look(): void {
    const { seat, host, runtimes, clock } = this.#options;
    const nowMs = clock.now();
    for (const { id, state } of host.plugins()) this.#serving.saw(id, serviceOf(state), nowMs);
    for (const runtime of runtimes.all()) this.#reach.saw(runtime.plugin.id, sightOf(runtime), nowMs);
    const plugins = this.#serving.said;
    const versions = [...host.plugins()].filter(({ id, version }) => version !== '' && plugins.includes(id));
    this.#versions = Object.fromEntries(versions.map(({ id, version }) => [id, version]));
    seat.say({ plugins, versions: this.#versions, ...this.#reach.said });
    void this.#describe(nowMs);
  }

  /** The part that lacks most urgently what is written of it: what it needs anew goes before what it needs no more. */
  async #describe(nowMs: number): Promise<void> {
    const { seat } = this.#options;
    const changed = this.#changed(nowMs);
    const next = changed.find(({ grows }) => grows) ?? changed[0];
    if (next === undefined || this.#describing) return;
    this.#describing = true;
    // Whether the part is another's by now is the seat's to find out, and to say.
    await seat.describe(next.part, next.needs).catch(() => undefined);
    this.#describing = false;
  }

  #changed(nowMs: number): readonly { readonly part: number; readonly needs: Needs; readonly grows: boolean }[] {
    const { seat, workFor } = this.#options;
    const owned = Array.from({ length: seat.parts }, (_, part) => part).filter(
      (part) => seat.stateOf(part) === 'owned',
    );
    this.#needed.keep(owned);
    return owned.flatMap((part) => {
      const known = seat.needsOf(part);
      const work = workFor(part);
      if (known === undefined || work === undefined) return [];
      const ids = known.plugins.map((text) => needOf(text).id);
      const needs = {
        plugins: needsOf(this.#needed.needed(part, work, ids, nowMs), known.plugins, this.#versions),
        leastVersion: newerOf(known.leastVersion, READABLE_SINCE),
        hasLimits: this.#withLimits.has(part),
      };
      if (isSame(needs, known)) return [];
      return [{ part, needs, grows: needs.plugins.some((plugin) => !known.plugins.includes(plugin)) }];
    });
  }
}

function serviceOf(state: PluginState): Service {
  if (state === 'serving') return 'serving';
  return OUT.has(state) ? 'out' : 'away';
}

/** Reads tell of the remote where there is anything to read; else creates do. An answer to either shows that it is reached. */
function sightOf({ refresher, creates }: SeenRuntime): RemoteSight {
  const { tracked, remote, ...reads } = refresher.stats();
  const { sight } = creates;
  const tells = tracked === 0 || reads.firstFailureMs !== undefined;
  return {
    failingSinceMs: tells ? later(reads.firstFailureMs, sight.firstFailureMs) : undefined,
    down: remote === 'down' || (tracked === 0 && sight.downSinceMs !== undefined),
    answeredAtMs: Math.max(reads.answeredAtMs, sight.answeredAtMs),
  };
}

function later(a: number | undefined, b: number | undefined): number | undefined {
  return a === undefined || b === undefined ? (a ?? b) : Math.max(a, b);
}

function isSame(a: Needs, b: Needs): boolean {
  return (
    a.leastVersion === b.leastVersion &&
    a.hasLimits === b.hasLimits &&
    a.plugins.length === b.plugins.length &&
    a.plugins.every((plugin) => b.plugins.includes(plugin))
  );
}
