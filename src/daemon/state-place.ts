import path from 'node:path';
import type { Config } from '../config/index.js';
import { HostError } from '../errors/index.js';
import type { PostgresPlace } from '../state/index.js';

type Env = Readonly<Record<string, string | undefined>>;

/** Where a state is kept. `because`: why nowhere, where nobody asked for that. */
export type StatePlace =
  | { readonly in: 'nowhere'; readonly because?: string }
  | { readonly in: 'folder'; readonly dir: string }
  | { readonly in: 'postgres'; readonly place: PostgresPlace };

/**
 * Where the state is kept: what the option says, else what systemd made for the service, else the user's folder for states,
 * below the port, so that two daemons of one user have two states. A daemon on any free port is nobody's in particular: it
 * keeps nothing unless it is told where, or that it must. Throws STATE_DIR_UNSET where a state is wanted and nothing says where.
 */
export function statePlace({ state, grpc }: Pick<Config, 'state' | 'grpc'>, env: Env): StatePlace {
  if (state.engine === 'none') return { in: 'nowhere' };
  if (state.engine === 'postgres') return { in: 'postgres', place: state.postgres };
  if (state.dir !== undefined) return { in: 'folder', dir: state.dir };
  // systemd names several folders with a colon between; the first is the service's.
  const ofService = env.STATE_DIRECTORY?.split(':')[0];
  if (ofService !== undefined && path.isAbsolute(ofService)) return { in: 'folder', dir: ofService };
  const home = env.HOME !== undefined && path.isAbsolute(env.HOME) ? path.join(env.HOME, '.local', 'state') : undefined;
  const ofUser = env.XDG_STATE_HOME !== undefined && path.isAbsolute(env.XDG_STATE_HOME) ? env.XDG_STATE_HOME : home;
  if (grpc.port !== 0 && ofUser !== undefined) {
    return { in: 'folder', dir: path.join(ofUser, 'webapi-plugin-host', String(grpc.port)) };
  }
  const why = grpc.port === 0 ? 'grpc.port is 0, so nothing tells this daemon from another one' : 'HOME is not set';
  if (grpc.port === 0 && state.engine === undefined) return { in: 'nowhere', because: why };
  throw new HostError(
    'STATE_DIR_UNSET',
    `nothing says where the state is to be kept, and ${why}: set state.dir to a folder of this daemon's own, or state.engine to none`,
  );
}
