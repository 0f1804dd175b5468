import { realpathSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { pathToFileURL } from 'node:url';
import { readBody } from './behaviour.js';

/** How long a job takes unless it says `seconds` itself. */
const DEFAULT_SECONDS = 2;

interface Work {
  readonly what: 'sum';
  readonly numbers: readonly number[];
  readonly seconds: number;
}

interface ServedJob {
  readonly id: string;
  readonly work: Work;
  readonly overAtMs: number;
}

interface Answer {
  readonly status: number;
  readonly body?: unknown;
}

/**
 * The job service of the README, for a first plugin to run on: `PUT /jobs/<key>` makes a job or finds it again,
 * `GET /jobs/<id>` shows it, `DELETE /jobs/<id>` cancels it. A job adds numbers: `{"what": "sum", "numbers": [1, 2]}`.
 * Unlike remote.ts it has no faults that can be turned on, and it keeps nothing but its jobs.
 */
export function createJobService(now: () => number = () => performance.now()): Server {
  const jobs = new Map<string, ServedJob>();
  return createServer((request, response) => void serve(request, response, jobs, now));
}

async function serve(
  request: IncomingMessage,
  response: ServerResponse,
  jobs: Map<string, ServedJob>,
  now: () => number,
): Promise<void> {
  let answer: Answer;
  try {
    answer = answerTo(request, await readBody(request), jobs, now());
  } catch (error) {
    answer = { status: 400, body: { message: error instanceof Error ? error.message : String(error) } };
  }
  response.writeHead(answer.status, { 'content-type': 'application/json' });
  response.end(answer.body === undefined ? '' : `${JSON.stringify(answer.body)}\n`);
}

function answerTo(request: IncomingMessage, body: unknown, jobs: Map<string, ServedJob>, nowMs: number): Answer {
  const [, key] = /^\/jobs\/([\w.~-]+)$/.exec(request.url ?? '') ?? [];
  if (key === undefined) return { status: 404, body: { message: `there is no ${request.url}, only /jobs/<id>` } };
  const job = jobs.get(key);
  if (request.method === 'PUT') {
    if (job !== undefined) return { status: 200, body: viewOf(job, nowMs) };
    const work = workIn(body);
    const made = { id: key, work, overAtMs: nowMs + work.seconds * 1_000 };
    jobs.set(key, made);
    return { status: 201, body: viewOf(made, nowMs) };
  }
  if (job === undefined) return { status: 404, body: { message: `there is no job ${key}` } };
  if (request.method === 'GET') return { status: 200, body: viewOf(job, nowMs) };
  if (request.method !== 'DELETE') return { status: 405, body: { message: `${request.method} is not served` } };
  jobs.delete(key);
  return { status: 204 };
}

function workIn(body: unknown): Work {
  const { what, numbers, seconds = DEFAULT_SECONDS } = (body ?? {}) as Partial<Work>;
  if (what !== 'sum' || !Array.isArray(numbers)) {
    throw new TypeError('expected a body such as {"what": "sum", "numbers": [1, 2, 3]}');
  }
  if (typeof seconds !== 'number' || !(seconds >= 0)) throw new TypeError('seconds is a number, 0 or more');
  return { what, numbers, seconds };
}

/** A job of what is no number fails, so that a failure can be seen, too. */
function viewOf({ id, work, overAtMs }: ServedJob, nowMs: number) {
  if (nowMs < overAtMs) return { id, state: 'running' };
  const wrong = work.numbers.find((one) => typeof one !== 'number');
  if (wrong !== undefined) return { id, state: 'failed', message: `${JSON.stringify(wrong)} is no number` };
  return { id, state: 'done', result: work.numbers.reduce((sum, one) => sum + one, 0) };
}

// The path that was called may be a symbolic link.
if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(realpathSync(process.argv[1])).href) {
  const flag = process.argv.indexOf('--port');
  const port = flag < 0 ? 8080 : Number(process.argv[flag + 1]);
  const service = createJobService();
  service.once('error', (error) => {
    console.error(`the job service cannot listen: ${error.message}; --port names another port`);
    process.exitCode = 1;
  });
  service.listen(port, '127.0.0.1', () => {
    console.log(`a job service listens on http://127.0.0.1:${(service.address() as AddressInfo).port}; Ctrl-C ends it`);
  });
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => {
      service.close();
      service.closeAllConnections();
    });
  }
}
