import { TransientError } from '../errors.js';
import { type Credential, Credentials } from './credentials.js';
import { isReset, toPluginError } from './failure.js';
import { dataOf, isQuery } from './graphql.js';
import { errorOf, isRead } from './meaning.js';
import { encodeBody, headersOf, isIdempotent, parseBase, unsendable, urlOf } from './request.js';
import { type RawAnswer, Transport } from './transport.js';
import type {
  HttpAnswer,
  HttpCall,
  HttpClient,
  HttpClientOptions,
  HttpMethod,
  HttpPath,
  HttpRequestOptions,
} from './types.js';

const DEFAULT_MAX_BYTES = 16 * 1024 * 1024;
const DEFAULT_TIMEOUT_MS = 60_000;
/** Of an answer that is quoted: far more than is quoted, and any secret. */
const MAX_QUOTED_FROM = 64 * 1024;
/** Redirects of a read within the remote's own origin that are followed. */
const MAX_REDIRECTS = 5;

/** One request, all decided but its credential. */
interface Prepared {
  readonly method: HttpMethod;
  readonly url: URL;
  readonly headers: Record<string, string>;
  readonly body: Uint8Array | undefined;
  readonly signal: AbortSignal;
  readonly repeatable: boolean;
}

/**
 * A client of one remote, for a plugin's `load` to make and its methods to use. Answers parsed JSON (undefined for an
 * empty body) and throws errors of the plugin contract alone:
 *
 * | Answer | Request that reads or deletes, or is about a job that exists | Request that makes or changes |
 * | --- | --- | --- |
 * | 429, 503 with Retry-After, 403 with no calls left | ThrottledError with the delay | the same |
 * | 404, 410 | NotFoundError | PermanentError |
 * | 401 | once more with a new credential, then TransientError | the same; nothing was created |
 * | 408, 409, 425 | TransientError | TransientError |
 * | other 4xx | TransientError | PermanentError; TransientError for a page of HTML, which a proxy sent |
 * | 5xx, a redirect elsewhere, no answer | TransientError | TransientError |
 *
 * @throws TypeError for options that no request could be made with
 */
export function createHttpClient<Call extends HttpCall = HttpCall>(options: HttpClientOptions<Call>): HttpClient<Call> {
  return new UndiciClient(options);
}

class UndiciClient<Call extends HttpCall> implements HttpClient<Call> {
  readonly #options: HttpClientOptions<Call>;
  readonly #base: URL;
  readonly #transport: Transport;
  readonly #credentials: Credentials<Call>;

  constructor(options: HttpClientOptions<Call>) {
    this.#options = options;
    this.#base = parseBase(options.baseUrl);
    this.#transport = new Transport(options);
    this.#credentials = new Credentials(options.auth, (grant) => this.#fetchToken(grant));
  }

  async get<T>(call: Call, path: HttpPath, options?: HttpRequestOptions): Promise<T> {
    return (await this.request(call, 'GET', path, options)).body as T;
  }

  async post<T>(call: Call, path: HttpPath, options?: HttpRequestOptions): Promise<T> {
    return (await this.request(call, 'POST', path, options)).body as T;
  }

  async put<T>(call: Call, path: HttpPath, options?: HttpRequestOptions): Promise<T> {
    return (await this.request(call, 'PUT', path, options)).body as T;
  }

  async patch<T>(call: Call, path: HttpPath, options?: HttpRequestOptions): Promise<T> {
    return (await this.request(call, 'PATCH', path, options)).body as T;
  }

  async delete<T>(call: Call, path: HttpPath, options?: HttpRequestOptions): Promise<T> {
    return (await this.request(call, 'DELETE', path, options)).body as T;
  }

