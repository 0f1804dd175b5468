import type { PoolClient } from 'pg';
import { HostError } from '../../errors/index.js';
import { rangesOutside } from '../facts/part-keys.js';
import type { Connections } from './connections.js';
import { type PostgresPlace, placeText } from './place.js';

/** The names of one schema's tables, ready for a statement: `search_path` would be a setting of the session. */
export interface Tables {
  readonly facts: string;
  readonly payloads: string;
  readonly owner: string;
  readonly members: string;
  readonly inbox: string;
  readonly format: string;
}

export function tablesOf(schema: string): Tables {
  const table = (name: string) => `${quoted(schema)}.${name}`;
  return {
    facts: table('facts'),
    payloads: table('payloads'),
    owner: table('owner'),
    members: table('members'),
    inbox: table('inbox'),
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
  {
    // One row of owners is part 0 of one, which a release before knows as the only row; it leaves tenures as they are.
    readableBy: 1,
    statements: ({ owner, members }) => [
      `ALTER TABLE ${owner} DROP CONSTRAINT owner_pkey, ADD COLUMN part int NOT NULL DEFAULT 0 PRIMARY KEY,
        ADD COLUMN tenure bigint NOT NULL DEFAULT 0, ADD COLUMN needs text[] NOT NULL DEFAULT '{}', ADD COLUMN least_version text,
        ADD COLUMN has_limits boolean NOT NULL DEFAULT false`,
      `ALTER TABLE ${members} ADD COLUMN says jsonb`,
    ],
  },
  {
    // Nothing is put there while a replica lives that does not look at it.
    readableBy: 1,
    statements: ({ inbox }) => [
      `CREATE TABLE ${inbox} (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, part int NOT NULL, kind text NOT NULL,
        key text COLLATE "C" NOT NULL, name text COLLATE "C" NOT NULL, epoch text NOT NULL, body bytea,
        at timestamptz NOT NULL DEFAULT now(), UNIQUE (part, kind, key, name)) WITH (autovacuum_vacuum_threshold = 1000)`,
    ],
  },
];

/** The step that gave each part a row of owners: a release before it must not open a state of several. */
const PARTED_STEP = 3;

/** The step that made the inbox. */
export const INBOX_STEP = 4;

/** Held while a schema is looked at and changed; of this program alone. */
const LOCK = 'webapi-plugin-host migration';

/**
 * Brings the schema up to this release, once, however many daemons start at a time, with a row of owners for each of `parts`, or as many as
 * there are; answers how many. A schema of a later
 * release is left as it is where that release says so. Throws STATE_FORMAT_NEWER where it does not, STATE_FOREIGN where the tables are
 * another's, or the state is divided into another number of parts.
 */
export function migrate(connections: Connections, place: PostgresPlace, parts: number | undefined): Promise<number> {
  const { owner } = tablesOf(place.schema);
  return connections.transaction(async (client) => {
    await client.query('SELECT pg_advisory_xact_lock(hashtext($1), hashtext($2))', [LOCK, place.schema]);
    const version = await versionOf(client, place);
    if (version < MIGRATIONS.length) await bringUp(client, place, version);
    const { rows } = await client.query<{ count: number }>(`SELECT count(*)::int AS count FROM ${owner}`);
    const count = rows[0]?.count ?? 0;
    if (parts !== undefined && count !== parts) await divide(client, place, count, parts);
    return parts ?? count;
  });
}

async function bringUp(client: PoolClient, place: PostgresPlace, version: number): Promise<void> {
  const tables = tablesOf(place.schema);
  if (version === 0) await begin(client, place, tables);
  for (const migration of MIGRATIONS.slice(version)) {
    for (const statement of migration.statements(tables)) await client.query(statement);
  }
  const readableBy = MIGRATIONS.at(-1)?.readableBy ?? 1;
  // What a state that is divided says of itself stays.
  await client.query(`UPDATE ${tables.format} SET version = $1, readable_by = greatest(readable_by, $2)`, [
    MIGRATIONS.length,
    readableBy,
  ]);
}

/** Once for a state, while nobody has it. `had`: rows of owners. */
async function divide(client: PoolClient, place: PostgresPlace, had: number, parts: number): Promise<void> {
  const { owner, facts, format } = tablesOf(place.schema);
  if (had !== 1 || (await holdsOthers(client, facts, parts))) {
    throw new HostError(
      'STATE_FOREIGN',
      `the state in PostgreSQL at ${placeText(place)} is not divided into ${parts} parts; set state.parts to ${had === 1 ? 'the number that it was begun with' : had}`,
    );
  }
  // Held, so that who takes it meanwhile takes one of several.
  const { rows } = await client.query<{ epoch: string | null }>(`SELECT epoch FROM ${owner} FOR UPDATE`);
  // It would write what it has as one, which none that has parts of it reads.
  if (rows.some(({ epoch }) => epoch !== null)) {
    throw new HostError(
      'STATE_LOCKED',
      `the state in PostgreSQL at ${placeText(place)} was just begun as one by another daemon; stop that, or give all the same state.parts`,
    );
  }
  await client.query(
    `INSERT INTO ${owner} (part, tenure) SELECT n, tenure FROM ${owner}, generate_series(1, $1::int - 1) AS n`,
    [parts],
  );
  await client.query(`UPDATE ${format} SET readable_by = greatest(readable_by, $1)`, [PARTED_STEP]);
}

/** Whether there are facts that belong to none of so many parts. */
async function holdsOthers(client: PoolClient, facts: string, parts: number): Promise<boolean> {
  for (const { after = '', before = null } of rangesOutside(parts)) {
    const { rows } = await client.query(
      `SELECT FROM ${facts} WHERE key > $1 AND ($2::text IS NULL OR key < $2) LIMIT 1`,
      [after, before],
    );
    if (rows.length > 0) return true;
  }
  return false;
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
