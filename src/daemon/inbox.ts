import type { Clock, Timer } from '../lib/clock.js';
import type { Inbox, InboxRow } from '../state/index.js';
import type { TasksControl } from '../tasks/tasks.js';

/** Between two looks. Milliseconds. */
const LOOK_MS = 1_000;

export interface InboxLooksOptions {
  readonly inbox: Pick<Inbox, 'look'>;
  readonly clock: Clock;
  /** Whether a replica is dead for sure: it runs nothing any more. */
  readonly isDead: (epoch: string) => boolean;
  /** The parts that are this replica's to answer for. */
  readonly here: () => readonly number[];
  /** Undefined of a part that is not here. */
  readonly tasksOf: (part: number) => TasksControl | undefined;
}

/**
 * Brings what stand-ins have put to the owner that is to take it in: all that waits in a part before any call about it is answered, and
 * once a second what was put by replicas that this one could not be reached from.
 *
 * States: made → `start` → looking → `stop` → stopped.
 */
export class InboxLooks {
  readonly #options: InboxLooksOptions;
  #timer: Timer | undefined;
  #stopped = false;

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

  /** All that waits in a part, a page after the other, each safe before the next one. Throws what the state says. */
  async takeAll(part: number, tasks: TasksControl, safe: () => Promise<void>): Promise<void> {
    const shown = new Set<string>();
    for (;;) {
      const rows = await this.#options.inbox.look([part]);
      const fresh = rows.filter(({ id }) => !shown.has(id));
      if (fresh.length === 0) return;
      for (const row of fresh) {
        shown.add(row.id);
        this.#show(tasks, row);
      }
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
    const { inbox, here, tasksOf } = this.#options;
    const parts = here();
    if (parts.length === 0) return;
    const rows = await inbox.look(parts);
    // Parts that were given up meanwhile are the next owner's.
    const still = new Set(here());
    for (const row of rows) {
      const tasks = still.has(row.part) ? tasksOf(row.part) : undefined;
      if (tasks !== undefined && !this.#stopped) this.#show(tasks, row);
    }
  }

  #show(tasks: TasksControl, row: InboxRow): void {
    tasks.takeIn(row, row.kind === 'do' && row.body === undefined && this.#options.isDead(row.epoch));
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
