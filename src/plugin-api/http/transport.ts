import { readFileSync, statSync } from 'node:fs';
import type { Dispatcher, EnvHttpProxyAgent } from 'undici';
import { Gathered } from '../../lib/gathered.js';
import type { CallLease } from '../call-lease.js';
import { withNetworks } from './no-proxy.js';
import type { HttpClientOptions, HttpMethod, HttpTls } from './types.js';

/** How often files with certificates are looked at again, in milliseconds. */
const TLS_LOOK_MS = 30_000;

export interface SentRequest {
  readonly method: HttpMethod;
  readonly url: URL;
  readonly headers: Record<string, string>;
  readonly body: Uint8Array | undefined;
  readonly signal: AbortSignal;
  /** Asked when the connection is there and the request is about to be written. */
  readonly lease: CallLease | undefined;
  readonly maxBytes: number;
  readonly timeoutMs: number;
}

export interface RawAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
}

/** The answer was larger than the client reads. */
export class AnswerTooLarge extends Error {}

type TransportOptions = Pick<HttpClientOptions, 'tls' | 'proxy' | 'connections' | 'reuseConnections'>;

/**
 * Sockets to the remote. undici is loaded with the first request, so that a plugin that never calls pays nothing; its
 * own agents are used and not Node's fetch, which sends a browser's headers and knows no proxy on Node 20.
 *
 * States: no agent (nothing was sent yet) → one agent, replaced when its certificates change, whose requests end on the old one →
 * closed, for good.
 */
export class Transport {
  readonly #options: TransportOptions;
  readonly #hosts: readonly string[];
  #agent: Promise<EnvHttpProxyAgent> | undefined;
  #tlsStamp = '';
  #lookAtMs = 0;
  readonly #old = new Set<Promise<void>>();
  #closed = false;

  /** `hosts` are those that are asked, for networks past the proxy. */
  constructor(options: TransportOptions, hosts: readonly string[] = []) {
    this.#options = options;
    this.#hosts = hosts;
  }

  /** Sends once. Rejects with whatever undici or the signal says; nothing of the answer stays open then. */
  async send(request: SentRequest): Promise<RawAnswer> {
    const { signal } = request;
    const alone = this.#options.reuseConnections === false;
    const agent = alone ? await this.#make() : await this.#current();
    try {
      signal.throwIfAborted();
      return await this.#sendBy(agent, request);
    } finally {
      if (alone) await agent.destroy();
    }
  }

