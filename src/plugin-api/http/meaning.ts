import { NotFoundError, PermanentError, type PluginError, ThrottledError, TransientError } from '../errors.js';
import { retryAfterMs } from './retry-after.js';
import type { HttpAnswer, HttpCall, HttpErrorTable, HttpMeaning, HttpMethod } from './types.js';

/** Longest piece of an answer that is quoted in an error, in characters. */
const QUOTED = 300;

/** What an answer is judged by. */
export interface Judged {
  /** Whether it was asked for something that exists: such a request is never refused for good. */
  readonly reads: boolean;
  /** `GET /jobs/7`, for messages; no secrets in it. */
  readonly what: string;
  /** The code of the error; `HTTP404` and the like unless given. */
  readonly code?: string;
  readonly answer: HttpAnswer;
  /** The body as it came, for messages. */
  readonly text: string;
  /** The request was carried out, and this is the answer of a page that it led to: nothing here says that nothing was made. */
  readonly done?: boolean;
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
 * Reads and deletes by their method, and every request of a call about a job that exists: remotes that are searched by
 * POST (GraphQL, filters) or cancel by it are read like others.
 */
export function isRead(call: HttpCall, method?: HttpMethod): boolean {
  return call.resourceMeta !== undefined || method === 'GET' || method === 'HEAD' || method === 'DELETE';
}

/**
 * The helper's own table. Only a request that makes or changes something can be refused for good: a read that is
 * refused says nothing about the job, and a permanent error would end the task. Nor does a page of a proxy refuse for
 * the remote.
 */
function ownMeaning({ reads, answer }: Judged): HttpMeaning {
  const { status, headers } = answer;
  if (status >= 200 && status < 300) return 'ok';
  if (status === 429) return 'throttled';
  if (status === 503 && headers['retry-after'] !== undefined) return 'throttled';
  if (status === 403 && REMAINING.some((name) => headers[name] === '0')) return 'throttled';
  if (reads) return status === 404 || status === 410 ? 'notFound' : 'transient';
  if (status < 400 || status >= 500 || PASSING.has(status)) return 'transient';
  return /\bhtml\b/i.test(headers['content-type'] ?? '') ? 'transient' : 'permanent';
}

/** Refusals of a write that pass: credentials that are being changed, a conflict with what is under way, time-outs. */
const PASSING = new Set([401, 407, 408, 409, 421, 423, 425]);

/** Where remotes say how many calls are left. */
const REMAINING = ['x-ratelimit-remaining', 'ratelimit-remaining', 'x-rate-limit-remaining'];

/** Refusals that come before anything was made. */
const BEFORE_ANYTHING = new Set([401, 407, 421, 429]);

function build(judged: Judged, meaning: HttpMeaning): PluginError | undefined {
  const { answer, what, text, mask } = judged;
  if (meaning === 'ok') return undefined;
  const said = summaryOf(answer, text, mask);
  const message = `${what}: HTTP ${answer.status}${said === '' ? '' : `: ${said}`}`;
  const { code = `HTTP${answer.status}` } = judged;
  if (judged.done === true) return new TransientError(message, { code });
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
  const told =
    typeof body === 'object' && body !== null ? messageIn(body as Record<string, unknown>) : messageInXml(text);
  return mask(told ?? endOfTraceback(text))
    .replace(/\s+/g, ' ')
    .trim()
    .slice(0, QUOTED);
}

/** Python services answer with a whole traceback, which says what is wrong in its last line; other texts as they are. */
function endOfTraceback(text: string): string {
  if (!/\bTraceback \(most recent call last\):\s*\n/.test(text.slice(0, 2_000))) return text;
  return text.slice(-4_000).trimEnd().split('\n').at(-1) || text;
}

/** The elements that services with XML (S3 and its like, SOAP) put their reason into. */
function messageInXml(text: string): string | undefined {
  if (!/^\s*<(\?xml|[\w:]+[\s>])/.test(text.slice(0, 200))) return undefined;
  // Every repetition is bounded and meets no other one of its kind: the remote chooses the text.
  const told = /<(?:\w{1,40}:)?(?:message|faultstring|reason|error)\b[^<>]{0,200}>([^<]{1,1000})<\//i;
  return told.exec(text.slice(0, 64_000))?.[1]?.trim() || undefined;
}

function messageIn(body: Record<string, unknown>): string | undefined {
  const { errors } = body;
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
  if (typeof first === 'object' && first !== null) return messageIn({ ...first, errors: undefined });
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
