import { createHash, timingSafeEqual } from 'node:crypto';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIPv6 } from 'node:net';
import { type ErrorKind, HostError, messageOf } from '../errors/index.js';
import type { Log } from '../telemetry/logger.js';
import { AdminConnections } from './connections.js';
import { type Answer, json, ROUTES, type Route } from './routes.js';
import type { AdminSource } from './source.js';

export interface AdminServerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Connections at a time; for a further one another gives way. */
  readonly maxConnections: number;
  /** Bearer token of /v1/…; without one those paths are closed. */
  readonly token: string | undefined;
  /** A connection whose peer takes nothing of an answer for so long is cut. 30,000 unless given. */
  readonly writeTimeoutMs?: number;
  readonly source: AdminSource;
  readonly log: Log;
}

/** A body is never needed; one up to this size is read and ignored. */
const MAX_BODY_BYTES = 4096;
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 15_000;
const WRITE_TIMEOUT_MS = 30_000;
/** Between two log lines about wrong tokens. */
const DENIED_LOG_PAUSE_MS = 10_000;

const HTTP_STATUS: Readonly<Record<ErrorKind, number>> = {
  invalid: 400,
  not_found: 404,
  conflict: 409,
  exhausted: 429,
  unavailable: 503,
  deadline: 504,
  cancelled: 503,
  precondition: 409,
  unimplemented: 501,
  denied: 403,
  internal: 500,
};

/**
 * The HTTP server beside gRPC: metrics and health for everybody who reaches the port, the operator's view for whoever
 * has the token. `start` once, then `stop` any number of times.
 */
