import type { TaskId } from '../model/attempt-key.js';
import type { RefreshEvents } from '../model/events/refresh.js';
import type { Item, Wave } from './item.js';
import type { RefreshConfig } from './types.js';

/** Reads that must all have answered NotFound before a task is lost. */
const READS_TO_CONFIRM = 3;
/** Tasks that must turn NotFound together, and their least share of all, before it is taken for the remote's fault. */
const TASKS_TO_WAVE = 3;
const SHARE_TO_WAVE = 0.1;
/** A task was alive lately if it was within this many of its intervals. */
const ALIVE_INTERVALS = 2;

/**
 * How the tasks of one batch key, and of the plugin, count for the tenth: those whose last read found them, or was not made
 * yet. What cannot be read makes no wave of the others smaller.
 */
export interface Population {
  readonly ofKey: number;
  readonly ofPlugin: number;
}

export interface Sighting {
  readonly startedAtMs: number;
  readonly nowMs: number;
  /** Whether the task was read by itself, or cannot be read otherwise. */
  readonly alone: boolean;
  readonly population: Population;
  /** The longest interval that asked tasks have now. */
  readonly intervalMs: number;
}

interface Turn {
  readonly item: Item;
  readonly untilMs: number;
}

/** Tasks of one batch key (or of the plugin) that turned NotFound lately, and the wave they make. */
interface Shore {
  readonly turns: Map<TaskId, Turn>;
  wave: Wave | undefined;
}

/**
 * Rule 4, "not found must be confirmed". One answer without the job ends nothing: a task is lost once every read said
 * NotFound, three at least, over a minimum time, the last of them made for it alone. Several tasks that turn NotFound
 * together after they were seen alive are a *wave*, a fault of the remote's (a proxy that answers 404, half a list): they
 * are frozen, so that only the end of the outage grace loses them. A task that was not seen alive lately belongs to none:
 * what was purged while the daemon was away is gone.
 *
 * States of a task: *seen*, as far as is known; *missing*, from an answer of NotFound (`sighted`) until it is found, an answer says
 * neither (`doubted`), or it is gone; *frozen* besides, as a part of a wave, until it is found or gone. A wave is *open* to others until
 * its last turn is an interval old, and over with its last task.
 */
export class MissingTasks {
  readonly #events: RefreshEvents;
  readonly #keys = new Map<string, Shore>();
  readonly #plugin: Shore = { turns: new Map(), wave: undefined };
  readonly #missing = new Set<TaskId>();
  #frozen = 0;
  /** Of those that an earlier run of the daemon froze. */
  #resumed: Wave | undefined;

  constructor(events: RefreshEvents) {
    this.#events = events;
  }

  /** Tasks whose last answer was NotFound. */
  get size(): number {
    return this.#missing.size;
  }

  /** Tasks that a wave froze. */
  get frozen(): number {
    return this.#frozen;
  }

  /** A task of an earlier run of the daemon: what was told of it then goes on. All that were frozen then make one wave. */
  resumed(item: Item, nowMs: number): void {
    const { failing } = item.task;
    if (failing === undefined) return;
    const { notFound, notFoundForMs, frozenForMs } = failing;
    if (notFound > 0) {
      item.missing = { sinceMs: nowMs - notFoundForMs, reads: notFound };
      this.#missing.add(item.id);
    }
    if (frozenForMs === undefined) return;
    if (this.#resumed === undefined || this.#resumed.frozen.size === 0) {
      this.#resumed = { sinceMs: nowMs, frozen: new Map(), found: 0, lost: 0, openUntilMs: Number.NEGATIVE_INFINITY };
    }
    item.wave = this.#resumed;
    this.#resumed.frozen.set(item.id, nowMs - frozenForMs);
    this.#frozen += 1;
  }

  /** Notes one answer of NotFound. Answers whether the task is lost by it; the visibility grace must be over. */
  sighted(item: Item, sighting: Sighting, config: RefreshConfig): boolean {
    const { nowMs, startedAtMs, alone } = sighting;
    const visible = startedAtMs - item.task.liveSinceMs >= config.visibilityGraceMs;
    if (item.seenAliveAtMs === undefined && !visible) return false;
    if (item.missing === undefined) {
      item.missing = { sinceMs: nowMs, reads: 0 };
      this.#missing.add(item.id);
      this.#turned(item, sighting);
    }
    item.missing.reads += 1;
    // Reads that told nothing may have come between. A wave goes on while some of it are found, and others join it.
    const sinceMs = item.wave?.frozen.get(item.id) ?? item.missing.sinceMs;
    const leastMs =
      item.wave === undefined ? config.notFoundMinMs : Math.max(config.notFoundMinMs, config.outageGraceMs);
    const long = nowMs - sinceMs >= leastMs && nowMs - item.missing.sinceMs >= config.notFoundMinMs;
    // The read that loses it is made for it alone; a list may leave out what is there.
    item.alone = long && item.missing.reads >= READS_TO_CONFIRM - 1;
    return long && visible && alone && item.missing.reads >= READS_TO_CONFIRM;
  }

