import { HostError } from '../../errors/index.js';
import type { Connections } from './connections.js';
import { type PostgresPlace, placeText } from './place.js';

/** 15, the oldest that its makers still mend and that was tried. */
const OLDEST = 150_000;

interface Server {
  readonly version: number;
  readonly commits: string;
  readonly fsync: string;
  readonly standby: boolean;
}

/**
 * What makes a server unfit to keep a state; undefined for one that fits. A commit that a server acknowledges before it is on
 * disk is not safe, whatever the daemon does afterwards. Throws what reaching it ended with.
 */
export async function serverTrouble(connections: Connections, place: PostgresPlace): Promise<HostError | undefined> {
  const [server] = await connections.run<Server & Record<string, unknown>>(
    `SELECT current_setting('server_version_num')::int AS version, current_setting('synchronous_commit') AS commits,
      current_setting('fsync') AS fsync, pg_is_in_recovery() AS standby`,
  );
  return server === undefined ? undefined : unfit(server, placeText(place));
}

function unfit({ version, commits, fsync, standby }: Server, at: string): HostError | undefined {
  if (version < OLDEST) {
    return new HostError(
      'STATE_UNSAFE',
      `PostgreSQL at ${at} is version ${version}; ${OLDEST / 10_000} is the oldest that keeps a state`,
    );
  }
  if (standby) {
    return new HostError('STATE_READ_ONLY', `PostgreSQL at ${at} is a standby; let state.postgres name the primary`);
  }
  if (commits === 'off' || fsync === 'off') {
    const setting = fsync === 'off' ? 'fsync' : 'synchronous_commit';
    return new HostError(
      'STATE_UNSAFE',
      `PostgreSQL at ${at} has ${setting} off for role and database: it acknowledges what a crash may take back; switch it on`,
    );
  }
  return undefined;
}
