import { show } from '../../lib/show.js';
import { PermanentError } from '../errors.js';
import { encodeMultipart } from './multipart.js';
import type { HttpMethod, HttpPath, HttpRequestOptions } from './types.js';

export interface EncodedBody {
  readonly type: string;
  readonly bytes: Uint8Array;
}

/** A request that cannot be sent is the plugin's own fault: repeating it would change nothing. */
function unsendable(message: string, cause?: unknown): PermanentError {
  return new PermanentError(message, {
    code: 'HTTPRequestInvalid',
    faultKind: 'SYSTEM',
    ...(cause === undefined ? {} : { cause }),
  });
}

/**
 * A URL that an option of the client holds. Throws a TypeError that names the option and shows what stands there, without what
 * may be a password.
 */
export function optionUrl(option: string, value: unknown, example: string): URL {
  const url = typeof value === 'string' && URL.canParse(value) ? new URL(value) : undefined;
  if (url !== undefined && (url.protocol === 'http:' || url.protocol === 'https:')) return url;
  const shown = typeof value === 'string' ? value.replace(/^.*@/s, '***@') : value;
  throw new TypeError(`${option} of the HTTP client is ${show(shown)}; expected an absolute URL such as ${example}`);
}

/** The base without a trailing slash, for a client that is built at load. Throws a TypeError that names the option. */
export function parseBase(baseUrl: string): URL {
  const url = optionUrl('baseUrl', baseUrl, 'https://jobs.example.com/api');
  if (url.username !== '' || url.password !== '') {
    throw new TypeError('baseUrl of the HTTP client holds user and password; give them as auth: { basic }');
  }
  url.pathname = url.pathname.replace(/\/+$/, '');
  url.hash = '';
  return url;
}

/** Throws PermanentError for a path that leaves the base: what is put into it may come from a task. */
export function urlOf(base: URL, path: HttpPath, query: HttpRequestOptions['query']): URL {
  const text = typeof path === 'string' ? path : `/${path.map((part) => encodeURIComponent(segment(part))).join('/')}`;
  if (text !== '' && !text.startsWith('/') && !text.startsWith('?')) {
    throw unsendable(`the path ${JSON.stringify(text.slice(0, 100))} must start with a slash`);
  }
  const url = new URL(base);
  const prefix = url.pathname === '/' ? '' : url.pathname;
  const [pathname = '', search = ''] = splitAt(text, '?');
  url.pathname = `${prefix}${pathname}` || '/';
  if (!`${url.pathname}/`.startsWith(`${prefix}/`)) {
    throw unsendable(`the path ${JSON.stringify(text.slice(0, 100))} leaves the base URL`);
  }
  const parameters = new URLSearchParams(base.search);
  for (const [name, value] of new URLSearchParams(search)) parameters.append(name, value);
  for (const [name, value] of Object.entries(query ?? {})) if (value !== undefined) parameters.set(name, String(value));
  url.search = parameters.toString();
  return url;
}

/** The way back: the path below the base that a URL stands for, absolute or not; undefined where it leads elsewhere. */
export function pathBelow(base: URL, url: string): string | undefined {
  const root = `${base.origin}${base.pathname === '/' ? '' : base.pathname}`;
  if (!URL.canParse(url, `${root}/`)) return undefined;
  const target = new URL(url, `${root}/`);
  const whole = `${target.origin}${target.pathname}`;
  if (whole !== root && !whole.startsWith(`${root}/`)) return undefined;
  return `${whole.slice(root.length)}${target.search}`;
}

/** Dots alone are a step in a path, escaped or not. */
function segment(part: string | number): string {
  const text = String(part);
  if (text === '' || text === '.' || text === '..') {
    throw unsendable(`${JSON.stringify(text)} is no segment of a path`);
  }
  return text;
}

function splitAt(text: string, mark: string): [string, string] {
  const at = text.indexOf(mark);
  return at < 0 ? [text, ''] : [text.slice(0, at), text.slice(at + 1)];
}

export function encodeBody(options: HttpRequestOptions): EncodedBody | undefined {
  const given = (['json', 'form', 'text', 'bytes', 'multipart'] as const).filter((name) => options[name] !== undefined);
  if (given.length > 1) throw unsendable(`a request has one body, not ${given.join(' and ')}`);
  const { json, form, text, bytes, multipart } = options;
  if (json !== undefined) return { type: 'application/json', bytes: Buffer.from(jsonText(json), 'utf8') };
  if (form !== undefined) {
    const fields = new URLSearchParams(
      Object.entries(form).map(([name, value]): [string, string] => [name, String(value)]),
    );
    return { type: 'application/x-www-form-urlencoded', bytes: Buffer.from(fields.toString(), 'utf8') };
  }
  if (text !== undefined) return { type: 'text/plain; charset=utf-8', bytes: Buffer.from(text, 'utf8') };
  if (bytes !== undefined) return { type: 'application/octet-stream', bytes };
  if (multipart !== undefined) return encodeMultipart(multipart);
  return undefined;
}

function jsonText(value: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(value);
  } catch (cause) {
    throw unsendable('the body cannot be written as JSON', cause);
  }
  if (text === undefined) throw unsendable(`the body is a ${typeof value}, which JSON cannot carry`);
  return text;
}

/** The headers of one request, names in lower case; later ones win. */
export function headersOf(...parts: readonly (Readonly<Record<string, string>> | undefined)[]): Record<string, string> {
  const out: Record<string, string> = Object.create(null);
  for (const part of parts) {
    for (const [name, value] of Object.entries(part ?? {})) out[name.toLowerCase()] = value;
  }
  return out;
}

/** Whether a request may be sent twice (RFC 9110, 9.2.2, and the usual header that makes others so). */
export function isIdempotent(
  method: HttpMethod,
  headers: Readonly<Record<string, string>>,
  said: boolean | undefined,
): boolean {
  if (said !== undefined) return said;
  return (method !== 'POST' && method !== 'PATCH') || headers['idempotency-key'] !== undefined;
}
