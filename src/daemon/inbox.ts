import type { Clock, Timer } from '../lib/clock.js';
import type { Inbox, InboxRow, WaitingOfPart } from '../state/index.js';
import type { TasksControl } from '../tasks/tasks.js';
import type { InboxFigures } from '../telemetry/index.js';

/** Between two looks while rows wait, or may come. Milliseconds. */
const LOOK_MS = 1_000;
/** While nobody is seen to stand in: one that was frozen may still put what it began to. */
const QUIET_LOOK_MS = 10_000;

export interface InboxLooksOptions {
  readonly inbox: Pick<Inbox, 'look' | 'waiting'>;
  readonly clock: Clock;
  /** Whether a replica is dead for sure: it runs nothing any more. */
  readonly isDead: (epoch: string) => boolean;
  /** The parts that are this replica's to answer for. */
  readonly here: () => readonly number[];
  /** Whether any replica is seen to stand in for owners. */
  readonly anyStandsIn: () => boolean;
  /** Undefined of a part that is not here. */
  readonly tasksOf: (part: number) => TasksControl | undefined;
}

/**
 * Brings what stand-ins have put to the owner that is to take it in: all that waits in a part before any call about it is answered, and
 * once a second what was put by replicas that this one could not be reached from, or by an earlier run.
 *
 * States: made → `start` → looking → `stop` → stopped.
 */
export class InboxLooks {
  readonly #options: InboxLooksOptions;
  #timer: Timer | undefined;
  #stopped = false;
  #nextMs = 0;
  /** What the last look found, and when. */
  #found: { readonly atMs: number; readonly parts: readonly WaitingOfPart[] } = { atMs: 0, parts: [] };
  /** Behind which row the next look goes on, where the last one ended at rows that all stayed; undefined: at the first one. */
  #behind: string | undefined;

  constructor(options: InboxLooksOptions) {
    this.#options = options;
  }

  start(): void {
    this.#later();
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
  }

  /** What was left in a part that is here, as it was seen last; undefined where nothing was. What waited then is that much older now. */
  of(part: number): InboxFigures | undefined {
    const { clock, here } = this.#options;
    const found = this.#found.parts.find((one) => one.part === part);
    if (found === undefined || !here().includes(part)) return undefined;
    const { waiting, running, oldestMs } = found;
    return { waiting, running, oldestMs: waiting === 0 ? 0 : oldestMs + clock.now() - this.#found.atMs };
  }

  /** The same of all parts that are here. */
  figures(): InboxFigures {
    const all = this.#found.parts.flatMap(({ part }) => this.of(part) ?? []);
    const sum = (of: 'waiting' | 'running') => all.reduce((total, one) => total + one[of], 0);
    const oldestMs = Math.max(0, ...all.map((one) => one.oldestMs));
    return { waiting: sum('waiting'), running: sum('running'), oldestMs };
  }

  /**
   * All that waits in a part, a page after the other, each safe before the next one, whether rows before it could be taken in or not. Nothing
   * comes in front of what was read: who takes a part changes its tenure first. Throws what the state says.
   */
  async takeAll(part: number, tasks: TasksControl, safe: () => Promise<void>): Promise<void> {
    // What stays, as a run that goes on elsewhere, is looked at again soon.
    this.#nextMs = 0;
    for (let behind: string | undefined; ; ) {
      const rows = await this.#options.inbox.look([part], behind);
      if (rows.length === 0) return;
      for (const row of rows) this.#show(tasks, row);
      behind = rows.at(-1)?.id;
      await safe();
    }
  }

  #later(): void {
    if (this.#stopped) return;
    this.#timer = this.#options.clock.setTimer(LOOK_MS, () => {
      // What is wrong with the database its commits find out, and say.
      this.#look()
        .catch(() => undefined)
        .finally(() => this.#later());
    });
  }

  async #look(): Promise<void> {
    const { inbox, clock, here, anyStandsIn } = this.#options;
    const parts = here();
    if (parts.length === 0 || (clock.now() < this.#nextMs && !anyStandsIn())) return;
    // Until it is known that nothing is.
    this.#nextMs = 0;
    const waiting = await inbox.waiting(parts);
    this.#found = { atMs: clock.now(), parts: waiting };
    if (waiting.length === 0) this.#nextMs = clock.now() + QUIET_LOOK_MS;
    else await this.#walkOn(waiting.map(({ part }) => part));
  }

  /** On from where the last look ended, to the end, and from the first row. */
  async #walkOn(parts: readonly number[]): Promise<void> {
    const from = this.#behind;
    this.#behind = undefined;
    if ((await this.#walk(parts, from)) && from !== undefined) await this.#walk(parts, undefined);
  }

  /** Page after page. A page of which nothing is taken in, which may be large, is the last one of a look: false. */
  async #walk(parts: readonly number[], from: string | undefined): Promise<boolean> {
    for (let behind = from; ; ) {
      const rows = await this.#options.inbox.look(parts, behind);
      if (rows.length === 0 || this.#stopped) return true;
      behind = rows.at(-1)?.id;
      if (!this.#showHere(rows)) {
        this.#behind = behind;
        return false;
      }
    }
  }

  /** Whether any was taken in. */
  #showHere(rows: readonly InboxRow[]): boolean {
    const { here, tasksOf } = this.#options;
    // Parts that were given up meanwhile are the next owner's.
    const still = new Set(here());
    let took = false;
    for (const row of rows) {
      const tasks = still.has(row.part) ? tasksOf(row.part) : undefined;
      if (tasks !== undefined && this.#show(tasks, row)) took = true;
    }
    return took;
  }

  #show(tasks: TasksControl, row: InboxRow): boolean {
    return tasks.takeIn(row, row.kind === 'do' && row.body === undefined && this.#options.isDead(row.epoch));
  }
}

/**
 * Tells whether a replica is dead: it gave no sign of life for a lease, or has had no row for one since it was first asked about. One that
 * has just come is not seen yet.
 */
export function deadReplicas(
  seat: { isDead(epoch: string): boolean; isGone(epoch: string): boolean },
  clock: Clock,
  leaseMs: number,
): (epoch: string) => boolean {
  const goneSince = new Map<string, number>();
  return (epoch) => {
    if (!seat.isGone(epoch)) {
      goneSince.delete(epoch);
      return seat.isDead(epoch);
    }
    const sinceMs = goneSince.get(epoch) ?? clock.now();
    goneSince.set(epoch, sinceMs);
    return clock.now() - sinceMs >= leaseMs;
  };
}
