import { HostError } from '../../errors/index.js';
import type { Joining, LastOwner, MemberRow, MembersView, MemberTable } from '../members.js';
import { Connections } from './connections.js';
import type { PostgresPlace } from './place.js';
import { type Patience, reached } from './reach.js';
import { migrate, type Tables, tablesOf } from './schema.js';

type Row = {
  readonly owner: string | null;
  readonly epoch: string | null;
  readonly name: string;
  readonly address: string | null;
  readonly version: string | null;
  readonly counter: string;
  readonly joined_ms: number | null;
  readonly owns_ms: number | null;
};

/** One that renews and one that looks: what the facts need does not hold them up. */
const CONNECTIONS = 2;
/** A renewal that is not answered by then is asked for again within the same lease. */
const TRIES_A_LEASE = 3;

/**
 * The rows of replicas in PostgreSQL, on connections of their own.
 *
 * States: closed → `open` → open → `close`. A statement that was given up here may be done there all the same; each of them says by itself
 * under which condition it may.
 */
export class PostgresMembers implements MemberTable {
  readonly #place: PostgresPlace;
  readonly #tables: Tables;
  readonly #patience: Patience;
  #connections: Connections | undefined;

  constructor(patience: Patience) {
    const { place } = patience;
    const most = Math.floor(place.leaseMs / TRIES_A_LEASE);
    const within = {
      connectTimeoutMs: Math.min(place.connectTimeoutMs, most),
      statementTimeoutMs: Math.min(place.statementTimeoutMs, most),
      lockTimeoutMs: Math.min(place.lockTimeoutMs, Math.floor(most / 2)),
    };
    this.#place = { ...place, ...within, connections: CONNECTIONS };
    this.#patience = patience;
    this.#tables = tablesOf(place.schema);
  }

  /** Waits for a server that cannot be reached yet, and brings the schema up. Throws as `StateEngine.open`. */
  async open(stop?: AbortSignal): Promise<void> {
    const { place, onSecret } = this.#patience;
    const first = await Connections.open(place, onSecret);
    try {
      await reached(first, this.#patience, stop);
      await migrate(first, place);
    } finally {
      await first.close().catch(() => undefined);
    }
    this.#connections = await Connections.open(this.#place, onSecret);
  }

  async close(): Promise<void> {
    const connections = this.#connections;
    this.#connections = undefined;
    await connections?.close();
  }

  async join({ epoch, name, address, version, config }: Joining): Promise<void> {
    await this.#run(
      `INSERT INTO ${this.#tables.members} AS m (epoch, name, counter, address, version, config, joined_at)
      VALUES ($1, $2, 0, $3, $4, $5, now())
      ON CONFLICT (epoch) DO UPDATE SET counter = m.counter + 1`,
      [epoch, name, address ?? null, version ?? null, config ?? null],
    );
  }

  async renew(epoch: string): Promise<boolean> {
    const rows = await this.#run(
      `UPDATE ${this.#tables.members} SET counter = counter + 1 WHERE epoch = $1 RETURNING 1 AS mine`,
      [epoch],
    );
    return rows.length > 0;
  }

  async look(): Promise<MembersView> {
    const ms = (column: string) => `(extract(epoch FROM ${column}) * 1000)::float8`;
    const rows = await this.#run<Row>(
      `SELECT o.epoch AS owner, m.epoch, m.name, m.address, m.version, m.counter::text AS counter,
        ${ms('m.joined_at')} AS joined_ms, ${ms('m.owns_since')} AS owns_ms
      FROM ${this.#tables.owner} o LEFT JOIN ${this.#tables.members} m ON true ORDER BY m.joined_at, m.epoch`,
    );
    return { owner: rows[0]?.owner ?? undefined, members: rows.flatMap(memberOf) };
  }

  /**
   * The last owner's row goes first, by its counter: its renewal and this statement meet at that row's lock, and whichever comes second
   * finds that the other one was there. Commits hold the owner's row, so that those under way are in what is loaded.
   */
  async take(epoch: string, from: LastOwner | undefined): Promise<boolean> {
    const { owner, members } = this.#tables;
    const [taken] = await this.#run<{ mine: number }>(
      `WITH gone AS (DELETE FROM ${members} WHERE epoch = $2 AND counter = $3::bigint RETURNING 1),
        mine AS (
          UPDATE ${owner} SET epoch = $1, name = (SELECT name FROM ${members} WHERE epoch = $1)
          WHERE epoch IS NOT DISTINCT FROM $2 AND EXISTS (SELECT FROM ${members} WHERE epoch = $1)
            AND (EXISTS (SELECT FROM gone) OR NOT EXISTS (SELECT FROM ${members} WHERE epoch = $2))
          RETURNING 1
        ),
        here AS (UPDATE ${members} SET owns_since = now() WHERE epoch = $1 AND EXISTS (SELECT FROM mine))
      SELECT count(*)::int AS mine FROM mine`,
      [epoch, from?.epoch ?? null, from?.counter ?? null],
    );
    return taken?.mine === 1;
  }

  async configOf(epoch: string): Promise<string | undefined> {
    const [row] = await this.#run<{ config: string | null }>(
      `SELECT config FROM ${this.#tables.members} WHERE epoch = $1`,
      [epoch],
    );
    return row?.config ?? undefined;
  }

  async forget(epoch: string, counter: string): Promise<void> {
    const { owner, members } = this.#tables;
    await this.#run(
      `DELETE FROM ${members} WHERE epoch = $1 AND counter = $2::bigint AND NOT EXISTS (SELECT FROM ${owner} WHERE epoch = $1)`,
      [epoch, counter],
    );
  }

  async leave(epoch: string): Promise<void> {
    const { owner, members } = this.#tables;
    await this.#run(
      `WITH mine AS (UPDATE ${owner} SET epoch = NULL, name = NULL WHERE epoch = $1)
      DELETE FROM ${members} WHERE epoch = $1`,
      [epoch],
    );
  }

  #run<R extends Record<string, unknown>>(text: string, values: readonly unknown[] = []): Promise<readonly R[]> {
    if (this.#connections === undefined) {
      return Promise.reject(new HostError('STATE_UNWRITABLE', 'the rows of the replicas are not open'));
    }
    return this.#connections.run<R>(text, values);
  }
}

function memberOf(row: Row): MemberRow[] {
  if (row.epoch === null) return [];
  return [
    {
      epoch: row.epoch,
      name: row.name,
      address: row.address ?? undefined,
      version: row.version ?? undefined,
      counter: row.counter,
      joinedAtMs: row.joined_ms ?? undefined,
      ownsSinceMs: row.owns_ms ?? undefined,
    },
  ];
}
