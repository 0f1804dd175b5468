import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { machineMs } from '../../src/lib/clock.js';
import type { Decisions } from '../support/decisions.js';
import { FLAVOURS, type Flavour, isFlavour, SYNC } from './fleet.js';
import { Forecast } from './weather.js';

export type JobState = 'queued' | 'running' | 'done' | 'failed' | 'cancelled';

/** A job as the remote's own book has it. Times are those of the machine's monotonic clock. */
export interface Job {
  readonly id: string;
  readonly flavour: Flavour;
  readonly key: string;
  readonly task: string;
  readonly project: string;
  readonly madeAtMs: number;
  /** When the call that made it was sent, and the process id of the daemon that sent it. */
  readonly sentAtMs: number;
  readonly sentBy: number;
  readonly runMs: number;
  readonly end: 'done' | 'failed';
  state: JobState;
  overAtMs: number | undefined;
  /** Cancelled by the plugin as one of several jobs of its name. */
  double: boolean;
  requeued: boolean;
}

/** One call of a plugin, at the first of its requests. */
export interface CallNote {
  readonly plugin: string;
  readonly lane: 'read' | 'write';
  readonly sentAtMs: number;
  readonly arrivedAtMs: number;
  readonly key: string;
  readonly what: string;
}

/** What a request says of the call that it is of. */
type Sent = Pick<Job, 'key' | 'sentAtMs' | 'sentBy'>;

/** What a request does to the remote, once nothing keeps it from doing so. */
interface Deed {
  readonly what: string;
  readonly subject: string;
  act(): { readonly status: number; readonly body: unknown };
}

/** The remotes of a run, of every flavour, with their books. */
export class Remotes {
  readonly jobs: Job[] = [];
  readonly calls: CallNote[] = [];
  readonly notes: { readonly atMs: number; readonly key: string; readonly text: string }[] = [];
  readonly #byId = new Map<string, Job>();
  readonly #known = new Set<string>();
  readonly #forecasts: Readonly<Record<string, Forecast>>;
  readonly #server: Server;
  readonly #bornMs = machineMs();
  readonly #sweep: NodeJS.Timeout;
  /** Told of each deed, before and after it is done. */
  onDeed: ((what: string, when: 'before' | 'after') => void) | undefined;

