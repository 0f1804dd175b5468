import { TransientError } from 'webapi-plugin-host';
import { ALREADY_DONE, classify, maybeUnauthorized, type RestFailure, type RestFault } from './faults.js';
import { parseJobs, type SlurmJob } from './jobs.js';
import type { TokenSource } from './token.js';

export interface RestClientOptions {
  /** Root of slurmrestd without a trailing slash. */
  readonly url: string;
  readonly apiVersion: string;
  readonly user: string;
  readonly tokens: TokenSource;
  readonly maxResponseBytes: number;
  readonly now: () => number;
  readonly fetch?: typeof fetch;
}

interface Call {
  readonly what: string;
  readonly method: 'GET' | 'POST' | 'DELETE';
  readonly path: string;
  readonly body?: unknown;
  readonly signal: AbortSignal;
  readonly purpose: Purpose;
}

/** What a request is for; it stands in the User-Agent, so that an operator finds it in slurmrestd's or a proxy's log. */
export type Purpose = 'create' | 'read' | 'delete';

interface Answer {
  readonly status: number;
  readonly retryAfter: string | null;
  readonly text: string;
  readonly json: unknown;
}

/**
 * slurmrestd of one cluster. Every method throws an error of the plugin contract: what Slurm answers is classified in
 * faults.ts, a connection that fails is a TransientError. A refused token is read again once; a submission is repeated
 * only after 401, which comes before anything was done, never after an answer that leaves its fate open.
 */
export class RestClient {
  constructor(private readonly options: RestClientOptions) {}

  /** Every job the controller remembers that `wanted` picks; complete, or an error. */
  async listJobs(
    wanted: Parameters<typeof parseJobs>[1],
    signal: AbortSignal,
    purpose: Purpose = 'read',
  ): Promise<SlurmJob[]> {
    const answer = await this.#call({ what: 'list jobs', method: 'GET', path: 'jobs', signal, purpose });
    return this.#jobs('list jobs', answer, wanted);
  }

  /**
   * The job's records: one, or one an element for an array.
   * @throws NotFoundError when the controller does not know it (any more)
   */
  async getJob(jobId: number, signal: AbortSignal, purpose: Purpose = 'read'): Promise<SlurmJob[]> {
    const what = `read job ${jobId}`;
    const answer = await this.#call({ what, method: 'GET', path: `job/${jobId}`, signal, purpose });
    return this.#jobs(what, answer, () => true);
  }

