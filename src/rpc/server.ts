import { setMaxListeners } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { format } from 'node:util';
import { type ConnectionInjector, Server, ServerCredentials, type ServiceDefinition, setLogger } from '@grpc/grpc-js';
import { type Entrance, PlainEntrance } from '../access/entrance.js';
import type { CallGuard } from '../access/guard.js';
import { HostError } from '../errors/index.js';
import { type Clock, systemClock } from '../lib/clock.js';
import type { RpcLog, RpcMethodObserver, RpcMetrics } from '../model/events/rpc.js';
import { type DispatchContext, implementationOf } from './dispatch.js';
import { type ConnectionCut, Connections } from './edge/connections.js';
import { Edge, type Refused } from './edge/edge.js';
import { Listener } from './edge/listener.js';
import type { UnaryMethod } from './edge/unary-calls.js';
import { foreignServices } from './foreign-services.js';
import { boundHeaders, http2ServerOf, sessionClosed, sessionsOf } from './grpc-internals.js';
import { Health, type HealthSource } from './health.js';
import type { RpcServiceModule } from './methods.js';
import type { RpcLimits } from './options.js';
import { Reflection } from './reflection.js';

export interface RpcServerOptions extends RpcLimits {
  /** Address to listen on; a host name is resolved once. */
  readonly host: string;
  /** 0 takes any free port. */
  readonly port: number;
  readonly services: readonly RpcServiceModule[];
  readonly health: HealthSource;
  /** Whether server reflection is offered. */
  readonly reflection: boolean;
  readonly metrics?: RpcMetrics;
  /** Told of each connection that is closed or refused for a bound. */
  readonly connectionCut?: (reason: ConnectionCut) => void;
  readonly log: RpcLog;
  /** How connections enter, and who may call what; everybody, in plain text, unless given. */
  readonly access?: { readonly entrance: Entrance; readonly guard: CallGuard };
  /** The clock of deadlines: the one that the use cases have. The machine's unless given. */
  readonly clock?: Clock;
}

/**
 * - `created`: nothing is bound.
 * - `listening`: serves.
 * - `unready`: serves everything; health says NOT_SERVING, so that endpoints move on.
 * - `draining`: peers were sent GOAWAY, long streams are ended; what still arrives is served.
 * - `stopping`: accepts nothing; calls under way may finish.
 * - `stopped`: every socket is closed.
 *
 * created → listening → unready → draining → stopping → stopped; steps may be skipped, none is gone back.
 */
export type RpcServerState = 'created' | 'listening' | 'unready' | 'draining' | 'stopping' | 'stopped';

const ORDER: readonly RpcServerState[] = ['created', 'listening', 'unready', 'draining', 'stopping', 'stopped'];

const OPEN: { readonly entrance: Entrance; readonly guard?: CallGuard } = {
  entrance: new PlainEntrance({ port: 'grpc', from: 'anywhere' }),
};

/** The largest stream id: a GOAWAY with it announces the end and refuses nothing. */
const ANY_STREAM = 2 ** 31 - 1;

/**
 * One gRPC port with any number of services, health and reflection.
 *
 * Its states are told at `RpcServerState`.
 */
export class RpcServer {
  readonly #server: Server;
  readonly #connections: Connections;
  readonly #edge: Edge;
  readonly #listener: Listener;
  readonly #injector: ConnectionInjector;
  readonly #health: Health;
  readonly #reflection: Reflection | undefined;
  readonly #context: DispatchContext;
  readonly #drain = new AbortController();
  #state: RpcServerState = 'created';
  #stopped: Promise<boolean> | undefined;

