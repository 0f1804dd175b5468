import { NotFoundError, PermanentError, type PluginError, ThrottledError, TransientError } from '../errors.js';
import { retryAfterMs } from './retry-after.js';
import type { HttpAnswer, HttpErrorTable, HttpMeaning, HttpMethod } from './types.js';

/** Longest piece of an answer that is quoted in an error, in characters. */
const QUOTED = 300;

/** What an answer is judged by. */
export interface Judged {
  readonly method: HttpMethod;
  /** `GET /jobs/7`, for messages; no secrets in it. */
  readonly what: string;
  readonly answer: HttpAnswer;
  /** The body as it came, for messages. */
  readonly text: string;
  /** Takes secrets out of what is quoted. */
  readonly mask: (text: string) => string;
}

/** The error that an answer stands for, by the request's table, the client's and the helper's own; undefined for none. */
export function errorOf(judged: Judged, tables: readonly (HttpErrorTable | undefined)[]): Error | undefined {
  for (const table of tables) {
    const entry = entryOf(table, judged.answer.status);
    const meaning = typeof entry === 'function' ? entry(judged.answer) : entry;
    if (meaning instanceof Error) return meaning;
    if (meaning !== undefined) return build(judged, meaning);
  }
  return build(judged, ownMeaning(judged));
}

function entryOf(table: HttpErrorTable | undefined, status: number) {
  if (table === undefined) return undefined;
  const exact = String(status);
  const hundred = `${exact[0]}xx`;
  const entries = table as Readonly<Record<string, HttpErrorTable[number]>>;
  if (Object.hasOwn(entries, exact)) return entries[exact];
  return Object.hasOwn(entries, hundred) ? entries[hundred] : undefined;
}

/**
 * The helper's own table. Only a request that makes or changes something can be refused for good: a read that is
 * refused says nothing about the job, and a permanent error would end the task. Nor does a page of a proxy refuse for
 * the remote.
 */
function ownMeaning({ method, answer }: Judged): HttpMeaning {
  const { status, headers } = answer;
  if (status >= 200 && status < 300) return 'ok';
  if (status === 429) return 'throttled';
  if (status === 503 && headers['retry-after'] !== undefined) return 'throttled';
  if (status === 403 && headers['x-ratelimit-remaining'] === '0') return 'throttled';
  const reads = method === 'GET' || method === 'HEAD' || method === 'DELETE';
  if (reads) return status === 404 || status === 410 ? 'notFound' : 'transient';
  if (status < 400 || status >= 500 || PASSING.has(status)) return 'transient';
  return /\bhtml\b/i.test(headers['content-type'] ?? '') ? 'transient' : 'permanent';
}

/** Refusals of a write that pass: credentials that are being changed, a conflict with what is under way, time-outs. */
const PASSING = new Set([401, 407, 408, 409, 421, 423, 425]);

/** Refusals that come before anything was made. */
const BEFORE_ANYTHING = new Set([401, 407, 421, 429]);

function build(judged: Judged, meaning: HttpMeaning): PluginError | undefined {
  const { answer, what, text, mask } = judged;
  if (meaning === 'ok') return undefined;
  const said = summaryOf(answer, text, mask);
  const message = `${what}: HTTP ${answer.status}${said === '' ? '' : `: ${said}`}`;
  const code = `HTTP${answer.status}`;
  if (meaning === 'notFound') return new NotFoundError(message, { code });
  if (meaning === 'permanent') return new PermanentError(message, { code });
  if (meaning === 'permanentSystem') return new PermanentError(message, { code, faultKind: 'SYSTEM' });
  if (meaning === 'transient') {
    return new TransientError(message, { code, ...(BEFORE_ANYTHING.has(answer.status) ? { notCreated: true } : {}) });
  }
  const ms = retryAfterMs(answer.headers);
  return new ThrottledError(message, { code, ...(ms === undefined ? {} : { retryAfterMs: ms }) });
}

/** What the answer says went wrong: the usual fields of a JSON body, else the beginning of the text. */
function summaryOf({ body, headers }: HttpAnswer, text: string, mask: (text: string) => string): string {
  if (/\bhtml\b/i.test(headers['content-type'] ?? '')) {
    const title = /<title[^>]*>([^<]{1,200})/i.exec(mask(text).slice(0, 4_096))?.[1]?.trim();
    return title === undefined ? 'an HTML page' : `an HTML page, "${title}"`;
  }
  const told = typeof body === 'object' && body !== null ? messageIn(body as Record<string, unknown>) : undefined;
  return mask(told ?? text)
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, QUOTED);
}

function messageIn(body: Record<string, unknown>): string | undefined {
  for (const name of ['message', 'error_description', 'detail', 'error', 'reason', 'title']) {
    if (!Object.hasOwn(body, name)) continue;
    const value = body[name];
    if (typeof value === 'string' && value !== '') return value;
    if (typeof value === 'object' && value !== null && Object.hasOwn(value, 'message')) {
      const inner = (value as { message?: unknown }).message;
      if (typeof inner === 'string' && inner !== '') return inner;
    }
  }
  return undefined;
}