  constructor(decisions: Decisions) {
    this.#forecasts = Object.fromEntries([...FLAVOURS, SYNC].map((name) => [name, new Forecast(decisions, name)]));
    this.#server = createServer((request, response) => {
      this.#serve(request, response).catch(() => response.destroy());
    });
    this.#server.keepAliveTimeout = 60_000;
    this.#sweep = setInterval(() => this.#goOn(), 50);
  }

  async start(): Promise<string> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async stop(): Promise<void> {
    clearInterval(this.#sweep);
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** From now on every remote works. */
  fair(): void {
    for (const forecast of Object.values(this.#forecasts)) forecast.over = true;
  }

  /** Jobs go on by themselves. */
  #goOn(): void {
    const now = machineMs();
    for (const job of this.jobs) {
      if (job.overAtMs !== undefined) continue;
      const ranMs = now - job.madeAtMs;
      if (job.state === 'queued' && ranMs > 200 && !(job.requeued && ranMs < 2_500)) job.state = 'running';
      if (job.state === 'running' && ranMs >= job.runMs) this.#over(job, job.end);
      else if (job.state === 'running' && !job.requeued && ranMs > 800) {
        const weather = this.#forecasts[job.flavour]?.at(now - this.#bornMs);
        if (weather === 'requeues') {
          job.requeued = true;
          job.state = 'queued';
          this.#note(job.key, `${job.id} is requeued`);
        }
      }
    }
  }

  #over(job: Job, state: JobState): void {
    job.state = state;
    job.overAtMs = machineMs();
    this.#note(job.key, `${job.id} is ${state}`);
  }

  #note(key: string, text: string): void {
    this.notes.push({ atMs: machineMs(), key, text });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const arrivedAtMs = machineMs();
    const { pathname, searchParams } = new URL(request.url ?? '/', 'http://remote');
    const [, flavour = '', ...path] = pathname.split('/');
    const header = (name: string) => String(request.headers[name] ?? '');
    const key = header('x-book-key');
    const sent: Sent = { key, sentAtMs: Number(header('x-sent-at')), sentBy: Number(header('x-sent-by')) };
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString();
    const body = text === '' ? {} : (JSON.parse(text) as Record<string, unknown>);
    const deed = this.#deedOf(flavour, request.method ?? '', path, searchParams, body, sent);
    if (!this.#known.has(header('x-call'))) {
      this.#known.add(header('x-call'));
      const lane = header('x-lane') === 'read' ? 'read' : 'write';
      this.calls.push({
        plugin: flavour,
        lane,
        sentAtMs: sent.sentAtMs,
        arrivedAtMs,
        key,
        what: deed.what,
      });
    }
    const forecast = this.#forecasts[flavour] as Forecast;
    const weather = forecast.at(arrivedAtMs - this.#bornMs);
    const luck = forecast.luck(deed.what, deed.subject, weather);
    await sleep(luck.delayMs);
    if (luck.reset) {
      this.#note(key, `${deed.what} ${deed.subject}: the connection is reset before`);
      response.destroy();
    } else if (luck.unavailable) {
      this.#note(key, `${deed.what} ${deed.subject}: 503`);
      response.writeHead(503).end();
    } else if (weather === 'throttles') {
      this.#note(key, `${deed.what} ${deed.subject}: 429`);
      response.writeHead(429, { 'retry-after': '1' }).end();
    } else if (weather === 'forgets' && deed.what.startsWith('read')) {
      this.#note(key, `${deed.what} ${deed.subject}: forgotten for now`);
      response.writeHead(404).end('no such job');
    } else {
      this.onDeed?.(deed.what, 'before');
      const { status, body: answer } = deed.act();
      this.#note(
        key,
        `${deed.what} ${deed.subject}: ${status} ${JSON.stringify(answer)}${luck.lost ? ', answer lost' : ''}`,
      );
      this.onDeed?.(deed.what, 'after');
      if (luck.lost) response.destroy();
      else response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(answer));
    }
  }

  #deedOf(
    flavour: string,
    method: string,
    path: readonly string[],
    query: URLSearchParams,
    body: Record<string, unknown>,
    sent: Sent,
  ): Deed {
    const [what = '', id = ''] = path;
    if (flavour === SYNC) return { what: 'run', subject: sent.key, act: () => ({ status: 200, body: {} }) };
    if (!isFlavour(flavour) || what !== 'jobs') throw new Error(`no remote of ${flavour}/${what}`);
    if (method === 'POST' && id === 'batch') {
      const ids = body.ids as string[];
      const all = () => ids.map((each) => shown(this.#byId.get(each)) ?? null);
      return { what: 'read many', subject: ids.join(','), act: () => ({ status: 200, body: all() }) };
    }
    if (method === 'POST') {
      return { what: 'create', subject: sent.key, act: () => this.#create(flavour, body, sent) };
    }
    if (method === 'DELETE') {
      return { what: 'delete', subject: id, act: () => this.#cancel(id, query.get('double') === '1') };
    }
    if (id === '') {
      const name = query.get('name') ?? '';
      const found = () => this.jobs.filter((job) => job.flavour === flavour && job.key === name).map(shown);
      return { what: 'search', subject: name, act: () => ({ status: 200, body: found() }) };
    }
    const job = () => this.#byId.get(id);
    return {
      what: 'read',
      subject: id,
      act: () => (job() === undefined ? { status: 404, body: 'no such job' } : { status: 200, body: shown(job()) }),
    };
  }

  #create(flavour: Flavour, body: Record<string, unknown>, sent: Sent): { status: number; body: unknown } {
    const known =
      body.clientId === undefined
        ? undefined
        : this.jobs.find((job) => job.flavour === flavour && job.key === sent.key);
    if (known !== undefined) return { status: 200, body: { ...shown(known), existing: true } };
    const job: Job = {
      id: `${flavour}-${this.jobs.length + 1}`,
      flavour,
      ...sent,
      task: String(body.task),
      project: String(body.project),
      madeAtMs: machineMs(),
      runMs: Number(body.runMs),
      end: body.end === 'failed' ? 'failed' : 'done',
      state: 'queued',
      overAtMs: undefined,
      double: false,
      requeued: false,
    };
    this.jobs.push(job);
    this.#byId.set(job.id, job);
    return { status: 201, body: shown(job) };
  }

  #cancel(id: string, double: boolean): { status: number; body: unknown } {
    const job = this.#byId.get(id);
    if (job === undefined) return { status: 404, body: 'no such job' };
    if (job.overAtMs === undefined) {
      job.double = double;
      this.#over(job, 'cancelled');
    }
    return { status: 200, body: shown(job) };
  }
}

function shown(job: Job | undefined): { id: string; state: JobState } | undefined {
  return job && { id: job.id, state: job.state };
}
