import { HostError } from '../../errors/index.js';
import type {
  Joining,
  LastOwner,
  MemberRow,
  MemberSays,
  MembersView,
  MemberTable,
  PartNeeds,
  PartRow,
  Tenure,
} from '../members.js';
import { Connections } from './connections.js';
import type { PostgresPlace } from './place.js';
import { type Patience, reached } from './reach.js';
import { migrate, type Tables, tablesOf } from './schema.js';
import { leaveStatement } from './statements.js';

/** As the server builds them, by position: names would be most of what a look carries. */
type Part = [string | null, string, readonly string[], string | null, boolean];
type Member = [
  epoch: string,
  name: string,
  address: string | null,
  version: string | null,
  counter: string,
  joinedMs: number | null,
  ownsMs: number | null,
  says: MemberSays | null,
];

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
  readonly #parts: number;
  #connections: Connections | undefined;

  /** `parts`: how many the state is divided into. */
  constructor(patience: Patience, parts: number) {
    const { place } = patience;
    const most = Math.floor(place.leaseMs / TRIES_A_LEASE);
    const within = {
      connectTimeoutMs: Math.min(place.connectTimeoutMs, most),
      statementTimeoutMs: Math.min(place.statementTimeoutMs, most),
      lockTimeoutMs: Math.min(place.lockTimeoutMs, Math.floor(most / 2)),
    };
    this.#place = { ...place, ...within, connections: CONNECTIONS };
    this.#patience = patience;
    this.#parts = parts;
    this.#tables = tablesOf(place.schema);
  }

  /** Waits for a server that cannot be reached yet, and brings the schema up. Throws as `StateEngine.open`. */
  async open(stop?: AbortSignal): Promise<void> {
    const { place, onSecret } = this.#patience;
    const first = await Connections.open(place, onSecret);
    try {
      await reached(first, this.#patience, stop);
      await migrate(first, place, this.#parts);
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

  async join({ epoch, name, address, version, config, says }: Joining): Promise<void> {
    await this.#run(
      `INSERT INTO ${this.#tables.members} AS m (epoch, name, counter, address, version, config, says, joined_at)
      VALUES ($1, $2, 0, $3, $4, $5, $6, now())
      ON CONFLICT (epoch) DO UPDATE SET counter = m.counter + 1, says = excluded.says`,
      [epoch, name, address ?? null, version ?? null, config ?? null, says],
    );
  }

  renew(epoch: string): Promise<boolean> {
    return this.#did(`UPDATE ${this.#tables.members} SET counter = counter + 1 WHERE epoch = $1 RETURNING 1 AS done`, [
      epoch,
    ]);
  }

  async look(): Promise<MembersView> {
    const { owner, members } = this.#tables;
    const ms = (column: string) => `(extract(epoch FROM ${column}) * 1000)::float8`;
    const [row] = await this.#run<{ parts: readonly Part[]; members: readonly Member[] }>(
      `SELECT (
          SELECT coalesce(json_agg(json_build_array(epoch, tenure::text, needs, least_version, has_limits) ORDER BY part), '[]') FROM ${owner}
        ) AS parts, (
          SELECT coalesce(json_agg(json_build_array(epoch, name, address, version, counter::text, ${ms('joined_at')}, ${ms('owns_since')}, says)
            ORDER BY joined_at, epoch), '[]') FROM ${members}
        ) AS members`,
    );
    return { parts: row?.parts.map(partOf) ?? [], members: row?.members.map(memberOf) ?? [] };
  }

  /**
   * The last owner's row of a member goes first, by its counter: its renewal and this statement meet at that row's lock, and whichever comes
   * second finds that the other one was there. Commits hold the owner's row, so that those under way are in what is loaded.
   */
  async take(epoch: string, part: number, from: LastOwner): Promise<string | undefined> {
    const { owner, members } = this.#tables;
    const [taken] = await this.#run<{ tenure: string }>(
      `WITH gone AS (DELETE FROM ${members} WHERE epoch = $2 AND counter = $3::bigint RETURNING 1),
        mine AS (
          UPDATE ${owner} SET epoch = $1, name = (SELECT name FROM ${members} WHERE epoch = $1), tenure = tenure + 1
          WHERE part = $4 AND tenure = $5::bigint AND epoch IS NOT DISTINCT FROM $2 AND EXISTS (SELECT FROM ${members} WHERE epoch = $1)
            AND (EXISTS (SELECT FROM gone) OR NOT EXISTS (SELECT FROM ${members} WHERE epoch = $2))
          RETURNING tenure
        ),
        here AS (
          UPDATE ${members} SET owns_since = coalesce(owns_since, now()) WHERE epoch = $1 AND EXISTS (SELECT FROM mine)
        )
      SELECT tenure::text AS tenure FROM mine`,
      [epoch, from.owner ?? null, from.counter ?? null, part, from.tenure],
    );
    return taken?.tenure;
  }

  give({ epoch, part, tenure }: Tenure): Promise<boolean> {
    return this.#did(
      `WITH free AS (
          UPDATE ${this.#tables.owner} SET epoch = NULL, name = NULL WHERE part = $2 AND epoch = $1 AND tenure = $3::bigint RETURNING 1 AS done
        ),
        idle AS (
          UPDATE ${this.#tables.members} SET owns_since = NULL WHERE epoch = $1
            AND NOT EXISTS (SELECT FROM ${this.#tables.owner} WHERE epoch = $1 AND part <> $2)
        )
      SELECT done FROM free`,
      [epoch, part, tenure],
    );
  }

  describe({ epoch, part, tenure }: Tenure, { plugins, leastVersion, hasLimits }: PartNeeds): Promise<boolean> {
    return this.#did(
      `UPDATE ${this.#tables.owner} SET needs = $4, least_version = $5, has_limits = $6
      WHERE part = $2 AND epoch = $1 AND tenure = $3::bigint RETURNING 1 AS done`,
      [epoch, part, tenure, plugins, leastVersion ?? null, hasLimits],
    );
  }

  say(epoch: string, says: MemberSays): Promise<boolean> {
    return this.#did(`UPDATE ${this.#tables.members} SET says = $2 WHERE epoch = $1 RETURNING 1 AS done`, [
      epoch,
      says,
    ]);
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
    await this.#run(leaveStatement(this.#tables), [epoch]);
  }

  async #did(text: string, values: readonly unknown[]): Promise<boolean> {
    return (await this.#run(text, values)).length > 0;
  }

  #run<R extends Record<string, unknown>>(text: string, values: readonly unknown[] = []): Promise<readonly R[]> {
    if (this.#connections === undefined) {
      return Promise.reject(new HostError('STATE_UNWRITABLE', 'the rows of the replicas are not open'));
    }
    return this.#connections.run<R>(text, values);
  }
}

function partOf([owner, tenure, plugins, leastVersion, hasLimits]: Part, part: number): PartRow {
  const needs = { plugins, leastVersion: leastVersion ?? undefined, hasLimits };
  return { part, owner: owner ?? undefined, tenure, needs };
}

function memberOf([epoch, name, address, version, counter, joinedMs, ownsMs, says]: Member): MemberRow {
  return {
    epoch,
    name,
    address: address ?? undefined,
    version: version ?? undefined,
    counter,
    joinedAtMs: joinedMs ?? undefined,
    ownsSinceMs: ownsMs ?? undefined,
    says: says ?? undefined,
  };
}
