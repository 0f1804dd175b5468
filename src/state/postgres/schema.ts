import type { PoolClient } from 'pg';
import { HostError } from '../../errors/index.js';
import type { Connections } from './connections.js';
import { type PostgresPlace, placeText } from './place.js';

/** The names of one schema's tables, ready for a statement: `search_path` would be a setting of the session. */
export interface Tables {
  readonly facts: string;
  readonly payloads: string;
  readonly owner: string;
  readonly members: string;
  readonly format: string;
}

export function tablesOf(schema: string): Tables {
  const table = (name: string) => `${quoted(schema)}.${name}`;
  return {
    facts: table('facts'),
    payloads: table('payloads'),
    owner: table('owner'),
    members: table('members'),
    format: table('format'),
  };
}

function quoted(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** One step of the schema. `readableBy`: the oldest step whose release may go on working once this one is made. */
interface Migration {
  readonly readableBy: number;
  statements(tables: Tables): readonly string[];
}

/**
 * Small rows that change have room on their page and no index but their key's, so that an update stays there (HOT) and touches
 * no index. What is written once lies apart, so that an update never carries it along. Keys are bytes: no collation is asked.
 */
const MIGRATIONS: readonly Migration[] = [
  {
    readableBy: 1,
    statements: ({ facts, payloads, owner, members }) => [
      `CREATE TABLE ${facts} (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL)
        WITH (fillfactor = 60, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 5000)`,
      `CREATE TABLE ${payloads} (key text COLLATE "C" PRIMARY KEY, value bytea NOT NULL)
        WITH (autovacuum_vacuum_scale_factor = 0.05)`,
      // Its row is locked by every commit; the counter that a living daemon raises is elsewhere, so that neither waits.
      `CREATE TABLE ${owner} (one boolean PRIMARY KEY DEFAULT true CHECK (one), epoch text, name text)`,
      `INSERT INTO ${owner} DEFAULT VALUES`,
      `CREATE TABLE ${members} (epoch text PRIMARY KEY, name text NOT NULL, counter bigint NOT NULL) WITH (fillfactor = 10)`,
    ],
  },
  {
    // Who has the state goes by the same rows as before; a release that knows no replicas leaves these columns empty.
    readableBy: 1,
    statements: ({ members }) => [
      `ALTER TABLE ${members} ADD COLUMN address text, ADD COLUMN version text, ADD COLUMN joined_at timestamptz,
        ADD COLUMN owns_since timestamptz, ADD COLUMN config text`,
    ],
  },
];

/** Held while a schema is looked at and changed; of this program alone. */
const LOCK = 'webapi-plugin-host migration';

/**
 * Brings the schema up to this release, once, however many daemons start at a time. A schema of a later release is left as it
 * is where that release says so. Throws STATE_FORMAT_NEWER where it does not, STATE_FOREIGN where the tables are another's.
 */
export async function migrate(connections: Connections, place: PostgresPlace): Promise<void> {
  const tables = tablesOf(place.schema);
  await connections.transaction(async (client) => {
    await client.query('SELECT pg_advisory_xact_lock(hashtext($1), hashtext($2))', [LOCK, place.schema]);
    const version = await versionOf(client, place);
    if (version >= MIGRATIONS.length) return;
    if (version === 0) await begin(client, place, tables);
    for (const migration of MIGRATIONS.slice(version)) {
      for (const statement of migration.statements(tables)) await client.query(statement);
    }
    const readableBy = MIGRATIONS.at(-1)?.readableBy ?? 1;
    await client.query(`UPDATE ${tables.format} SET version = $1, readable_by = $2`, [MIGRATIONS.length, readableBy]);
  });
}

/** The step that the schema is at; 0 where there is none yet. Changes nothing. */
export async function schemaVersion(connections: Connections, place: PostgresPlace): Promise<number> {
  return connections.transaction((client) => versionOf(client, place));
}

async function versionOf(client: PoolClient, place: PostgresPlace): Promise<number> {
  const known = MIGRATIONS.length;
  const { format } = tablesOf(place.schema);
  const { rows } = await client.query<{ there: boolean }>('SELECT to_regclass($1) IS NOT NULL AS there', [format]);
  if (rows[0]?.there !== true) return 0;
  const found = await client.query<{ version: number; readable_by: number }>(
    `SELECT version, readable_by FROM ${format}`,
  );
  const { version = 0, readable_by: readableBy = 0 } = found.rows[0] ?? {};
  if (version > known && readableBy > known) {
    throw new HostError(
      'STATE_FORMAT_NEWER',
      `the state in PostgreSQL at ${placeText(place)} has format ${version}, this release knows ${known}; start the release that made it, or a later one`,
    );
  }
  return version;
}

/** `CREATE SCHEMA IF NOT EXISTS` asks for the right to make one also where it exists. */
async function begin(client: PoolClient, place: PostgresPlace, { format }: Tables): Promise<void> {
  const { rows } = await client.query<{ there: boolean; taken: string | null }>(
    `SELECT to_regnamespace($1) IS NOT NULL AS there,
      (SELECT string_agg(tablename, ', ') FROM pg_tables WHERE schemaname = $2) AS taken`,
    [quoted(place.schema), place.schema],
  );
  const taken = rows[0]?.taken ?? null;
  if (taken !== null) {
    throw new HostError(
      'STATE_FOREIGN',
      `schema ${place.schema} in PostgreSQL at ${placeText(place)} holds tables of something else (${taken.slice(0, 200)}); set state.postgres.schema to one of the daemon's own`,
    );
  }
  if (rows[0]?.there !== true) await client.query(`CREATE SCHEMA ${quoted(place.schema)}`);
  await client.query(`CREATE TABLE ${format} (version int NOT NULL, readable_by int NOT NULL)`);
  await client.query(`INSERT INTO ${format} VALUES (0, 0)`);
}
