import { randomBytes } from 'node:crypto';
import os from 'node:os';
import { HostError } from '../../errors/index.js';
import type { Clock, Timer } from '../../lib/clock.js';
import type { Connections } from './connections.js';
import { type PostgresPlace, placeText } from './place.js';
import type { Tables } from './schema.js';
import { leaveStatement } from './statements.js';

/** Of one part. */
interface Owner {
  readonly part: number;
  readonly epoch: string | null;
  readonly tenure: string;
  readonly name: string | null;
  readonly counter: string | null;
}

/**
 * Whose the state is, with all its parts. The owner's row of each names a random epoch, which every commit compares under a lock: who was taken for dead
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
  readonly #tenures = new Map<number, string>();
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
    const { owner, members } = this.#tables;
    // All of it or nothing: the rows are locked in order before any is changed.
    const taken = await this.#connections.run<{ part: number; tenure: string }>(
      `WITH seen AS (
          SELECT o.part FROM ${owner} o, unnest($3::int[], $4::text[], $5::bigint[]) AS w (part, epoch, tenure)
          WHERE o.part = w.part AND o.epoch IS NOT DISTINCT FROM w.epoch AND o.tenure = w.tenure ORDER BY o.part FOR UPDATE OF o
        ),
        mine AS (
          UPDATE ${owner} SET epoch = $1, name = $2, tenure = tenure + 1
          WHERE part IN (SELECT part FROM seen) AND (SELECT count(*) FROM seen) = (SELECT count(*) FROM ${owner}) RETURNING part, tenure
        ),
        gone AS (DELETE FROM ${members} WHERE epoch = ANY($4) AND EXISTS (SELECT FROM mine)),
        here AS (INSERT INTO ${members} (epoch, name, counter) SELECT $1, $2, 0 WHERE EXISTS (SELECT FROM mine))
      SELECT part, tenure::text AS tenure FROM mine`,
      [
        this.epoch,
        this.name,
        before.map(({ part }) => part),
        before.map(({ epoch }) => epoch),
        before.map(({ tenure }) => tenure),
      ],
    );
    if (taken.length === 0) throw this.#lockedBy(someone(await this.#owners()));
    for (const { part, tenure } of taken) this.#tenures.set(part, tenure);
    this.#renewLater();
  }

  /** Waits up to a lease; answers whose the parts were. Throws STATE_LOCKED where one of those lives. */
  async assertNobodys(stop?: AbortSignal): Promise<readonly Owner[]> {
    const before = await this.#owners();
    if (someone(before) === undefined) return before;
    await pause(this.#clock, this.#place.leaseMs, stop);
    stop?.throwIfAborted();
    const now = await this.#owners();
    const moved = now.filter(({ epoch, counter }, i) => epoch !== before[i]?.epoch || counter !== before[i]?.counter);
    if (moved.length > 0) throw this.#lockedBy(someone(moved));
    return now;
  }

  /** Throws STATE_LOCKED once another one has the state. */
  tenureOf(part: number): string {
    const tenure = this.#tenures.get(part);
    if (this.#lost || tenure === undefined) throw this.lostIt();
    return tenure;
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
    await this.#connections.run(leaveStatement(this.#tables), [this.epoch]);
  }

  /** Of a schema that was not brought up as well, as an inspection finds it. */
  #owners(): Promise<readonly Owner[]> {
    const { owner, members } = this.#tables;
    return this.#connections.run<Owner & Record<string, unknown>>(
      `SELECT coalesce((to_jsonb(o) ->> 'part')::int, 0) AS part, o.epoch, coalesce(to_jsonb(o) ->> 'tenure', '0') AS tenure,
        o.name, m.counter::text AS counter
      FROM ${owner} o LEFT JOIN ${members} m ON m.epoch = o.epoch ORDER BY 1`,
    );
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

  #lockedBy(owner: Owner | undefined): HostError {
    return new HostError(
      'STATE_LOCKED',
      `the state in PostgreSQL at ${placeText(this.#place)} belongs to a daemon that lives (${owner?.name ?? 'it just started'}); stop it, or give this one a state.postgres.schema of its own`,
    );
  }
}

/** One that has a part; undefined where nobody has any. */
function someone(owners: readonly Owner[]): Owner | undefined {
  return owners.find(({ epoch }) => epoch !== null);
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
