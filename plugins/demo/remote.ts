import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pathToFileURL } from 'node:url';
import { kindOf, type Misbehaviour, type RemoteCall, readBody, WELL_BEHAVED } from './behaviour.js';
import { type Job, type JobSpec, type JobView, viewOf } from './jobs.js';

export type { Misbehaviour, RemoteCall };

export interface DemoRemoteOptions {
  /** Default: the system's clock. */
  readonly clock?: { now(): number };
  /** Default 0: any free port. */
  readonly port?: number;
}

const MAX_CALLS_KEPT = 1_000_000;

interface CreateBody {
  readonly token?: unknown;
  readonly name?: string;
  readonly spec?: JobSpec;
  readonly attempt?: number;
  readonly outputs?: Job['outputs'];
}

interface Answer {
  readonly status: number;
  readonly body?: unknown;
  readonly headers?: Record<string, string>;
}

/**
 * A small job service over HTTP that a plugin can be shown and tested with. Runs in this process (`start`) or as a
 * command (`node remote.js --port 9000`). README.md has its routes.
 */
export class DemoRemote {
  readonly #now: () => number;
  readonly #port: number;
  readonly #jobs = new Map<string, Job>();
  readonly #byToken = new Map<string, Job>();
  #server: Server | undefined;
  #address = '';
  #created = 0;
  /** Every call in order, admin calls left out. */
  readonly calls: RemoteCall[] = [];
  /** Turn its knobs at any time. */
  readonly control: Misbehaviour = structuredClone(WELL_BEHAVED);

  constructor(options: DemoRemoteOptions = {}) {
    const clock = options.clock ?? { now: () => performance.timeOrigin + performance.now() };
    this.#now = () => clock.now();
    this.#port = options.port ?? 0;
  }

  /** Known from the first start on, also while the remote refuses connections. */
  get url(): string {
    return this.#address;
  }

  /** Jobs made so far, lost ones included. */
  get created(): number {
    return this.#created;
  }

