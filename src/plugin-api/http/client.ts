import { show } from '../../lib/show.js';
import { type CallLease, leaseOf } from '../call-lease.js';
import { TransientError } from '../errors.js';
import { decodedText, NOT_JSON, parseJson, parseLines, unpacked } from './answer-body.js';
import { type Credential, Credentials } from './credentials.js';
import { isReset, toPluginError } from './failure.js';
import { dataOf, isQuery } from './graphql.js';
import { errorOf, isRead, type Judged } from './meaning.js';
import { encodeBody, headersOf, isIdempotent, optionUrl, parseBase, pathBelow, urlOf } from './request.js';
import { RequestSecrets } from './secrets.js';
import { type RawAnswer, Transport } from './transport.js';
import type {
  HttpAnswer,
  HttpBodyKind,
  HttpCall,
  HttpClient,
  HttpClientOptions,
  HttpMethod,
  HttpPath,
  HttpRequestOptions,
} from './types.js';

const DEFAULT_MAX_BYTES = 16 * 1024 * 1024;
const DEFAULT_TIMEOUT_MS = 60_000;
/** Redirects within the remote's own origin that are followed. */
const MAX_REDIRECTS = 5;

/** One request, all decided but its credential. */
interface Prepared {
  readonly method: HttpMethod;
  readonly url: URL;
  readonly headers: Record<string, string>;
  readonly body: Uint8Array | undefined;
  readonly signal: AbortSignal;
  readonly lease: CallLease | undefined;
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
    const { auth, proxy } = options;
    const hosts = [this.#base.hostname];
    if (auth !== undefined && 'clientCredentials' in auth) {
      const { tokenUrl } = auth.clientCredentials;
      hosts.push(optionUrl('auth.clientCredentials.tokenUrl', tokenUrl, 'https://login.example.com/token').hostname);
    }
    if (typeof proxy === 'object') optionUrl('proxy.url', proxy.url, 'http://proxy.example.com:3128');
    this.#transport = new Transport(options, hosts);
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

  pathOf(url: string): string {
    const path = pathBelow(this.#base, url);
    if (path !== undefined) return path;
    const shown = show(url.replace(/\?.*$/s, '').replace(/^.*@/s, '***@'));
    throw new TransientError(`the remote names ${shown}, which is not below ${this.#base.href}`, {
      code: 'HTTPElsewhere',
    });
  }

  async request(call: Call, method: HttpMethod, path: HttpPath, options: HttpRequestOptions = {}): Promise<HttpAnswer> {
    const url = urlOf(this.#base, path, options.query);
    const what = `${method} ${url.origin}${url.pathname}`;
    const timeout = AbortSignal.timeout(this.#timeoutMs);
    const lease = leaseOf(call.signal);
    const signal =
      call.signal === undefined ? timeout : (lease?.with(timeout) ?? AbortSignal.any([call.signal, timeout]));
    const secrets = new RequestSecrets();
    const progress: Progress = { done: false };
    try {
      const body = encodeBody(options);
      const headers = headersOf(
        {
          accept: ACCEPT[options.as ?? 'json'],
          'user-agent': 'webapi-plugin-host',
        },
        body === undefined ? undefined : { 'content-type': body.type },
        this.#options.headers,
        options.headers,
      );
      secrets.addNamed(headers);
      secrets.addNamed(Object.fromEntries(url.searchParams));
      const repeatable = isIdempotent(method, headers, options.idempotent);
      const prepared = { method, url, headers, body: body?.bytes, signal, lease, repeatable };
      const raw = await this.#signed(call, prepared, secrets, progress);
      const reads = isRead(call, method);
      return await this.#judge(raw, { reads, done: progress.done, what, mask: secrets.mask }, options);
    } catch (thrown) {
      const error = toPluginError(thrown, what, secrets.mask, signal.aborted);
      if (!progress.done || (error as Partial<TransientError>).notCreated !== true) throw error;
      // A page that the request led to after it was carried out could not be had.
      throw new TransientError(error.message, { code: 'HTTPUnreachable', cause: error });
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
  async #signed(call: Call, request: Prepared, secrets: RequestSecrets, progress: Progress): Promise<RawAnswer> {
    const credential = await this.#credentials.current(call);
    const first = await this.#follow(withCredential(request, credential, secrets), progress);
    if (first.status !== 401 || credential === undefined || progress.done) return first;
    const newer = await this.#credentials.current(call, credential);
    if (newer === undefined || newer.header === credential.header) return first;
    return this.#follow(withCredential(request, newer, secrets), progress);
  }

  /** Follows redirects within the origin; elsewhere the credential must not go. */
  async #follow(request: Prepared, progress: Progress): Promise<RawAnswer> {
    let at = request;
    for (let hops = 0; ; hops++) {
      const answer = await this.#send(at);
      const next = hops < MAX_REDIRECTS ? redirected(at, answer) : undefined;
      if (next === undefined) return answer;
      if (next.method !== at.method) progress.done = true;
      at = next;
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

  async #judge(
    raw: RawAnswer,
    about: Pick<Judged, 'reads' | 'done' | 'what' | 'mask'>,
    options: HttpRequestOptions,
  ): Promise<HttpAnswer> {
    const { as = 'json' } = options;
    const success = raw.status < 300;
    const bytes = await unpacked(raw, about.what, this.#maxBytes);
    const decoded = as === 'bytes' && success ? '' : decodedText(bytes, raw.headers['content-type'], success);
    const text = decoded ?? '';
    const parsed = success && as !== 'json' ? (as === 'ndjson' ? parseLines(text) : undefined) : parseJson(text);
    const answer: HttpAnswer = {
      status: raw.status,
      headers: raw.headers,
      body: bodyOf(bytes, as, success, text, parsed),
    };
    const error = errorOf({ ...about, answer, text }, [options.errors, this.#options.errors]);
    if (error !== undefined) throw error;
    if (decoded === undefined) {
      throw new TransientError(`${about.what}: HTTP ${raw.status} with a body that is not in its charset`);
    }
    if ((as === 'json' || as === 'ndjson') && parsed === NOT_JSON) {
      const type = (raw.headers['content-type'] ?? 'nothing about its type').slice(0, 80);
      const start = about.mask(text).slice(0, 200).replace(/\s+/g, ' ');
      throw new TransientError(`${about.what}: HTTP ${raw.status} with ${type}, which is no JSON: ${start}`);
    }
    const failed = answer.body === undefined ? undefined : this.#options.failed?.(answer.body, answer);
    if (typeof failed === 'string') throw new TransientError(`${about.what}: ${about.mask(failed).slice(0, 1_000)}`);
    if (failed !== undefined) throw failed;
    // What was judged is parsed; what the plugin takes for a success in spite of its status comes as it asked.
    if (success || as === 'json' || bytes.length === 0) return answer;
    return { ...answer, body: as === 'text' ? text : as === 'bytes' ? bytes : parseLines(text) };
  }

  async #fetchToken(grant: {
    readonly url: string;
    readonly form: Readonly<Record<string, string>>;
    readonly header: string | undefined;
    readonly secrets: readonly string[];
  }): Promise<unknown> {
    const secrets = new RequestSecrets();
    secrets.add(...grant.secrets);
    const { mask } = secrets;
    const url = new URL(grant.url);
    const what = `POST ${url.origin}${url.pathname}`;
    const signal = AbortSignal.timeout(this.#timeoutMs);
    try {
      const body = encodeBody({ form: grant.form });
      const raw = await this.#send({
        method: 'POST',
        url,
        headers: headersOf(
          { accept: 'application/json', 'content-type': body?.type ?? '' },
          grant.header === undefined ? undefined : { authorization: grant.header },
        ),
        body: body?.bytes,
        signal,
        // A token changes nothing at the remote; what it is for asks the lease.
        lease: undefined,
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

/** How far a request has come: `done` once it was carried out and led to a page of its own (303). */
interface Progress {
  done: boolean;
}

const ACCEPT: { readonly [as in HttpBodyKind]: string } = {
  json: 'application/json',
  ndjson: 'application/x-ndjson, application/jsonl, application/json;q=0.9',
  text: '*/*',
  bytes: '*/*',
};

/**
 * Where a redirect within the origin leads, by RFC 9110, 15.4: 303 to a page that is read, 307 and 308 to the same request
 * elsewhere. 301 and 302 say for reads alone what is to be done. Undefined where it is not followed.
 */
function redirected(at: Prepared, { status, headers }: RawAnswer): Prepared | undefined {
  const { location } = headers;
  const reads = at.method === 'GET' || at.method === 'HEAD';
  const followed = status === 303 || status === 307 || status === 308 || (reads && (status === 301 || status === 302));
  if (!followed || location === undefined || !URL.canParse(location, at.url.href)) return undefined;
  const url = new URL(location, at.url);
  if (url.origin !== at.url.origin) return undefined;
  if (status !== 303 || reads) return { ...at, url };
  const { 'content-type': _, ...kept } = at.headers;
  return { ...at, url, method: 'GET', headers: kept, body: undefined, repeatable: true };
}

function withCredential(request: Prepared, credential: Credential | undefined, secrets: RequestSecrets): Prepared {
  if (credential === undefined) return request;
  secrets.add(...credential.secrets);
  return { ...request, headers: { ...request.headers, authorization: credential.header } };
}

function bodyOf(bytes: Buffer, as: HttpBodyKind, success: boolean, text: string, parsed: unknown): unknown {
  if (bytes.length === 0) return as === 'ndjson' && success ? [] : undefined;
  if (as === 'bytes' && success) return bytes;
  if (as === 'text' && success) return text;
  return parsed === NOT_JSON ? text : parsed;
}
