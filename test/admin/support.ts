import type { TestContext } from 'node:test';
import { PlainEntrance } from '../../src/access/entrance.js';
import { CallGuard, type CallGuardOptions } from '../../src/access/guard.js';
import { Tokens } from '../../src/access/tokens.js';
import { ADMIN_BOUNDS, AdminServer, type AdminServerOptions, type AdminSource } from '../../src/admin/index.js';
import { HostError } from '../../src/errors/index.js';
import { captureLog, FIGURES, makeTelemetry } from '../telemetry/support.js';

export const TOKEN = 'a-token-of-some-length';

/** A source with one plugin, `slurm`, that notes what is done to it. */
export function makeSource(overrides: Partial<AdminSource> = {}): AdminSource & { readonly done: string[] } {
  const telemetry = makeTelemetry();
  telemetry.measure(() => FIGURES);
  const done: string[] = [];
  const act = (name: string) => (id: string) => {
    if (id !== 'slurm') throw new HostError('PLUGIN_NOT_SERVING', `there is no plugin ${id}`);
    done.push(`${name} ${id}`);
  };
  return {
    done,
    metrics: () => telemetry.scrape(),
    liveness: () => ({ ok: true, detail: { tickAgeMs: 12 } }),
    readiness: () => ({ ready: true, state: 'ready', unready: [] }),
    covers: () => undefined,
    plugins: () => [{ id: 'slurm' }],
    tasks: (query) => ({ rows: [JSON.parse(JSON.stringify(query))], next: 'k-2' }),
    deletes: () => ({ rows: [], next: undefined }),
    unclearCreates: () => ({ rows: [], next: undefined }),
    orphans: () => ({ rows: [], next: undefined }),
    cluster: () => ({ enabled: false }),
    config: () => ({ admin: { token: '********' } }),
    pause: act('pause'),
    resume: act('resume'),
    reload: async (id) => act('reload')(id),
    profile: (seconds) => Promise.resolve({ nodes: [], seconds }),
    ...overrides,
  };
}

/** A guard of the admin port that knows one token. */
export function guardBy(
  token: string | undefined,
  events: CallGuardOptions['events'] = { refused: () => {} },
): CallGuard {
  const tokens = new Tokens(token === undefined ? [] : [{ token, caller: { name: 'ops', may: ['read', 'operate'] } }]);
  return new CallGuard({ port: 'admin', needs: () => 'operate', tokens: () => tokens, events });
}

export const openTo = (token: string | undefined): AdminServerOptions['access'] => ({
  entrance: new PlainEntrance({ port: 'admin', from: 'loopback' }),
  guard: guardBy(token),
  hasTokens: token !== undefined,
});

/** A server on a free port of loopback, stopped when the test ends. */
export async function serveAdmin(
  t: TestContext,
  options: Partial<Pick<AdminServerOptions, 'source' | 'maxConnections' | 'writeTimeoutMs' | 'access'>> & {
    readonly token?: string | undefined;
  } = {},
) {
  const { log, lines } = captureLog();
  const server = new AdminServer({
    host: '127.0.0.1',
    port: 0,
    maxConnections: options.maxConnections ?? 20,
    source: options.source ?? makeSource(),
    writeTimeoutMs: options.writeTimeoutMs ?? ADMIN_BOUNDS.writeTimeoutMs,
    log,
    access: options.access ?? openTo('token' in options ? options.token : TOKEN),
  });
  const url = `http://${await server.start()}`;
  t.after(() => server.stop(0));
  const call = (path: string, init: RequestInit = {}) => fetch(url + path, init);
  const operator = (path: string, init: RequestInit = {}) =>
    call(path, { ...init, headers: { authorization: `Bearer ${TOKEN}`, ...init.headers } });
  return { server, url, call, operator, lines };
}
