import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, isIPv6, type Socket } from 'node:net';
import type { Entrance } from '../access/entrance.js';
import type { CallGuard } from '../access/guard.js';
import type { Peer } from '../access/peer.js';
import { type ErrorKind, HostError, messageOf } from '../errors/index.js';
import type { Log } from '../telemetry/logger.js';
import { AdminConnections } from './connections.js';
import { InTurn, oncePerTurn } from './in-turn.js';
import { type Answer, json, ROUTES, type Route } from './routes.js';
import type { AdminSource } from './source.js';

export interface AdminServerOptions {
  readonly host: string;
  /** 0 takes a free one. */
  readonly port: number;
  /** Connections at a time; for a further one another gives way. */
  readonly maxConnections: number;
  /** A connection whose peer takes nothing of an answer for so long is cut. */
  readonly writeTimeoutMs: number;
  readonly source: AdminSource;
  readonly log: Log;
  /** How connections enter, and who may call what is not open to all; that is closed where there is no token. */
  readonly access: { readonly entrance: Entrance; readonly guard: CallGuard; readonly hasTokens: boolean };
}

type Let = { readonly by: string; readonly mark?: string };
const NOBODY: Let = { by: '' };

/** What nobody sets. */
export const ADMIN_BOUNDS = { writeTimeoutMs: 30_000 };

/** A body is never needed; one up to this size is read and ignored. */
const MAX_BODY_BYTES = 4096;
const HEADERS_TIMEOUT_MS = 5_000;
const REQUEST_TIMEOUT_MS = 10_000;
const KEEP_ALIVE_MS = 15_000;
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
  unauthenticated: 401,
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
  readonly #inTurn = new InTurn();
  /** Who is at the other end, by the socket that requests come on. */
  readonly #peers = new WeakMap<Socket, { readonly raw: Socket; readonly peer: Peer }>();
  readonly #source: AdminSource;
  #deniedLoggedAtMs = Number.NEGATIVE_INFINITY;

  constructor(options: AdminServerOptions) {
    this.#options = options;
    const { source } = options;
    // A scrape costs more than everything else that is open to all.
    this.#source = { ...source, metrics: oncePerTurn(() => source.metrics()) };
    this.#server = createServer(
      {
        headersTimeout: HEADERS_TIMEOUT_MS,
        requestTimeout: REQUEST_TIMEOUT_MS,
        keepAliveTimeout: KEEP_ALIVE_MS,
        connectionsCheckingInterval: 1_000,
        maxHeaderSize: 16 * 1024,
      },
      (request, response) => this.#inTurn.take(response, () => void this.#serve(request, response)),
    );
    this.#connections = new AdminConnections(options.maxConnections);
    this.#enterBy(options.access.entrance);
    this.#server.maxRequestsPerSocket = 10_000;
  }

  /** Has HTTP spoken on what enters, instead of on what is accepted. */
  #enterBy(entrance: Entrance): void {
    const speak = this.#server.listeners('connection') as ((this: Server, socket: Socket) => void)[];
    this.#server.removeAllListeners('connection');
    this.#server.on('connection', (raw) => {
      raw.on('error', () => raw.destroy());
      this.#connections.add(raw);
      entrance.admit(raw, (socket, peer) => {
        this.#peers.set(socket, { raw, peer });
        this.#connections.entered(raw);
        for (const listener of speak) listener.call(this.#server, socket);
      });
    });
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
  async stop(graceMs: number): Promise<void> {
    if (!this.#server.listening) return;
    const closed = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    this.#server.closeIdleConnections();
    const timer = setTimeout(() => {
      this.#server.closeAllConnections();
      this.#connections.destroyAll();
    }, graceMs);
    await closed;
    clearTimeout(timer);
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const known = this.#peers.get(request.socket);
    const raw = known?.raw ?? request.socket;
    response.on('close', () => this.#connections.rests(raw));
    if (hasNoBody(request)) this.#connections.asked(raw);
    let answer: Answer;
    let headers: Readonly<Record<string, string>> = {};
    const path = (request.url ?? '/').split('?', 1)[0] as string;
    // As it was let in: a socket whose client has gone knows no address any more.
    const remote = known?.peer.address ?? request.socket.remoteAddress ?? '';
    try {
      const { route, params, query } = find(request, path);
      const { by, mark } = this.#authorize(request, route, path, known?.peer);
      await drainBody(request);
      this.#connections.asked(raw);
      answer = await route.handle(this.#source, params, query);
      if (route.action !== undefined) {
        this.#options.log.emit('admin.action', { action: route.action, plugin: params[0], remote });
        this.#options.log.emit('audit.action', { action: route.action, plugin: params[0], by, remote });
      }
      // A profile takes up to half a minute.
      const revoked = this.#options.access.guard.revoked(mark);
      if (revoked !== undefined) throw revoked;
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
    response.setTimeout(this.#options.writeTimeoutMs);
    response.writeHead(answer.status, {
      'content-type': answer.contentType,
      'content-length': length,
      'cache-control': 'no-store',
      'x-content-type-options': 'nosniff',
      ...headers,
    });
    response.end(request.method === 'HEAD' ? undefined : answer.body);
    this.#connections.answered(raw);
  }

  /** Answers who asks, and by which token. Throws where that one may not. */
  #authorize(request: IncomingMessage, route: Route, path: string, peer: Peer | undefined): Let {
    if (!route.guarded) return NOBODY;
    const { guard, hasTokens } = this.#options.access;
    if (!hasTokens) {
      throw new HostError(
        'ADMIN_TOKEN_UNSET',
        'the operator’s view is closed: set tokens, admin.token or admin.tokenFile (PLUGIN_HOST_ADMIN_TOKEN) and send one as "authorization: Bearer <token>"',
      );
    }
    const need = route.method === 'GET' ? 'read' : 'operate';
    const { denied, ...who } = guard.admit(need, request.headers.authorization, peer);
    if (who.by !== undefined) return who;
    const now = performance.now();
    if (now - this.#deniedLoggedAtMs >= DENIED_LOG_PAUSE_MS) {
      this.#deniedLoggedAtMs = now;
      this.#options.log.emit('admin.denied', { path, remote: request.socket.remoteAddress });
    }
    throw denied;
  }
}

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

/** Whether its head is all that there is of it. */
function hasNoBody({ headers }: IncomingMessage): boolean {
  return headers['content-length'] === undefined && headers['transfer-encoding'] === undefined;
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
