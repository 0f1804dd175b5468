import type { TestContext } from 'node:test';
import { AdminServer, type AdminSource } from '../../src/admin/index.js';
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
    plugins: () => [{ id: 'slurm' }],
    tasks: (query) => ({ rows: [JSON.parse(JSON.stringify(query))], next: 'k-2' }),
    deletes: () => ({ rows: [], next: undefined }),
    unclearCreates: () => ({ rows: [], next: undefined }),
    orphans: () => ({ rows: [], next: undefined }),
    config: () => ({ admin: { token: '********' } }),
    pause: act('pause'),
    resume: act('resume'),
    reload: async (id) => act('reload')(id),
    ...overrides,
  };
}

/** A server on a free port of loopback, stopped when the test ends. */
export async function serveAdmin(
  t: TestContext,
  options: { token?: string | undefined; source?: AdminSource; maxConnections?: number; writeTimeoutMs?: number } = {},
) {
  const { log, lines } = captureLog();
  const server = new AdminServer({
    host: '127.0.0.1',
    port: 0,
    maxConnections: options.maxConnections ?? 20,
    token: 'token' in options ? options.token : TOKEN,
    source: options.source ?? makeSource(),
    ...(options.writeTimeoutMs === undefined ? {} : { writeTimeoutMs: options.writeTimeoutMs }),
    log,
  });
  const url = `http://${await server.start()}`;
  t.after(() => server.stop(0));
  const call = (path: string, init: RequestInit = {}) => fetch(url + path, init);
  const operator = (path: string, init: RequestInit = {}) =>
    call(path, { ...init, headers: { authorization: `Bearer ${TOKEN}`, ...init.headers } });
  return { server, url, call, operator, lines };
}
