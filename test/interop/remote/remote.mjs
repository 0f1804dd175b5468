// A small job service over HTTP for the interop tests. What a job does is part of the request that makes it; faults are
// switched on from a second port, so that they never touch the control itself. Every API call is recorded.
//
// API      POST /jobs {token?, label, steer, seen}   200 the job with that token, or 201 a new one
//          GET /jobs/:id    DELETE /jobs/:id    GET /jobs/:id/logs?from=0&lines=10    POST /run {label, steer}
// Control  POST /fault {mode: ok|throttle|unavailable|down, retryAfterS?}    POST /release {label}
//          GET /jobs?label=    GET /calls    POST /calls/reset
import { createServer } from 'node:http';

const OVER = new Set(['succeeded', 'failed', 'cancelled']);

async function body(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return parts.length === 0 ? {} : JSON.parse(Buffer.concat(parts).toString('utf8'));
}

function answer(response, status, value, headers = {}) {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(value));
}

export class Remote {
  #jobs = new Map();
  #tokens = new Map();
  #refusals = new Map();
  #calls = [];
  #released = new Set();
  #runs = new Map();
  #next = 1;
  #mode = 'ok';
  #retryAfterS = 1;
  #sockets = new Set();
  #api = createServer((request, response) => void this.#serve(request, response));
  #control = createServer((request, response) => void this.#steer(request, response));

  /** Extra control routes: name to async function of the request's JSON. */
  routes = new Map();