  constructor(options: RpcServerOptions) {
    const names = options.services.filter(({ internal }) => internal !== true).map(({ name }) => name);
    const clock = options.clock ?? systemClock;
    this.#connections = new Connections(options, clock, options.connectionCut);
    const observers = new Map<string, RpcMethodObserver>();
    const other = options.metrics?.({ service: 'other', method: 'other', type: 'unary' });
    const refused: Refused = (path, code, seconds) => {
      const observer = observers.get(path) ?? other;
      observer?.started();
      observer?.handled(code, seconds);
    };
    const unary = new Map<string, UnaryMethod>();
    const { entrance, guard } = options.access ?? OPEN;
    this.#edge = new Edge(options, clock, this.#connections, refused, unary, guard);
    this.#context = {
      observers,
      unary,
      edge: this.#edge,
      clock,
      maxStreams: options.maxStreams,
      maxSendBytes: options.maxSendBytes,
      log: options.log,
      metrics: options.metrics,
      draining: this.#drain.signal,
      openStreams: 0,
      inFlight: 0,
    };
    // One listener an open stream; their number is bounded by maxStreams, not by the warning's ten.
    setMaxListeners(0, this.#drain.signal);
    const say = (...parts: unknown[]) => options.log.library(format(...parts));
    // Its own logger writes to standard error, a line for each metadata key that it does not like.
    setLogger({ error: say, info: say, debug: say });
    this.#server = new Server(channelOptions(options));
    boundHeaders(this.#server);
    this.#health = new Health({ source: options.health, services: names });
    for (const service of [...options.services, this.#health.module()]) {
      this.#server.addService(service.definition as ServiceDefinition, implementationOf(service, this.#context));
    }
    if (options.reflection) this.#reflection = new Reflection([...names, Health.SERVICE], options.maxStreams);
    this.#reflection?.addToServer(foreignServices(this.#server, this.#edge));
    this.#injector = this.#server.createConnectionInjector(ServerCredentials.createInsecure());
    this.#edge.attach(http2ServerOf(this.#server));
    this.#listener = new Listener(options, this.#connections, entrance, (connection) =>
      this.#edge.accept(connection, () => this.#injector.injectConnection(connection.socket)),
    );
  }

  get state(): RpcServerState {
    return this.#state;
  }

  /** Calls whose handler has not ended; reflection is not among them. */
  get inFlight(): number {
    return this.#context.inFlight;
  }

  /** Open streams of all services that count against a bound. */
  get openStreams(): number {
    return this.#context.openStreams;
  }

  /** Bytes that requests hold which no handler has yet. */
  get unfinishedBytes(): number {
    return this.#edge.unfinishedBytes;
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Binds. Throws LISTEN_FAILED with the address and the reason; then nothing is held. */
  async listen(): Promise<{ readonly host: string; readonly port: number }> {
    if (this.#state !== 'created') throw illegal('listen', this.#state);
    this.#to('listening');
    try {
      const { address, port } = await this.#listener.listen();
      return { host: address, port };
    } catch (error) {
      await this.forceStop();
      throw error;
    }
  }

  /** Readiness off: health says NOT_SERVING, everything is served. Callable in any state before. */
  beginUnready(): void {
    if (this.#to('unready')) this.#health.drain();
  }

  /**
   * Sends GOAWAY, so that engines move on, and ends Watch, health and reflection streams. What still arrives, on new
   * connections or on old ones before their peers have seen the GOAWAY, is served.
   */
  beginDrain(): void {
    this.beginUnready();
    if (!this.#to('draining')) return;
    this.#drain.abort();
    this.#health.end();
    this.#reflection?.end();
    for (const session of sessionsOf(this.#server)) {
      if (!session.closed && !session.destroyed) session.goaway(0, ANY_STREAM);
    }
  }

  /**
   * Accepts nothing more and lets calls under way finish, for `graceMs` at most; then cuts what is left. Resolves with
   * whether everything finished by itself. A repeat answers the same.
   */
  stop(graceMs: number): Promise<boolean> {
    this.#stopped ??= this.#stop(graceMs);
    return this.#stopped;
  }

  async #stop(graceMs: number): Promise<boolean> {
    this.beginDrain();
    if (!this.#to('stopping')) return true;
    this.#listener.close();
    const abort = new AbortController();
    // From Node 24 on, closing the HTTP/2 server closes its sessions too, and grpc-js takes a closing session for a closed
    // one: what is under way has to be waited for here. tryShutdown never returns while a peer holds a stream open; the
    // grace bounds both.
    const sessions = sessionsOf(this.#server).map(sessionClosed);
    const shutdown = new Promise<void>((resolve) => this.#server.tryShutdown(() => resolve()));
    const finished = Promise.all([shutdown, ...sessions]).then(() => true);
    const grace = sleep(graceMs, false, { signal: abort.signal }).catch(() => false);
    const clean = await Promise.race([finished, grace]);
    abort.abort();
    await this.forceStop();
    return clean;
  }

  /** Cuts every connection now. Callable in any state, and twice. */
  async forceStop(): Promise<void> {
    this.#to('stopping');
    this.#drain.abort();
    this.#health.end();
    this.#reflection?.end();
    this.#listener.close();
    this.#injector.destroy();
    this.#server.forceShutdown();
    this.#listener.destroyConnections();
    await this.#listener.closed();
    this.#to('stopped');
  }

  /** Moves on to a later state; false when it is there already, or past it. */
  #to(state: RpcServerState): boolean {
    if (ORDER.indexOf(state) <= ORDER.indexOf(this.#state)) return false;
    this.#state = state;
    return true;
  }
}

function illegal(what: string, state: RpcServerState): HostError {
  return new HostError('DAEMON_STATE', `${what} is not allowed in state ${state} of the gRPC server`);
}

/** What the transport is told of the bounds. */
export function channelOptions(limits: RpcLimits): Record<string, number> {
  return {
    'grpc.max_receive_message_length': limits.maxReceiveBytes,
    'grpc.max_send_message_length': limits.maxSendBytes,
    'grpc.max_concurrent_streams': limits.maxConcurrentStreams,
    'grpc.keepalive_time_ms': limits.keepaliveTimeMs,
    'grpc.keepalive_timeout_ms': limits.keepaliveTimeoutMs,
    // Nobody reads its records, and they cost on every call.
    'grpc.enable_channelz': 0,
  };
}

/** Builds the server; nothing is bound before `listen`. Throws DAEMON_STATE for a service without all its handlers. */
export function createRpcServer(options: RpcServerOptions): RpcServer {
  return new RpcServer(options);
}
