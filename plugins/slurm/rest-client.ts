import { TransientError } from 'webapi-plugin-host';
import { parseAnswer } from './answer-text.js';
import { ALREADY_DONE, classify, maybeUnauthorized, type RestFailure, type RestFault } from './faults.js';
import { type JobList, type JobView, numberOf, parseJobs } from './jobs.js';
import type { TokenSource } from './token.js';
import { sender } from './transport.js';

export interface RestClientOptions {
  /** Root of slurmrestd without a trailing slash. */
  readonly url: string;
  readonly apiVersion: string;
  readonly user: string;
  readonly tokens: TokenSource;
  readonly maxResponseBytes: number;
  readonly now: () => number;
}

interface Call {
  readonly what: string;
  readonly about: RestFailure['about'];
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
  readonly date: string | null;
  /** The start of the body; like the texts of `faults` without the token, which a proxy may send back. */
  readonly head: string;
  readonly faults: readonly RestFault[];
  readonly json: unknown;
  /** Records of a list that are not even JSON. */
  readonly broken: readonly string[];
}

/** An answer came and nothing can be made of it: too large, or no job list. Another question may be answered. */
export const UNUSABLE = 'SlurmAnswerUnusable';
/** The record of a job is there and does not say what it must. */
export const UNREADABLE = 'SlurmRecord';
const MOST_FAULTS = 10;
const FAULT_CHARS = 500;

/**
 * slurmrestd of one cluster. Every method throws an error of the plugin contract: what Slurm answers is classified in
 * faults.ts, a connection that fails is a TransientError. A refused token is read again once; a submission is repeated
 * only after 401, which comes before anything was done, never after an answer that leaves its fate open.
 */
export class RestClient {
  #isReachable = true;
  readonly #sendAlone: ReturnType<typeof sender>;

  constructor(private readonly options: RestClientOptions) {
    this.#sendAlone = sender(options.url, options.maxResponseBytes);
  }

  /** Every job the controller remembers that `wanted` picks; complete as far as Slurm says, or an error. */
  async listJobs(wanted: (view: JobView) => boolean, signal: AbortSignal, purpose: Purpose = 'read'): Promise<JobList> {
    const answer = await this.#call({ what: 'list jobs', about: 'list', method: 'GET', path: 'jobs', signal, purpose });
    return this.#jobs('list jobs', answer, wanted);
  }

  /**
   * The job's records: one, or one an element for an array.
   * @throws NotFoundError when the controller says that it does not know it (any more)
   * @throws TransientError when it says neither that nor anything of the job
   */
  async getJob(jobId: number, signal: AbortSignal, purpose: Purpose = 'read'): Promise<JobList> {
    const what = `read job ${jobId}`;
    const answer = await this.#call({ what, about: 'job', method: 'GET', path: `job/${jobId}`, signal, purpose });
    const list = this.#jobs(what, answer, () => true);
    if (list.unread.length > 0) {
      throw new TransientError(`${what}: its record cannot be read: ${answer.head}`, { code: UNREADABLE });
    }
    if (list.jobs.length === 0) {
      throw new TransientError(`${what}: slurmrestd answered no job and no error`, { code: 'SlurmListIncomplete' });
    }
    return list;
  }

  /** Answers the new job's id. `warning` is what Slurm had to say about a job it took all the same. */
  async submit(body: unknown, signal: AbortSignal): Promise<{ jobId: number; warning: string }> {
    const call: Call = {
      what: 'submit job',
      about: 'submission',
      method: 'POST',
      path: 'job/submit',
      body,
      signal,
      purpose: 'create',
    };
    const answer = await this.#call(call);
    const json = answer.json as {
      job_id?: unknown;
      result?: { job_id?: unknown };
      job_submit_user_msg?: unknown;
    } | null;
    const jobId = numberOf(json?.job_id) ?? numberOf(json?.result?.job_id) ?? 0;
    const { faults } = answer;
    if (!Number.isSafeInteger(jobId) || jobId <= 0) {
      if (faults.length > 0) throw classify(failed(call, answer), this.options.now());
      throw new TransientError(`submit job: slurmrestd answered no job id: ${answer.head}`);
    }
    const notes = faults.map((fault) => fault.text);
    if (typeof json?.job_submit_user_msg === 'string' && json.job_submit_user_msg !== '') {
      notes.push(json.job_submit_user_msg);
    }
    return { jobId, warning: notes.join('; ') };
  }