  /** All jobs the remote knows, as its API shows them. */
  jobs(): JobView[] {
    return [...this.#jobs.values()].map((job) => viewOf(job, this.#now()));
  }

  /** The job made with this idempotency token. */
  jobOf(token: string): JobView | undefined {
    const job = this.#byToken.get(token);
    return job === undefined ? undefined : viewOf(job, this.#now());
  }

  /** How many calls were about the task of this name; a readMany counts for each of its jobs. */
  callsFor(name: string): number {
    return this.calls.filter((call) => call.names.includes(name)).length;
  }

  callsOf(kind: RemoteCall['kind']): RemoteCall[] {
    return this.calls.filter((call) => call.kind === kind);
  }

  /** Forgets jobs as if they had never been; all of them unless ids are given. */
  lose(ids: readonly string[] = [...this.#jobs.keys()]): void {
    for (const id of ids) {
      const job = this.#jobs.get(id);
      if (job !== undefined) this.#byToken.delete(job.token);
      this.#jobs.delete(id);
    }
  }

  /** Listens on 127.0.0.1; again on the same port after `stop`, with its jobs kept. */
  async start(): Promise<string> {
    const server = createServer((request, response) => void this.#handle(request, response));
    const port = this.#address === '' ? this.#port : Number(new URL(this.#address).port);
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, '127.0.0.1', () => resolve());
    });
    this.#server = server;
    this.#address = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    return this.#address;
  }

  /** Drops every connection and refuses new ones. Callable twice. */
  async stop(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    if (server === undefined) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    server.closeAllConnections();
    await closed;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // As `new URL` reads it, a path that begins with two slashes would name a host.
    const url = new URL(`http://remote${request.url ?? '/'}`);
    const ids = url.searchParams.get('ids')?.split(',') ?? [];
    const kind = kindOf(request.method ?? '', url);
    const call: RemoteCall = { kind, atMs: this.#now(), status: 0, items: Math.max(1, ids.length), names: [] };
    if (kind !== 'admin' && this.calls.length < MAX_CALLS_KEPT) this.calls.push(call);
    let answer: Answer;
    try {
      const body = await readBody(request);
      call.names = this.#namesOf(url, ids, body);
      if (this.control.delayMs > 0 && kind !== 'admin') {
        await new Promise((resolve) => setTimeout(resolve, this.control.delayMs));
      }
      answer = this.#misbehave(kind) ?? this.#answer(kind, url, ids, body);
    } catch (error) {
      answer = { status: 400, body: { error: error instanceof Error ? error.message : String(error) } };
    }
    if (kind !== 'admin' && answer.status < 300 && this.control.dropAnswers > 0) {
      this.control.dropAnswers--;
      request.socket.destroy();
      return;
    }
    call.status = answer.status;
    response.writeHead(answer.status, { 'content-type': 'application/json', ...answer.headers });
    response.end(answer.body === undefined ? '' : JSON.stringify(answer.body));
  }

  #namesOf(url: URL, ids: readonly string[], body: unknown): string[] {
    const { name } = (body ?? {}) as { name?: unknown };
    if (typeof name === 'string') return [name];
    const subjects = ids.length > 0 ? ids : [url.pathname.split('/')[3] ?? ''];
    return subjects.map((id) => this.#jobs.get(id)?.name ?? '').filter((known) => known !== '');
  }

  #misbehave(kind: RemoteCall['kind']): Answer | undefined {
    if (kind === 'admin') return undefined;
    const { control } = this;
    if (control.down) return { status: 503, body: { error: 'down for maintenance' } };
    if (control.throttle.calls > 0) {
      control.throttle.calls--;
      const headers = { 'retry-after': String(control.throttle.retryAfterSeconds) };
      return { status: 429, body: { error: 'too many calls' }, headers };
    }
    if (control.failCalls > 0) {
      control.failCalls--;
      return { status: 500, body: { error: 'an internal fault' } };
    }
    return undefined;
  }

  #answer(kind: RemoteCall['kind'], url: URL, ids: readonly string[], body: unknown): Answer {
    const id = url.pathname.split('/')[3] ?? '';
    switch (kind) {
      case 'create':
        return this.#create(body as CreateBody);
      case 'readMany':
        return { status: 200, body: { jobs: ids.map((one) => this.#view(one) ?? null) } };
      case 'read':
        return this.#found(id, (view) => view);
      case 'logs':
        return this.#found(id, (view) => ({ lines: [`job ${view.id}`, view.message] }));
      case 'cancel':
        return this.#cancel(id);
      case 'run': {
        const { outcome = 'succeed', message = 'the demo call was asked to fail' } = (body as { spec: JobSpec }).spec;
        return { status: 200, body: { ok: outcome !== 'fail', message } };
      }
      case 'admin':
        return this.#admin(url.pathname, body);
      case 'unknown':
        return { status: 404, body: { error: `no route ${url.pathname}` } };
    }
  }

  #create({ token, name = '', spec = {}, attempt = 0, outputs = {} }: CreateBody): Answer {
    if (this.control.rejectCreates !== '') return { status: 400, body: { error: this.control.rejectCreates } };
    if (typeof token !== 'string' || token === '') return { status: 400, body: { error: 'token is missing' } };
    const known = this.#byToken.get(token);
    if (known !== undefined) return { status: 200, body: { job: viewOf(known, this.#now()), existing: true } };
    const id = `job-${++this.#created}`;
    const job: Job = { id, token, name, spec, attempt, outputs, createdAtMs: this.#now(), cancelledAtMs: undefined };
    this.#jobs.set(id, job);
    this.#byToken.set(token, job);
    return { status: 201, body: { job: viewOf(job, this.#now()), existing: false } };
  }

  #cancel(id: string): Answer {
    const job = this.#jobs.get(id);
    if (job === undefined) return { status: 404, body: { error: `no job ${id}` } };
    job.cancelledAtMs ??= this.#now();
    return { status: 204 };
  }

  #admin(path: string, body: unknown): Answer {
    if (path === '/admin/lose') {
      const { ids } = (body ?? {}) as { ids?: string[] };
      this.lose(ids);
    } else if (path === '/admin/control') {
      Object.assign(this.control, body);
    } else if (path === '/admin/reset') {
      Object.assign(this.control, structuredClone(WELL_BEHAVED));
    } else if (path === '/admin/calls') {
      return { status: 200, body: { calls: this.calls } };
    } else {
      return { status: 404, body: { error: `no route ${path}` } };
    }
    return { status: 200, body: { control: this.control } };
  }

  #view(id: string): JobView | undefined {
    const job = this.#jobs.get(id);
    return job === undefined ? undefined : viewOf(job, this.#now());
  }

  #found(id: string, show: (view: JobView) => unknown): Answer {
    const view = this.#view(id);
    return view === undefined ? { status: 404, body: { error: `no job ${id}` } } : { status: 200, body: show(view) };
  }
}

export function createDemoRemote(options: DemoRemoteOptions = {}): DemoRemote {
  return new DemoRemote(options);
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) {
  const flag = process.argv.indexOf('--port');
  const remote = createDemoRemote({ port: flag < 0 ? 0 : Number(process.argv[flag + 1]) });
  console.log(`demo remote on ${await remote.start()}`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void remote.stop());
}
