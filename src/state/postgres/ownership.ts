import { randomBytes } from 'node:crypto';
import os from 'node:os';
import { HostError } from '../../errors/index.js';
import type { Clock, Timer } from '../../lib/clock.js';
import type { Connections } from './connections.js';
import { type PostgresPlace, placeText } from './place.js';
import type { Tables } from './schema.js';

interface Owner {
  readonly epoch: string | null;
  readonly name: string | null;
  readonly counter: string | null;
}

/**
 * Whose the state is. The owner's row names a random epoch, which every commit compares under a lock: who was taken for dead
 * and wakes late writes nothing. Whether an owner lives is seen by a counter that it raises three times a lease; who wants the
 * state takes it once the counter stood still for a lease on its own clock. Nobody's wall clock is asked.
 *
 * States: none → own (`claim`) → lost (another one took it: for good) or given back (`release`).
 */
export class Ownership {
  readonly #connections: Connections;
  readonly #place: PostgresPlace;
  readonly #tables: Tables;
  readonly #clock: Clock;
  readonly epoch = randomBytes(8).toString('hex');
  readonly name = `${os.hostname()}, process ${process.pid}`;
  #renewal: Timer | undefined;
  #lost = false;
  #released = false;

  constructor(connections: Connections, place: PostgresPlace, tables: Tables, clock: Clock) {
    this.#connections = connections;
    this.#place = place;
    this.#tables = tables;
    this.#clock = clock;
  }

  /** Waits up to a lease where another one had the state last. Throws STATE_LOCKED where that one lives. */
  async claim(stop?: AbortSignal): Promise<void> {
    const before = await this.assertNobodys(stop);
    const [taken] = await this.#connections.run<{ mine: number }>(
      `WITH mine AS (UPDATE ${this.#tables.owner} SET epoch = $1, name = $2 WHERE epoch IS NOT DISTINCT FROM $3 RETURNING 1),
        gone AS (DELETE FROM ${this.#tables.members} WHERE epoch = $3),
        here AS (INSERT INTO ${this.#tables.members} SELECT $1, $2, 0 FROM mine)
      SELECT count(*)::int AS mine FROM mine`,
      [this.epoch, this.name, before],
    );
    if (taken?.mine !== 1) throw this.#lockedBy(await this.#owner());
    this.#renewLater();
  }

  /** Answers the epoch of an owner that gave no sign of life for a lease, null where there is none. Throws STATE_LOCKED for one that lives. */
  async assertNobodys(stop?: AbortSignal): Promise<string | null> {
    const before = await this.#owner();
    if (before.epoch === null) return null;
    await pause(this.#clock, this.#place.leaseMs, stop);
    stop?.throwIfAborted();
    const now = await this.#owner();
    if (now.epoch !== before.epoch || now.counter !== before.counter) throw this.#lockedBy(now);
    return before.epoch;
  }

  /** Throws STATE_LOCKED once another one has the state. */
  assertHeld(): void {
    if (this.#lost) throw this.lostIt();
  }

  /** A commit found another epoch in its place. */
  lostIt(): HostError {
    this.#lost = true;
    this.#renewal?.cancel();
    return new HostError(
      'STATE_LOCKED',
      `the state in PostgreSQL at ${placeText(this.#place)} was taken over by another daemon, which took this one for dead; nothing of this one is written any more, and it has to be started again`,
    );
  }

  /** For who starts next: it need not wait a lease. */
  async release(): Promise<void> {
    this.#released = true;
    this.#renewal?.cancel();
    if (this.#lost) return;
    await this.#connections.run(
      `WITH mine AS (UPDATE ${this.#tables.owner} SET epoch = NULL, name = NULL WHERE epoch = $1)
      DELETE FROM ${this.#tables.members} WHERE epoch = $1`,
      [this.epoch],
    );
  }

  async #owner(): Promise<Owner> {
    const [owner] = await this.#connections.run<Owner>(
      `SELECT o.epoch, o.name, m.counter::text AS counter FROM ${this.#tables.owner} o LEFT JOIN ${this.#tables.members} m USING (epoch)`,
    );
    return owner ?? { epoch: null, name: null, counter: null };
  }

  #renewLater(): void {
    this.#renewal = this.#clock.setTimer(this.#place.leaseMs / 3, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    try {
      const rows = await this.#connections.run(
        `UPDATE ${this.#tables.members} SET counter = counter + 1 WHERE epoch = $1 RETURNING 1 AS mine`,
        [this.epoch],
      );
      if (rows.length === 0) this.#lost = true;
    } catch {
      // The commits tell what is wrong with the database.
    }
    if (!this.#lost && !this.#released) this.#renewLater();
  }

  #lockedBy({ name }: Owner): HostError {
    return new HostError(
      'STATE_LOCKED',
      `the state in PostgreSQL at ${placeText(this.#place)} belongs to a daemon that lives (${name ?? 'it just started'}); stop it, or give this one a state.postgres.schema of its own`,
    );
  }
}

/** Resolves after a while, or once `stop` says so. */
export function pause(clock: Clock, ms: number, stop: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.setTimer(ms, done);
    stop?.addEventListener('abort', done, { once: true });
    function done(): void {
      timer.cancel();
      stop?.removeEventListener('abort', done);
      resolve();
    }
    if (stop?.aborted === true) done();
  });
}
