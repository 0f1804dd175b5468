import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';

/** One job as the fake keeps it; the answer shows it as slurmrestd of Slurm 22.05 does (plain numbers, raw exit status). */
export interface FakeJob {
  job_id: number;
  job_state: string;
  state_reason: string;
  state_description: string;
  exit_code: number;
  restart_cnt: number;
  array_job_id: number;
  array_task_id: number | null;
  array_task_string: string;
  comment: string;
  standard_output: string;
  nodes: string;
  partition: string;
  submit_time: number;
  end_time: number;
}

export interface SeenRequest {
  readonly method: string;
  readonly path: string;
  readonly token: string;
  readonly user: string;
  readonly body: unknown;
}

type Override = (request: SeenRequest, response: ServerResponse) => boolean | Promise<boolean>;

const META = { plugin: { type: 'openapi/v0.0.38' }, Slurm: { release: '22.05.8' } };

/** A job's record with the fields a test does not care about filled in. */
export function fakeJob(fields: Partial<FakeJob> & Pick<FakeJob, 'job_id'>): FakeJob {
  return {
    job_state: 'PENDING',
    state_reason: 'None',
    state_description: '',
    exit_code: 0,
    restart_cnt: 0,
    array_job_id: 0,
    array_task_id: null,
    array_task_string: '',
    comment: '',
    standard_output: '',
    nodes: '',
    partition: 'main',
    submit_time: 1_700_000_000,
    end_time: 0,
    ...fields,
  };
}

/**
 * slurmrestd as the real one of 22.05 behaves over HTTP: 401 for a missing token, 500 with Slurm's own number for an
 * unknown job, an unknown partition and a refused token alike. `override` lets a test answer something else first.
 */
export class FakeSlurm {
  readonly jobs = new Map<number, FakeJob>();
  readonly requests: SeenRequest[] = [];
  readonly submitted: unknown[] = [];
  validTokens = new Set(['token-1']);
  override: Override | undefined;
  #nextId = 100;
  readonly #server: Server;

  private constructor() {
    this.#server = createServer((request, response) => {
      this.#handle(request, response).catch((error: unknown) => response.destroy(error as Error));
    });
  }

  static async start(): Promise<FakeSlurm> {
    const fake = new FakeSlurm();
    await new Promise<void>((resolve, reject) => {
      fake.#server.once('error', reject);
      fake.#server.listen(0, '127.0.0.1', resolve);
    });
    return fake;
  }

  get url(): string {
    const address = this.#server.address();
    if (address === null || typeof address === 'string') throw new Error('the fake is not listening');
    return `http://127.0.0.1:${address.port}`;
  }

  count(method: string, path?: RegExp): number {
    return this.requests.filter((seen) => seen.method === method && (path === undefined || path.test(seen.path)))
      .length;
  }

  add(fields: Partial<FakeJob> & Pick<FakeJob, 'job_id'>): FakeJob {
    const job = fakeJob(fields);
    this.jobs.set(job.job_id, job);
    return job;
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk as Buffer);
    const text = Buffer.concat(chunks).toString('utf8');
    const seen: SeenRequest = {
      method: request.method ?? '',
      path: (request.url ?? '').replace(/^\/slurm\/v0\.0\.\d+\//, ''),
      token: String(request.headers['x-slurm-user-token'] ?? ''),
      user: String(request.headers['x-slurm-user-name'] ?? ''),
      body: text === '' ? undefined : JSON.parse(text),
    };
    this.requests.push(seen);
    if (this.override !== undefined && (await this.override(seen, response))) return;
    if (seen.token === '') {
      response.writeHead(401, { 'content-type': 'text/plain' }).end('Authentication failure');
      return;
    }
    if (!this.validTokens.has(seen.token)) {
      const submit = seen.method === 'POST';
      const fault = submit
        ? { error_code: 5005, error: 'Zero Bytes were transmitted or received' }
        : { description: 'Failed while looking for jobs', error_number: -1, error: 'Unspecified error' };
      this.#answer(response, 500, { errors: [fault], jobs: [] });
      return;
    }
    this.#route(seen, response);
  }

  #answer(response: ServerResponse, status: number, body: Record<string, unknown>): void {
    const text = JSON.stringify({ meta: META, errors: [], ...body });
    response.writeHead(status, { 'content-type': 'application/json' }).end(text);
  }

  #route(seen: SeenRequest, response: ServerResponse): void {
    if (seen.method === 'GET' && seen.path === 'jobs') {
      this.#answer(response, 200, { jobs: [...this.jobs.values()] });
      return;
    }
    if (seen.method === 'POST' && seen.path === 'job/submit') {
      this.#submit(seen, response);
      return;
    }
    const id = Number(/^job\/(\d+)$/.exec(seen.path)?.[1]);
    if (Number.isNaN(id)) {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('Unable find requested URL.');
      return;
    }
    const found = [...this.jobs.values()].filter((job) => job.job_id === id || job.array_job_id === id);
    if (found.length === 0) {
      const error = {
        error_number: 2017,
        error: 'Invalid job id specified',
        description: `Unable to find JobId=${id}`,
      };
      this.#answer(response, 500, { errors: [error], jobs: [] });
      return;
    }
    if (seen.method === 'DELETE') {
      for (const job of found) if (['PENDING', 'RUNNING'].includes(job.job_state)) job.job_state = 'CANCELLED';
      this.#answer(response, 200, {});
      return;
    }
    this.#answer(response, 200, { jobs: found });
  }

  #submit(seen: SeenRequest, response: ServerResponse): void {
    this.submitted.push(seen.body);
    const { job } = seen.body as { job: Record<string, unknown> };
    if (job.partition === 'nope') {
      this.#answer(response, 500, { errors: [{ error_code: 2000, error: 'Invalid partition name specified' }] });
      return;
    }
    const id = this.#nextId++;
    const fields = { comment: String(job.comment), standard_output: String(job.standard_output) };
    this.add({ job_id: id, ...fields });
    this.#answer(response, 200, { job_id: id, step_id: 'BATCH', job_submit_user_msg: '' });
  }
}