  /** The job was found: it goes on, whatever was said of it before. Called before the item forgets that. */
  found(item: Item, nowMs: number): void {
    this.doubted(item);
    this.#leave(item, 'found', nowMs);
  }

  /** An answer that says neither that the job is there nor that it is gone: the reads in a row are broken. */
  doubted(item: Item): void {
    if (item.missing !== undefined) this.#missing.delete(item.id);
    item.missing = undefined;
    item.alone = false;
  }

  /** The task has left the schedule. */
  gone(item: Item, nowMs: number): void {
    const lost = item.missing !== undefined;
    this.doubted(item);
    this.#leave(item, lost ? 'lost' : 'found', nowMs);
    this.#plugin.turns.delete(item.id);
    this.#keys.get(item.batchKey)?.turns.delete(item.id);
  }

  /** The last task of a batch key has left: what its tasks turned to is of no use any more. */
  forgetKey(batchKey: string): void {
    this.#keys.delete(batchKey);
  }

  #turned(item: Item, { nowMs, startedAtMs, population, intervalMs }: Sighting): void {
    const { seenAliveAtMs } = item;
    if (seenAliveAtMs === undefined || item.wave !== undefined) return;
    // A task that is read more rarely than others is judged by its own interval.
    const ownMs = Math.max(intervalMs, item.dueMs - seenAliveAtMs);
    if (startedAtMs - seenAliveAtMs > ALIVE_INTERVALS * ownMs) return;
    let shore = this.#keys.get(item.batchKey);
    if (shore === undefined) {
      shore = { turns: new Map(), wave: undefined };
      this.#keys.set(item.batchKey, shore);
    }
    const turn = { item, untilMs: nowMs + ownMs };
    this.#join(shore, turn, population.ofKey, nowMs);
    this.#join(this.#plugin, turn, population.ofPlugin, nowMs);
  }

  #join(shore: Shore, turn: Turn, seen: number, nowMs: number): void {
    shore.turns.set(turn.item.id, turn);
    let live = seen;
    for (const [id, { item, untilMs }] of shore.turns) {
      if (untilMs < nowMs) shore.turns.delete(id);
      else if (item.countedUnseen) live += 1;
    }
    const open = shore.wave !== undefined && nowMs <= shore.wave.openUntilMs;
    if (!open && shore.turns.size < Math.max(TASKS_TO_WAVE, SHARE_TO_WAVE * live)) return;
    const begins = !open;
    if (begins) shore.wave = { sinceMs: nowMs, frozen: new Map(), found: 0, lost: 0, openUntilMs: nowMs };
    const { wave } = shore;
    if (wave === undefined) return;
    wave.openUntilMs = turn.untilMs;
    let frozen = 0;
    for (const { item } of shore.turns.values()) if (this.#freeze(item, wave)) frozen += 1;
    if (begins && frozen > 0) this.#events.notFoundWave?.({ batchKey: turn.item.batchKey, tasks: frozen, of: live });
  }

  #freeze(item: Item, wave: Wave): boolean {
    if (item.wave !== undefined || item.missing === undefined) return false;
    item.wave = wave;
    wave.frozen.set(item.id, item.missing.sinceMs);
    this.#frozen += 1;
    return true;
  }

  #leave(item: Item, how: 'found' | 'lost', nowMs: number): void {
    const { wave } = item;
    if (wave === undefined) return;
    item.wave = undefined;
    wave[how] += 1;
    this.#frozen -= 1;
    wave.frozen.delete(item.id);
    if (wave.frozen.size > 0) return;
    wave.openUntilMs = Number.NEGATIVE_INFINITY;
    const { sinceMs, found, lost } = wave;
    this.#events.notFoundWaveOver?.({ lastedMs: nowMs - sinceMs, found, lost });
  }
}
