import type { Server, UntypedServiceImplementation } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { HostError } from '../errors/index.js';
import { FIELD_BOUNDS } from './fields.js';
import { type OpenStream, OpenStreams } from './open-streams.js';
import { statusOf } from './status.js';

/** Held as long as a Watch stream is open. */
const MAX_NAME_BYTES = FIELD_BOUNDS.nameBytes;

/** Who is healthy; handed in by the daemon. */
export interface HealthSource {
  /** Whether the daemon is ready. */
  ready(): boolean;
  /** Every configured plugin, and whether it serves. */
  plugins(): Iterable<{ readonly id: string; readonly serving: boolean }>;
  /** Calls back at every change; answers how to stop that. */
  onChange(listener: () => void): () => void;
}

export interface HealthOptions {
  readonly source: HealthSource;
  /** Names of services that share the overall status. */
  readonly services: readonly string[];
  readonly maxStreams: number;
}

type ServingStatus = 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';

interface Request {
  readonly service: string;
}

interface WatchCall extends OpenStream {
  readonly request: Request;
  write(message: { status: ServingStatus }): boolean;
  once(event: 'cancelled' | 'drain', listener: () => void): unknown;
}

type CheckCallback = (error: unknown, answer?: unknown) => void;
type CheckHandler = (call: { request: Request }, callback: CheckCallback) => void;

type Adder = Pick<Server, 'addService'>;

/**
 * One Watch stream: told the last status, and nothing while it has not taken what it was told before (`#full`), then what is
 * current by then.
 */
class HealthWatch {
  readonly #call: WatchCall;
  readonly #current: () => ServingStatus;
  #told: ServingStatus | undefined;
  #full = false;

  constructor(call: WatchCall, current: () => ServingStatus) {
    this.#call = call;
    this.#current = current;
  }

  tell(): void {
    const status = this.#current();
    if (this.#full || status === this.#told) return;
    this.#told = status;
    if (this.#call.write({ status })) return;
    this.#full = true;
    this.#call.once('drain', () => {
      this.#full = false;
      this.tell();
    });
  }
}

/**
 * grpc.health.v1 by grpc-health-check: '' and each service for the daemon, and one name a plugin. Watch is answered here:
 * the library keeps every name that was ever asked for, and queues without bound for who does not read.
 */
export class Health {
  static readonly SERVICE = 'grpc.health.v1.Health';
  readonly #options: HealthOptions;
  readonly #implementation = new HealthImplementation();
  readonly #known = new Map<string, boolean>();
  readonly #streams: OpenStreams;
  readonly #watches = new Set<HealthWatch>();
  readonly #unsubscribe: () => void;
  #draining = false;

  constructor(options: HealthOptions) {
    this.#options = options;
    this.#streams = new OpenStreams('health', options.maxStreams);
    this.#refresh();
    this.#unsubscribe = options.source.onChange(() => this.#refresh());
  }

  addToServer(server: Adder): void {
    this.#implementation.addToServer({
      addService: (definition, implementation) => {
        const { check, list } = implementation as UntypedServiceImplementation;
        server.addService(definition as never, {
          check: ((call: { request: Request }, callback: CheckCallback) =>
            this.#check(call, callback, check as unknown as CheckHandler)) as never,
          list: list as never,
          watch: ((call: WatchCall) => this.#watch(call)) as never,
        });
      },
    });
  }

  /** Everything is NOT_SERVING from here on; readers of Watch are told. */
  drain(): void {
    this.#draining = true;
    this.#refresh();
  }

  /** Ends the Watch streams; new ones are told the state and ended. */
  end(): void {
    this.#unsubscribe();
    this.#streams.end();
  }

  #refresh(): void {
    const { source, services } = this.#options;
    const overall = !this.#draining && source.ready();
    const now = new Map<string, boolean>([['', overall]]);
    for (const { id, serving } of source.plugins()) now.set(id, serving && !this.#draining);
    for (const name of services) now.set(name, overall);
    // The library cannot forget a name; a plugin that is configured no more does not serve.
    for (const name of this.#known.keys()) if (!now.has(name)) now.set(name, false);
    for (const [name, serving] of now) {
      if (this.#known.get(name) === serving) continue;
      this.#known.set(name, serving);
      this.#implementation.setStatus(name, serving ? 'SERVING' : 'NOT_SERVING');
    }
    for (const watch of this.#watches) watch.tell();
  }

  #statusOf(name: string): ServingStatus {
    const serving = this.#known.get(name);
    if (serving === undefined) return 'SERVICE_UNKNOWN';
    return serving ? 'SERVING' : 'NOT_SERVING';
  }

  /** The library would repeat the name in its answer, however long, and no trailer carries that. */
  #check(call: { request: Request }, callback: CheckCallback, answer: CheckHandler): void {
    const { service } = call.request;
    if (this.#known.has(service)) {
      answer(call, callback);
      return;
    }
    const shown = JSON.stringify(service.length > 60 ? `${service.slice(0, 60)}…` : service);
    const names = [...this.#known.keys()].filter((known) => known !== '').join(', ');
    callback(statusOf(new HostError('PLUGIN_UNKNOWN', `no plugin or service is called ${shown}; there are: ${names}`)));
  }

  #watch(call: WatchCall): void {
    this.#streams.admit(call, () => {
      const name = call.request.service;
      if (Buffer.byteLength(name) > MAX_NAME_BYTES) {
        const seen = `service: ${Buffer.byteLength(name)} bytes, at most ${MAX_NAME_BYTES} are taken`;
        call.emit('error', statusOf(new HostError('REQUEST_TOO_LARGE', seen, { details: { field: 'service' } })));
        return;
      }
      const watch = new HealthWatch(call, () => this.#statusOf(name));
      this.#watches.add(watch);
      call.once('cancelled', () => this.#watches.delete(watch));
      watch.tell();
    });
  }
}
