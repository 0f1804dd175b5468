import { HostError } from '../errors/index.js';
import type { JsonValue } from '../lib/json.js';
import type { PageQuery } from '../model/page.js';
import { TASK_STAGES } from '../model/task-record.js';
import { PHASES } from '../plugin-api/phase.js';
import type { AdminSource } from './source.js';

/** An answer before it is written. */
export interface Answer {
  readonly status: number;
  readonly body: string;
  readonly contentType: string;
}

export const json = (status: number, value: JsonValue | object): Answer => ({
  status,
  body: `${JSON.stringify(value)}\n`,
  contentType: 'application/json; charset=utf-8',
});

export interface Route {
  readonly method: 'GET' | 'POST';
  /** Whether the operator's token is needed. */
  readonly guarded: boolean;
  readonly pattern: RegExp;
  handle(source: AdminSource, params: readonly string[], query: URLSearchParams): Answer | Promise<Answer>;
  /** Name of what an operator did, for the log. */
  readonly action?: string;
}

const PLUGIN = '([a-z][a-z0-9-]{0,39})';

/** Every path of the admin server. */
export const ROUTES: readonly Route[] = [
  {
    method: 'GET',
    guarded: false,
    pattern: /^\/metrics$/,
    async handle(source) {
      const { text, contentType } = await source.metrics();
      return { status: 200, body: text, contentType };
    },
  },
  {
    method: 'GET',
    guarded: false,
    pattern: /^\/healthz$/,
    handle(source) {
      const { ok, detail } = source.liveness();
      return json(ok ? 200 : 503, { status: ok ? 'ok' : 'stuck', ...detail });
    },
  },
  {
    method: 'GET',
    guarded: false,
    pattern: /^\/readyz$/,
    handle(source) {
      const { ready, state, unready } = source.readiness();
      return json(ready ? 200 : 503, { status: ready ? 'ready' : 'not ready', state, unready });
    },
  },
  listing('plugins', (source, query) => {
    parseQuery(query, []);
    return { plugins: source.plugins(), ...coversOf(source) };
  }),
  listing('tasks', (source, query) => {
    const filters = parseQuery(query, ['limit', 'after', 'plugin', 'phase', 'stage', 'project', 'id']);
    const page = source.tasks({
      ...pageOf(filters),
      plugin: filters.plugin,
      phase: oneOf('phase', filters.phase, PHASES),
      stage: oneOf('stage', filters.stage, TASK_STAGES),
      project: filters.project,
      id: filters.id,
    });
    return { tasks: page.rows, next: page.next ?? null, ...coversOf(source) };
  }),
  listing('deletes', (source, query) => {
    const page = source.deletes(pageOf(parseQuery(query, ['limit', 'after'])));
    return { deletes: page.rows, next: page.next ?? null, ...coversOf(source) };
  }),
  listing('unclear-creates', (source, query) => {
    const page = source.unclearCreates(pageOf(parseQuery(query, ['limit', 'after'])));
    return { unclearCreates: page.rows, next: page.next ?? null, ...coversOf(source) };
  }),
  listing('orphans', (source, query) => {
    const page = source.orphans(pageOf(parseQuery(query, ['limit', 'after'])));
    return { orphans: page.rows, next: page.next ?? null, ...coversOf(source) };
  }),
  listing('cluster', (source, query) => {
    parseQuery(query, []);
    return source.cluster();
  }),
  listing('config', (source, query) => {
    parseQuery(query, []);
    return { config: source.config() };
  }),
  action('pause', (source, id) => source.pause(id)),
  action('resume', (source, id) => source.resume(id)),
  action('reload', (source, id) => source.reload(id)),
  {
    method: 'POST',
    guarded: true,
    action: 'profile',
    pattern: /^\/v1\/profile$/,
    handle: async (source, _params, query) => json(200, await source.profile(secondsOf(query))),
  },
];

/** What a listing is about, where that is not all there is. */
function coversOf(source: AdminSource): { readonly covers?: string } {
  const covers = source.covers();
  return covers === undefined ? {} : { covers };
}

function listing(name: string, rows: (source: AdminSource, query: URLSearchParams) => object): Route {
  return {
    method: 'GET',
    guarded: true,
    pattern: new RegExp(`^/v1/${name}$`),
    handle: (source, _params, query) => json(200, rows(source, query)),
  };
}

function action(name: string, act: (source: AdminSource, pluginId: string) => void | Promise<void>): Route {
  return {
    method: 'POST',
    guarded: true,
    action: name,
    pattern: new RegExp(`^/v1/plugins/${PLUGIN}/${name}$`),
    async handle(source, params, query) {
      parseQuery(query, []);
      const id = params[0] as string;
      await act(source, id);
      return json(200, { plugin: id, done: name });
    },
  };
}

/** The query as an object; throws for a name that is not allowed, or given twice. */
function parseQuery(query: URLSearchParams, allowed: readonly string[]): Readonly<Record<string, string | undefined>> {
  const out: Record<string, string> = {};
  for (const [name, value] of query) {
    if (!allowed.includes(name)) {
      const expected = allowed.length === 0 ? 'none' : allowed.join(', ');
      throw invalid(`seen the query parameter ${quote(name)}, expected ${expected}`);
    }
    if (out[name] !== undefined) throw invalid(`the query parameter ${name} is given twice`);
    if (value.length > 500) throw invalid(`the query parameter ${name} is longer than 500 characters`);
    out[name] = value;
  }
  return out;
}

function oneOf(name: string, value: string | undefined, known: readonly string[]): string | undefined {
  if (value === undefined || known.includes(value)) return value;
  throw invalid(`seen ${name}=${quote(value)}, expected one of ${known.join(', ')}`);
}

/** Of a profile. The daemon goes on meanwhile, a few percent slower. */
function secondsOf(query: URLSearchParams): number {
  const { seconds = '10' } = parseQuery(query, ['seconds']);
  const count = /^\d{1,2}$/.test(seconds) ? Number(seconds) : 0;
  if (count < 1 || count > 30) throw invalid(`seen seconds=${quote(seconds)}, expected an integer from 1 to 30`);
  return count;
}

function pageOf(filters: Readonly<Record<string, string | undefined>>): PageQuery {
  const { limit = '100', after = '' } = filters;
  const count = /^\d{1,4}$/.test(limit) ? Number(limit) : 0;
  if (count < 1 || count > 1000) throw invalid(`seen limit=${quote(limit)}, expected an integer from 1 to 1000`);
  return { limit: count, after };
}

const quote = (text: string) => JSON.stringify(text.length > 60 ? `${text.slice(0, 57)}…` : text);

function invalid(message: string): HostError {
  return new HostError('REQUEST_FIELD_INVALID', message);
}