  /** Cancels a job, or all elements of an array; one that is over already is a success. */
  async cancel(jobId: number, signal: AbortSignal): Promise<void> {
    await this.#call({
      what: `cancel job ${jobId}`,
      about: 'job',
      method: 'DELETE',
      path: `job/${jobId}`,
      signal,
      purpose: 'delete',
    });
  }

  #jobs(what: string, answer: Answer, wanted: (view: JobView) => boolean): JobList {
    const list = parseJobs(answer.json, wanted, this.options.now());
    if (list === undefined) {
      throw new TransientError(`${what}: the answer is not a job list: ${answer.head}`, { code: UNUSABLE });
    }
    return { jobs: list.jobs, unread: [...list.unread, ...answer.broken] };
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
    throw unusable(call, answer) ?? classify(failure, this.options.now());
  }

  /**
   * Sends once, and what may be repeated without harm once more when its connection breaks; not again before one was
   * answered, so that an outage does not double the calls that the limits allow.
   */
  async #send(call: Call, token: string): Promise<Answer> {
    const address = `${this.options.url}/slurm/${this.options.apiVersion}/${call.path}`;
    for (let mayRepeat = call.method !== 'POST'; ; mayRepeat = false) {
      try {
        const answer = await this.#sendTo(call, token);
        this.#isReachable = true;
        return answer;
      } catch (error) {
        if ((error as { code?: unknown }).code === 'HTTPAnswerTooLarge') {
          const { maxResponseBytes } = this.options;
          const message = `${call.what}: slurmrestd's answer is larger than maxResponseBytes (${maxResponseBytes})`;
          throw new TransientError(message, { code: UNUSABLE });
        }
        call.signal.throwIfAborted();
        const wasReachable = this.#isReachable;
        this.#isReachable = false;
        if (mayRepeat && wasReachable && isReset(error)) continue;
        const message = `${call.what}: ${address} cannot be reached: ${reasonOf((error as Error).cause ?? error)}`;
        throw new TransientError(message, { code: 'SlurmUnavailable', cause: error });
      }
    }
  }

  async #sendTo(call: Call, token: string): Promise<Answer> {
    const headers: Record<string, string> = {
      accept: 'application/json',
      'user-agent': `webapi-plugin-host-slurm (${call.purpose})`,
      'x-slurm-user-name': this.options.user,
      'x-slurm-user-token': token,
    };
    if (call.body !== undefined) headers['content-type'] = 'application/json';
    const { method, signal } = call;
    const body = call.body === undefined ? undefined : JSON.stringify(call.body);
    const path = `/slurm/${this.options.apiVersion}/${call.path}`;
    const { status, headers: answered, text } = await this.#sendAlone(path, { method, headers, body, signal });
    const hide = (part: string) => part.replaceAll(token, '***');
    return {
      status,
      retryAfter: answered['retry-after'] ?? null,
      date: answered.date ?? null,
      head: hide(text.slice(0, 2_000)).slice(0, 200),
      ...readJson(text, hide),
    };
  }
}

const RESET_CODES: ReadonlySet<unknown> = new Set(['ECONNRESET', 'EPIPE', 'UND_ERR_SOCKET', 'HPE_INVALID_EOF_STATE']);

/** Whether a connection was there and broke, so that a second one may hold. */
function isReset(error: unknown): boolean {
  for (let at = error, depth = 0; at instanceof Error && depth < 5; at = at.cause, depth++) {
    if (RESET_CODES.has((at as { code?: unknown }).code)) return true;
  }
  return false;
}

function readJson(text: string, hide: (part: string) => string): Pick<Answer, 'json' | 'broken' | 'faults'> {
  const parsed = parseAnswer(text);
  return { ...parsed, faults: faultsOf(parsed.json).map(({ code, text }) => ({ code, text: hide(text) })) };
}

/** The reason may stand in a chain of causes. */
function reasonOf(error: unknown): string {
  const parts: string[] = [];
  for (let at = error; at instanceof Error && parts.length < 4; at = at.cause) {
    const code = (at as { code?: unknown }).code;
    const text = at.message || (typeof code === 'string' ? code : at.name);
    if (!parts.includes(text)) parts.push(text);
  }
  return parts.join(': ') || String(error);
}

function faultsOf(json: unknown): RestFault[] {
  const errors = (json as { errors?: unknown } | null | undefined)?.errors;
  if (!Array.isArray(errors)) return [];
  return errors.slice(0, MOST_FAULTS).map((entry: Record<string, unknown> | null) => {
    const code = entry?.error_number ?? entry?.error_code;
    const parts = [entry?.description, entry?.error].filter((part) => typeof part === 'string' && part !== '');
    const text = parts.join(': ').slice(0, FAULT_CHARS) || 'no description';
    return { code: typeof code === 'number' ? code : undefined, text };
  });
}

/**
 * Undefined for a success, and for a cancel of what is over. Errors beside a 2xx are remarks where a job was made (it may
 * be held); beside a list they mean that jobs may be missing, which would be taken for lost, and beside a cancel that
 * nothing may have been done.
 */
function failureOf(call: Call, answer: Answer): RestFailure | undefined {
  const { faults } = answer;
  const isOk = answer.status >= 200 && answer.status < 300;
  if (isOk && answer.json !== undefined && (call.method === 'POST' || faults.length === 0)) return undefined;
  if (call.method === 'DELETE') {
    if (answer.status === 204) return undefined;
    if (faults.some((fault) => fault.code !== undefined && ALREADY_DONE.has(fault.code))) return undefined;
  }
  return failed(call, answer);
}

/** For a success that holds what looks like JSON and cannot be read; a proxy's page is no answer at all. */
function unusable(call: Call, answer: Answer): TransientError | undefined {
  if (answer.status !== 200 || answer.json !== undefined || !/^\s*\{/.test(answer.head)) return undefined;
  return new TransientError(`${call.what}: the answer is not JSON: ${answer.head}`, { code: UNUSABLE });
}

function failed(call: Call, answer: Answer): RestFailure {
  const { status, retryAfter, date, faults, head } = answer;
  return { what: call.what, about: call.about, status, retryAfter, date, faults, text: head };
}