  /** Answers the new job's id. `warning` is what Slurm had to say about a job it took all the same. */
  async submit(body: unknown, signal: AbortSignal): Promise<{ jobId: number; warning: string }> {
    const answer = await this.#call({
      what: 'submit job',
      method: 'POST',
      path: 'job/submit',
      body,
      signal,
      purpose: 'create',
    });
    const json = answer.json as {
      job_id?: unknown;
      result?: { job_id?: unknown };
      job_submit_user_msg?: unknown;
    } | null;
    const jobId = json?.job_id ?? json?.result?.job_id;
    if (typeof jobId !== 'number' || !Number.isSafeInteger(jobId) || jobId <= 0) {
      throw new TransientError(`submit job: slurmrestd answered no job id: ${answer.text.slice(0, 200)}`);
    }
    const notes = faultsOf(answer.json).map((fault) => fault.text);
    if (typeof json?.job_submit_user_msg === 'string' && json.job_submit_user_msg !== '') {
      notes.push(json.job_submit_user_msg);
    }
    return { jobId, warning: notes.join('; ') };
  }

  /** Cancels a job, or all elements of an array; one that is over already is a success. */
  async cancel(jobId: number, signal: AbortSignal): Promise<void> {
    await this.#call({
      what: `cancel job ${jobId}`,
      method: 'DELETE',
      path: `job/${jobId}`,
      signal,
      purpose: 'delete',
    });
  }

  #jobs(what: string, answer: Answer, wanted: Parameters<typeof parseJobs>[1]): SlurmJob[] {
    const jobs = parseJobs(answer.json, wanted);
    if (jobs === undefined) {
      throw new TransientError(`${what}: the answer is not a job list: ${answer.text.slice(0, 200)}`);
    }
    return jobs;
  }

  async #call(call: Call): Promise<Answer> {
    const token = await this.options.tokens.current();
    let answer = await this.#send(call, token);
    let failure = failureOf(call, answer);
    if (failure === undefined) return answer;
    if (maybeUnauthorized(failure) && (call.method !== 'POST' || failure.status === 401)) {
      const newer = await this.options.tokens.renewed(token);
      if (newer !== undefined) {
        answer = await this.#send(call, newer);
        failure = failureOf(call, answer);
        if (failure === undefined) return answer;
      }
    }
    throw classify(failure, this.options.now());
  }

  async #send(call: Call, token: string): Promise<Answer> {
    const { url, apiVersion, user, maxResponseBytes } = this.options;
    const address = `${url}/slurm/${apiVersion}/${call.path}`;
    const headers: Record<string, string> = {
      accept: 'application/json',
      'user-agent': `webapi-plugin-host-slurm (${call.purpose})`,
      'x-slurm-user-name': user,
      'x-slurm-user-token': token,
    };
    if (call.body !== undefined) headers['content-type'] = 'application/json';
    try {
      const response = await (this.options.fetch ?? fetch)(address, {
        method: call.method,
        headers,
        signal: call.signal,
        // a redirect would carry the token to wherever it points
        redirect: 'error',
        ...(call.body === undefined ? {} : { body: JSON.stringify(call.body) }),
      });
      const text = await readText(response, maxResponseBytes);
      return {
        status: response.status,
        retryAfter: response.headers.get('retry-after'),
        text,
        json: parseJson(text),
      };
    } catch (error) {
      if (error instanceof TransientError) throw error;
      call.signal.throwIfAborted();
      throw new TransientError(`${call.what}: ${address} cannot be reached: ${reasonOf(error)}`, {
        code: 'SlurmUnavailable',
        cause: error,
      });
    }
  }
}

/** fetch says "fetch failed" and keeps the reason in a chain of causes. */
function reasonOf(error: unknown): string {
  const parts: string[] = [];
  for (let at = error; at instanceof Error && parts.length < 4; at = at.cause) {
    const code = (at as { code?: unknown }).code;
    const text = at.message || (typeof code === 'string' ? code : at.name);
    if (!parts.includes(text)) parts.push(text);
  }
  return parts.join(': ') || String(error);
}

async function readText(response: Response, maxBytes: number): Promise<string> {
  if (response.body === null) return '';
  const chunks: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
    size += chunk.byteLength;
    // leaving the loop cancels the body
    if (size > maxBytes) throw new TransientError(`slurmrestd's answer is larger than maxResponseBytes (${maxBytes})`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function faultsOf(json: unknown): RestFault[] {
  const errors = (json as { errors?: unknown } | null | undefined)?.errors;
  if (!Array.isArray(errors)) return [];
  return errors.map((entry: Record<string, unknown> | null) => {
    const code = entry?.error_number ?? entry?.error_code;
    const text = [entry?.description, entry?.error].filter((part) => typeof part === 'string' && part !== '');
    return { code: typeof code === 'number' ? code : undefined, text: text.join(': ') || 'no description' };
  });
}

/**
 * Undefined for a success, and for a cancel of what is over. Errors beside a 2xx are remarks where something was done (a
 * job may be held); a list that comes with errors may lack jobs, and a job that is missing would be taken for lost.
 */
function failureOf(call: Call, answer: Answer): RestFailure | undefined {
  const faults = faultsOf(answer.json);
  const done = answer.status >= 200 && answer.status < 300 && answer.json !== undefined;
  if (done && (call.method !== 'GET' || faults.length === 0)) return undefined;
  if (call.method === 'DELETE' && faults.some((fault) => fault.code !== undefined && ALREADY_DONE.has(fault.code))) {
    return undefined;
  }
  const { status, retryAfter, text } = answer;
  return { what: call.what, submits: call.method === 'POST', status, retryAfter, faults, text };
}