  async graphql<T>(
    call: Call,
    query: string,
    variables: Readonly<Record<string, unknown>> = {},
    { path = '', ...options }: HttpRequestOptions & { readonly path?: HttpPath } = {},
  ): Promise<T> {
    const idempotent = isQuery(query);
    const asked = { idempotent, ...options, json: { query, variables } };
    const { body } = await this.request(call, 'POST', path, asked);
    // A query within `create` looks for a job; only what makes one can be refused for good.
    return dataOf(body, { what: `GraphQL at ${this.#base.host}`, reads: isRead(call) }) as T;
  }

  async request(call: Call, method: HttpMethod, path: HttpPath, options: HttpRequestOptions = {}): Promise<HttpAnswer> {
    const url = urlOf(this.#base, path, options.query);
    const what = `${method} ${url.origin}${url.pathname}`;
    const timeoutMs = this.#timeoutMs;
    const timeout = AbortSignal.timeout(timeoutMs);
    const signal = call.signal === undefined ? timeout : AbortSignal.any([call.signal, timeout]);
    const secrets: string[] = [];
    const mask = (text: string) => masked(text, secrets);
    try {
      const body = encodeBody(options);
      const headers = headersOf(
        {
          accept: options.as === undefined || options.as === 'json' ? 'application/json' : '*/*',
          'user-agent': 'webapi-plugin-host',
        },
        body === undefined ? undefined : { 'content-type': body.type },
        this.#options.headers,
        options.headers,
      );
      const repeatable = isIdempotent(method, headers, options.idempotent);
      const raw = await this.#signed(call, { method, url, headers, body: body?.bytes, signal, repeatable }, secrets);
      return this.#judge(raw, { reads: isRead(call, method), what, mask }, options);
    } catch (thrown) {
      throw toPluginError(thrown, what, mask, signal.aborted);
    }
  }

  close(): Promise<void> {
    return this.#transport.close();
  }

  get #timeoutMs(): number {
    return this.#options.timeoutMs ?? DEFAULT_TIMEOUT_MS;
  }