  async start() {
    this.#api.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      if (this.#mode === 'down') socket.destroy();
    });
    for (const server of [this.#api, this.#control]) {
      await new Promise((resolve, reject) => {
        server.once('error', reject);
        server.listen(0, '127.0.0.1', resolve);
      });
    }
    return { url: this.#url(this.#api), control: this.#url(this.#control) };
  }

  async stop() {
    for (const server of [this.#api, this.#control]) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  }

  get calls() {
    return this.#calls;
  }

  get jobs() {
    return [...this.#jobs.values()].map((job) => this.#view(job));
  }

  #url(server) {
    return `http://127.0.0.1:${server.address().port}`;
  }

  #state(job) {
    if (job.cancelledAt !== undefined) return 'cancelled';
    const age = Date.now() - job.createdAt;
    const { queueMs = 0, runMs = 0, hold = false, outcome = 'success' } = job.steer;
    if (age < queueMs) return 'queued';
    if (age < queueMs + runMs || (hold && !this.#released.has(job.label))) return 'running';
    if (outcome === 'success') return 'succeeded';
    return outcome === 'aborted' ? 'cancelled' : 'failed';
  }

  #view(job) {
    return { ...job, state: this.#state(job) };
  }

  async #serve(request, response) {
    const url = new URL(request.url, 'http://remote');
    const [, room, id, sub] = url.pathname.split('/');
    const write = request.method !== 'GET';
    const plugin = request.headers['x-plugin'] ?? '';
    this.#calls.push({
      at: Date.now(),
      kind: write ? 'write' : 'read',
      plugin,
      method: request.method,
      path: url.pathname,
    });
    if (this.#mode === 'throttle') {
      return answer(response, 429, { error: 'too many requests' }, { 'retry-after': String(this.#retryAfterS) });
    }
    if (this.#mode === 'unavailable') return answer(response, 503, { error: 'unavailable' });
    if (request.method === 'POST' && room === 'jobs') return this.#create(await body(request), response);
    if (request.method === 'POST' && room === 'run') return this.#run(await body(request), response);
    const job = this.#jobs.get(id);
    if (job === undefined) return answer(response, 404, { error: `no job ${id}` });
    if (request.method === 'GET' && sub === 'logs') return this.#logs(job, url, response);
    if (request.method === 'GET') return answer(response, 200, this.#view(job));
    if (request.method === 'DELETE') {
      job.deletes += 1;
      if (!OVER.has(this.#state(job))) job.cancelledAt = Date.now();
      return answer(response, 200, this.#view(job));
    }
    return answer(response, 405, { error: 'method' });
  }

  async #create(wanted, response) {
    const { token, label, steer = {}, seen = {} } = wanted;
    const refused = this.#refusals.get(label) ?? 0;
    if (steer.refuse !== undefined && refused < (steer.refuseTimes ?? Number.POSITIVE_INFINITY)) {
      this.#refusals.set(label, refused + 1);
      return answer(response, steer.refuse, { error: steer.message ?? 'refused' }, { 'retry-after': '1' });
    }
    const known = token === undefined ? undefined : this.#tokens.get(token);
    if (known !== undefined) return answer(response, 200, this.#view(known));
    const job = { id: `job-${this.#next++}`, token, label, steer, seen, createdAt: Date.now(), deletes: 0 };
    this.#jobs.set(job.id, job);
    if (token !== undefined) this.#tokens.set(token, job);
    if (steer.createMs > 0) await new Promise((resolve) => setTimeout(resolve, steer.createMs));
    return answer(response, 201, this.#view(job));
  }

  /** A call that does its work at once, for sync tasks; counts how often it ran under one label. */
  async #run({ label, steer = {} }, response) {
    const times = (this.#runs.get(label) ?? 0) + 1;
    this.#runs.set(label, times);
    if (steer.runMs > 0) await new Promise((resolve) => setTimeout(resolve, steer.runMs));
    return answer(response, 200, { times });
  }

  #logs(job, url, response) {
    const total = job.steer.logLines ?? 0;
    const from = Number(url.searchParams.get('from') ?? '0');
    const size = Number(url.searchParams.get('lines') ?? '10');
    const lines = [];
    for (let line = from; line < Math.min(total, from + size); line += 1) lines.push(`line ${line} of ${job.label}`);
    return answer(response, 200, { lines, next: from + size < total ? String(from + size) : '' });
  }

  async #steer(request, response) {
    const url = new URL(request.url, 'http://control');
    const name = url.pathname.slice(1);
    if (name === 'jobs') {
      const label = url.searchParams.get('label');
      return answer(response, 200, { jobs: this.jobs.filter((job) => label === null || job.label === label) });
    }
    if (name === 'calls') return answer(response, 200, { calls: this.#calls });
    if (name === 'runs') return answer(response, 200, { runs: Object.fromEntries(this.#runs) });
    const wanted = await body(request);
    if (name === 'calls/reset') this.#calls.length = 0;
    else if (name === 'release') this.#released.add(wanted.label);
    else if (name === 'fault') this.#fault(wanted);
    else if (this.routes.has(name)) {
      try {
        return answer(response, 200, (await this.routes.get(name)(wanted)) ?? {});
      } catch (error) {
        return answer(response, 500, { error: String(error) });
      }
    } else return answer(response, 404, { error: `no control ${name}` });
    return answer(response, 200, {});
  }

  #fault({ mode, retryAfterS = 1 }) {
    this.#mode = mode;
    this.#retryAfterS = retryAfterS;
    if (mode === 'down') for (const socket of this.#sockets) socket.destroy();
  }
}

/**
 * The largest excess of calls over `burst + qps * W` in any window W, with the window it was seen in; 0 or less means
 * that the limit held. `calls` are times in milliseconds, ascending.
 */
export function limitExcess(calls, { qps, burst }) {
  let worst = { excess: Number.NEGATIVE_INFINITY, seconds: 0, count: 0 };
  for (let from = 0; from < calls.length; from += 1) {
    for (let to = from; to < calls.length; to += 1) {
      const seconds = (calls[to] - calls[from]) / 1000;
      const excess = to - from + 1 - (burst + qps * seconds);
      if (excess > worst.excess) worst = { excess, seconds, count: to - from + 1 };
    }
  }
  return worst;
}