  async #sendBy(agent: EnvHttpProxyAgent, request: SentRequest): Promise<RawAnswer> {
    const { method, url, headers, body, signal, lease, maxBytes, timeoutMs } = request;
    const by = lease === undefined ? agent : agent.compose(whileHeld(lease, signal));
    const answer = await by.request({
      origin: url.origin,
      path: url.pathname + url.search,
      method: method as Dispatcher.HttpMethod,
      headers,
      body: body ?? null,
      signal,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    });
    return { status: answer.statusCode, headers: plain(answer.headers), body: await readBody(answer.body, maxBytes) };
  }

  async close(): Promise<void> {
    this.#closed = true;
    const agent = await this.#agent?.catch(() => undefined);
    await Promise.all([agent?.destroy(), ...this.#old]);
  }

  async #current(): Promise<EnvHttpProxyAgent> {
    if (this.#closed) throw new Error('the HTTP client is closed');
    const now = performance.now();
    if (this.#agent !== undefined && now >= this.#lookAtMs && stampOf(this.#options.tls) !== this.#tlsStamp) {
      // Requests under way finish on the old sockets.
      const retired = this.#agent.then((agent) => agent.close()).catch(() => undefined);
      this.#old.add(retired);
      void retired.then(() => this.#old.delete(retired));
      this.#agent = undefined;
    }
    if (now >= this.#lookAtMs) this.#lookAtMs = now + TLS_LOOK_MS;
    this.#agent ??= this.#make();
    try {
      return await this.#agent;
    } catch (error) {
      // A file that cannot be read yet is tried again with the next request.
      this.#agent = undefined;
      throw error;
    }
  }

  async #make(): Promise<EnvHttpProxyAgent> {
    const undici = await import('undici');
    const { tls, proxy, connections = 64 } = this.#options;
    this.#tlsStamp = stampOf(tls);
    const secure = tls === undefined ? undefined : tlsOptions(tls);
    return new undici.EnvHttpProxyAgent({
      connections,
      pipelining: 1,
      keepAliveTimeout: 15_000,
      // The request's own bounds apply instead.
      headersTimeout: 0,
      bodyTimeout: 0,
      proxyTunnel: false,
      ...(secure === undefined ? {} : { connect: secure, requestTls: secure }),
      ...proxyOptions(proxy, this.#hosts),
    });
  }
}

/** Lets a request go once the lease was asked: it may have waited for its connection for long. */
function whileHeld(lease: CallLease, signal: AbortSignal): Dispatcher.DispatcherComposeInterceptor {
  return (dispatch) => (options, handler) =>
    dispatch(options, {
      onRequestStart(controller, context) {
        if (lease.maySend()) handler.onRequestStart?.(controller, context);
        else controller.abort(signal.reason as Error);
      },
      onRequestUpgrade: (...told) => handler.onRequestUpgrade?.(...told),
      onResponseStart: (...told) => handler.onResponseStart?.(...told),
      onResponseData: (...told) => handler.onResponseData?.(...told),
      onResponseEnd: (...told) => handler.onResponseEnd?.(...told),
      onResponseError: (...told) => handler.onResponseError?.(...told),
    });
}

function proxyOptions(proxy: HttpClientOptions['proxy'], hosts: readonly string[]) {
  if (proxy === undefined) {
    const noProxy = process.env.no_proxy ?? process.env.NO_PROXY;
    return noProxy === undefined ? {} : { noProxy: withNetworks(noProxy, hosts) };
  }
  // `*` sends everything straight.
  if (proxy === 'none') return { noProxy: '*' };
  return { httpProxy: proxy.url, httpsProxy: proxy.url, noProxy: withNetworks(proxy.noProxy ?? '', hosts) };
}

function tlsOptions({ ca, caFile, cert, certFile, key, keyFile }: HttpTls) {
  const read = (text: string | undefined, file: string | undefined) =>
    text ?? (file === undefined ? undefined : readFileSync(file, 'utf8'));
  const found = { ca: read(ca, caFile), cert: read(cert, certFile), key: read(key, keyFile) };
  return Object.fromEntries(Object.entries(found).filter(([, value]) => value !== undefined));
}

/** Changes when one of the files does, also when a symbolic link above it is swapped. */
function stampOf(tls: HttpTls | undefined): string {
  return [tls?.caFile, tls?.certFile, tls?.keyFile]
    .map((file) => {
      if (file === undefined) return '';
      const { ino, mtimeMs, size } = statSync(file, { throwIfNoEntry: false }) ?? { ino: 0, mtimeMs: 0, size: 0 };
      return `${ino}:${mtimeMs}:${size}`;
    })
    .join();
}

function plain(headers: Record<string, string | string[] | undefined>): Readonly<Record<string, string>> {
  const out: Record<string, string> = Object.create(null);
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined) out[name] = Array.isArray(value) ? value.join(', ') : value;
  }
  return out;
}

async function readBody(body: Dispatcher.ResponseData['body'], maxBytes: number): Promise<Buffer> {
  const gathered = new Gathered();
  for await (const chunk of body as AsyncIterable<Buffer>) {
    // Leaving the loop destroys the body and with it the socket.
    if (gathered.bytes + chunk.length > maxBytes) {
      throw new AnswerTooLarge(`the answer is larger than ${maxBytes} bytes`);
    }
    gathered.add(chunk, maxBytes);
  }
  return gathered.all();
}