export class AdminServer {
  readonly #options: AdminServerOptions;
  readonly #server: Server;
  readonly #connections: AdminConnections;
  readonly #tokenDigest: Buffer | undefined;
  #deniedLoggedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: AdminServerOptions) {
    this.#options = options;
    this.#tokenDigest = options.token === undefined ? undefined : digest(options.token);
    this.#server = createServer(
      {
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: KEEP_ALIVE_MS,
        connectionsCheckingInterval: 1_000,
        maxHeaderSize: 16 * 1024,
      },
      (request, response) => void this.#serve(request, response),
    );
    this.#connections = new AdminConnections(options.maxConnections);
    this.#server.on('connection', (socket) => this.#connections.add(socket));
    this.#server.maxRequestsPerSocket = 10_000;
  }

  /** Listens. Throws LISTEN_FAILED. Answers the bound address, such as `127.0.0.1:9090`. */
  async start(): Promise<string> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      const failed = (error: NodeJS.ErrnoException) =>
        reject(
          new HostError('LISTEN_FAILED', `the admin server cannot listen on ${host}:${port}: ${messageOf(error)}`, {
            cause: error,
          }),
        );
      this.#server.once('error', failed);
      this.#server.listen(port, host, () => {
        this.#server.off('error', failed);
        this.#server.on('error', (error) => this.#options.log.emit('admin.fault', { error: messageOf(error) }));
        resolve();
      });
    });
    return this.address;
  }

  /** The bound address; valid while it listens. */
  get address(): string {
    const { address, port } = this.#server.address() as AddressInfo;
    return isIPv6(address) ? `[${address}]:${port}` : `${address}:${port}`;
  }

  /** Takes no more connections, lets requests in flight end within `graceMs`, then ends them. */
  async stop(graceMs = 1_000): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => this.#server.closeAllConnections(), graceMs);
    await closed;
    clearTimeout(timer);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    // A client that goes away while it is answered is its own business.
    response.on('error', () => {});
    const { socket } = request;
    response.on('close', () => this.#connections.answering(socket, false));
    let answer: Answer;
    let headers: Readonly<Record<string, string>> = {};
    const path = (request.url ?? '/').split('?', 1)[0] as string;
    try {
      const { route, params, query } = find(request, path);
      this.#authorize(request, route, path);
      await drainBody(request);
      this.#connections.answering(socket, true);
      answer = await route.handle(this.#options.source, params, query);
      if (route.action !== undefined) {
        const remote = request.socket.remoteAddress;
        this.#options.log.emit('admin.action', { action: route.action, plugin: params[0], remote });
      }
    } catch (thrown) {
      const error = HostError.is(thrown) ? thrown : new HostError('INTERNAL', 'the request failed inside the daemon');
      if (error.kind === 'internal') {
        this.#options.log.emit('admin.fault', { path, code: error.code, error: messageOf(thrown) });
      }
      const allowed = error.code === 'ADMIN_ROUTE_UNKNOWN' ? allowedMethods(path) : [];
      answer = json(statusOf(error, allowed), { code: error.code, message: error.message });
      headers = errorHeaders(error, allowed);
    }
    // What is left of a body that was not read must not be taken for the next request.
    if (!request.complete) headers = { ...headers, connection: 'close' };
    const length = Buffer.byteLength(answer.body);
    // Else whoever asks and does not read keeps a place among the connections, which the probes need.
    response.setTimeout(this.#options.writeTimeoutMs ?? WRITE_TIMEOUT_MS);
    response.writeHead(answer.status, {
      'content-type': answer.contentType,
      'content-length': length,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...headers,
    });
    response.end(request.method === 'HEAD' ? undefined : answer.body);
  }

  #authorize(request: IncomingMessage, route: Route, path: string): void {
    if (!route.guarded) return;
    if (this.#tokenDigest === undefined) {
      throw new HostError(
        'ADMIN_TOKEN_UNSET',
        'the operator’s view is closed: set admin.token or admin.tokenFile (PLUGIN_HOST_ADMIN_TOKEN) and send it as "authorization: Bearer <token>"',
      );
    }
    const given = /^Bearer (\S{1,8192})$/i.exec(request.headers.authorization ?? '')?.[1];
    if (given !== undefined && timingSafeEqual(digest(given), this.#tokenDigest)) return;
    const now = performance.now();
    if (now - this.#deniedLoggedAtMs >= DENIED_LOG_PAUSE_MS) {
      this.#deniedLoggedAtMs = now;
      this.#options.log.emit('admin.denied', { path, remote: request.socket.remoteAddress });
    }
    const seen = given === undefined ? 'no bearer token' : 'a bearer token that is not the configured one';
    throw new HostError('ADMIN_TOKEN_WRONG', `seen ${seen}, expected "authorization: Bearer <admin.token>"`);
  }
}

/** Equal lengths whatever is sent, so that the comparison takes the same time. */
const digest = (token: string) => createHash('sha256').update(token).digest();

function find(request: IncomingMessage, path: string): { route: Route; params: string[]; query: URLSearchParams } {
  const method = request.method === 'HEAD' ? 'GET' : request.method;
  for (const route of ROUTES) {
    const match = route.method === method ? route.pattern.exec(path) : null;
    if (match !== null) {
      const text = request.url ?? '';
      return { route, params: match.slice(1), query: new URLSearchParams(text.slice(path.length + 1)) };
    }
  }
  const allowed = allowedMethods(path);
  const shown = JSON.stringify(path.slice(0, 100));
  throw new HostError(
    'ADMIN_ROUTE_UNKNOWN',
    allowed.length > 0
      ? `seen ${request.method} ${shown}, expected ${allowed.join(' or ')}`
      : `there is no ${shown}; see docs/operations.md`,
  );
}

function allowedMethods(path: string): string[] {
  const methods = new Set(ROUTES.filter(({ pattern }) => pattern.test(path)).map(({ method }) => method));
  return [...methods];
}

async function drainBody(request: IncomingMessage): Promise<void> {
  const declared = Number(request.headers['content-length'] ?? 0);
  let seen = declared;
  if (declared <= MAX_BODY_BYTES) {
    seen = 0;
    // destroyOnReturn would cut the connection before the answer is written.
    try {
      for await (const chunk of request.iterator({ destroyOnReturn: false })) {
        seen += (chunk as Buffer).length;
        if (seen > MAX_BODY_BYTES) break;
      }
    } catch (cause) {
      // Its own business, and no fault of ours to log.
      throw new HostError('CALL_CANCELLED', 'the client went away within its request', { cause });
    }
  }
  if (seen > MAX_BODY_BYTES) {
    throw new HostError('REQUEST_TOO_LARGE', `the body is larger than ${MAX_BODY_BYTES} bytes; none is needed`);
  }
}

function statusOf(error: HostError, allowed: readonly string[]): number {
  if (error.code === 'ADMIN_TOKEN_WRONG') return 401;
  if (error.code === 'REQUEST_TOO_LARGE') return 413;
  return allowed.length > 0 ? 405 : HTTP_STATUS[error.kind];
}

function errorHeaders(error: HostError, allowed: readonly string[]): Record<string, string> {
  if (error.code === 'ADMIN_TOKEN_WRONG') return { 'www-authenticate': 'Bearer realm="plugin-host"' };
  if (allowed.length > 0) return { allow: allowed.join(', ') };
  return error.retryAfterMs === undefined ? {} : { 'retry-after': String(Math.ceil(error.retryAfterMs / 1000)) };
}