  get #maxBytes(): number {
    return this.#options.maxBytes ?? DEFAULT_MAX_BYTES;
  }

  /** With the credential; a 401 is asked again once with a new one, since it comes before anything is done. */
  async #signed(call: Call, request: Prepared, secrets: string[]): Promise<RawAnswer> {
    const credential = await this.#credentials.current(call);
    const first = await this.#follow(withCredential(request, credential, secrets));
    if (first.status !== 401 || credential === undefined) return first;
    const newer = await this.#credentials.current(call, credential);
    if (newer === undefined || newer.header === credential.header) return first;
    return this.#follow(withCredential(request, newer, secrets));
  }

  /** Follows redirects of reads within the origin; elsewhere the credential must not go. */
  async #follow(request: Prepared): Promise<RawAnswer> {
    let at = request;
    for (let hops = 0; ; hops++) {
      const answer = await this.#send(at);
      const { location } = answer.headers;
      const moved = answer.status >= 301 && answer.status <= 308 && answer.status !== 304 && location !== undefined;
      if (!moved || (at.method !== 'GET' && at.method !== 'HEAD') || hops >= MAX_REDIRECTS) return answer;
      const url = URL.canParse(location, at.url.href) ? new URL(location, at.url) : undefined;
      if (url === undefined || url.origin !== at.url.origin) return answer;
      at = { ...at, url };
    }
  }

  /** A remote may close a kept connection just when it is used again; what is idempotent is then sent once more. */
  async #send(request: Prepared): Promise<RawAnswer> {
    const send = () => this.#transport.send({ ...request, maxBytes: this.#maxBytes, timeoutMs: this.#timeoutMs });
    try {
      return await send();
    } catch (thrown) {
      if (!request.repeatable || request.signal.aborted || !isReset(thrown)) throw thrown;
      return send();
    }
  }

  #judge(
    raw: RawAnswer,
    about: { readonly reads: boolean; readonly what: string; readonly mask: (text: string) => string },
    options: HttpRequestOptions,
  ): HttpAnswer {
    const { as = 'json' } = options;
    const encoding = raw.headers['content-encoding'];
    if (encoding !== undefined && encoding !== 'identity' && raw.body.length > 0) {
      throw new TransientError(
        `${about.what}: the answer is encoded as ${encoding.slice(0, 40)}, which was not asked for`,
      );
    }
    const text = as === 'bytes' && raw.status < 300 ? '' : raw.body.toString('utf8');
    const parsed = as === 'json' || raw.status >= 300 ? parseJson(text) : undefined;
    const answer: HttpAnswer = { status: raw.status, headers: raw.headers, body: bodyOf(raw, as, text, parsed) };
    const error = errorOf({ ...about, answer, text }, [options.errors, this.#options.errors]);
    if (error !== undefined) throw error;
    if (as === 'json' && text !== '' && parsed === NOT_JSON) {
      const type = (raw.headers['content-type'] ?? 'nothing about its type').slice(0, 80);
      const start = about.mask(text).slice(0, 200).replace(/\s+/g, ' ');
      throw new TransientError(`${about.what}: HTTP ${raw.status} with ${type}, which is no JSON: ${start}`);
    }
    const failed = this.#options.failed?.(answer.body, answer);
    if (typeof failed === 'string') throw new TransientError(`${about.what}: ${about.mask(failed).slice(0, 1_000)}`);
    if (failed !== undefined) throw failed;
    // What was judged is parsed; what the plugin takes for a success in spite of its status comes as it asked.
    return raw.status < 300 || as === 'json' || raw.body.length === 0
      ? answer
      : { ...answer, body: as === 'text' ? text : raw.body };
  }

  async #fetchToken(grant: {
    readonly url: string;
    readonly form: Readonly<Record<string, string>>;
    readonly header: string | undefined;
    readonly secrets: readonly string[];
  }): Promise<unknown> {
    const mask = (text: string) => masked(text, grant.secrets);
    const what = `POST ${grant.url}`;
    const signal = AbortSignal.timeout(this.#timeoutMs);
    if (!URL.canParse(grant.url)) throw unsendable('tokenUrl of the HTTP client is no absolute URL');
    try {
      const body = encodeBody({ form: grant.form });
      const raw = await this.#send({
        method: 'POST',
        url: new URL(grant.url),
        headers: headersOf(
          { accept: 'application/json', 'content-type': body?.type ?? '' },
          grant.header === undefined ? undefined : { authorization: grant.header },
        ),
        body: body?.bytes,
        signal,
        // Asking for a token twice makes two tokens, and harms nobody.
        repeatable: true,
      });
      if (raw.status >= 200 && raw.status < 300) return parseJson(raw.body.toString('utf8'));
      const said = mask(raw.body.toString('utf8')).slice(0, 300).replace(/\s+/g, ' ');
      throw new TransientError(`${what}: HTTP ${raw.status}: ${said}`, { code: 'HTTPToken', notCreated: true });
    } catch (thrown) {
      throw toPluginError(thrown, what, mask, signal.aborted);
    }
  }
}

function withCredential(request: Prepared, credential: Credential | undefined, secrets: string[]): Prepared {
  if (credential === undefined) return request;
  secrets.push(...credential.secrets);
  return { ...request, headers: { ...request.headers, authorization: credential.header } };
}

/** Stands for a text that is no JSON; no JSON text is parsed to it. */
const NOT_JSON = Symbol('not JSON');

function parseJson(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return NOT_JSON;
  }
}

function bodyOf(raw: RawAnswer, as: 'json' | 'text' | 'bytes', text: string, parsed: unknown): unknown {
  if (raw.body.length === 0) return undefined;
  if (as === 'bytes' && raw.status < 300) return raw.body;
  if (as === 'text' && raw.status < 300) return text;
  return parsed === NOT_JSON ? text : parsed;
}

/** Of a text of any length the start, so that cutting comes after it. */
function masked(text: string, secrets: readonly string[]): string {
  let out = text.slice(0, MAX_QUOTED_FROM);
  for (const secret of secrets) if (secret.length >= 4) out = out.replaceAll(secret, '***');
  return out;
}
