import { HostError } from '../../errors/index.js';
import type { Clock } from '../../lib/clock.js';
import type { Inspection } from '../inspection.js';
import { Connections } from './connections.js';
import { Ownership } from './ownership.js';
import { type PostgresPlace, placeText } from './place.js';
import { measure, pages } from './rows.js';
import { INBOX_STEP, schemaVersion, type Tables, tablesOf } from './schema.js';

/**
 * Opens a schema that no daemon has, and makes nothing where nothing is. Waits a lease where a daemon was killed. Throws
 * STATE_LOCKED where one lives, STATE_FOREIGN where there is no state, STATE_FORMAT_NEWER for that of a later release.
 */
export async function openDatabaseForInspection(place: PostgresPlace, clock: Clock): Promise<Inspection> {
  const connections = await Connections.open(place);
  try {
    const tables = tablesOf(place.schema);
    const version = await schemaVersion(connections, place);
    if (version === 0) {
      throw new HostError('STATE_FOREIGN', `there is no state in PostgreSQL at ${placeText(place)}`);
    }
    await new Ownership(connections, place, tables, clock).assertNobodys();
    const sizeBytes = await measure(connections, tables);
    const waiting = version < INBOX_STEP ? 0 : await countWaiting(connections, tables);
    return {
      lastCommit: undefined,
      problem: undefined,
      sizeBytes,
      waiting,
      pairs: async function* () {
        for await (const page of pages(connections, tables)) yield* page;
      },
      close: () => connections.close(),
    };
  } catch (error) {
    await connections.close().catch(() => undefined);
    throw error;
  }
}

/** Promises that are in no fact yet. Of a run of Do that has no end nobody was told. */
export async function countWaiting(connections: Connections, { inbox }: Tables): Promise<number> {
  const [found] = await connections.run<{ count: number }>(
    `SELECT count(*)::int AS count FROM ${inbox} WHERE body IS NOT NULL`,
  );
  return found?.count ?? 0;
}
