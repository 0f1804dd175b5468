import { HostError } from '../../errors/index.js';
import type { Clock } from '../../lib/clock.js';
import type { Inspection } from '../inspection.js';
import { Connections } from './connections.js';
import { Ownership } from './ownership.js';
import { type PostgresPlace, placeText } from './place.js';
import { measure, pages } from './rows.js';
import { schemaVersion, tablesOf } from './schema.js';

/**
 * Opens a schema that no daemon has, and makes nothing where nothing is. Waits a lease where a daemon was killed. Throws
 * STATE_LOCKED where one lives, STATE_FOREIGN where there is no state, STATE_FORMAT_NEWER for that of a later release.
 */
export async function openDatabaseForInspection(place: PostgresPlace, clock: Clock): Promise<Inspection> {
  const connections = await Connections.open(place);
  try {
    const tables = tablesOf(place.schema);
    if ((await schemaVersion(connections, place)) === 0) {
      throw new HostError('STATE_FOREIGN', `there is no state in PostgreSQL at ${placeText(place)}`);
    }
    await new Ownership(connections, place, tables, clock).assertNobodys();
    const sizeBytes = await measure(connections, tables);
    return {
      lastCommit: undefined,
      problem: undefined,
      sizeBytes,
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
