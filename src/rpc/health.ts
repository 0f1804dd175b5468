import type { Server, UntypedServiceImplementation } from '@grpc/grpc-js';
import { HealthImplementation } from 'grpc-health-check';
import { HostError } from '../errors/index.js';
import { statusOf } from './status.js';

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

interface WatchCall {
  end(): void;
  emit(event: 'error', error: unknown): boolean;
  once(event: 'cancelled', listener: () => void): unknown;
}

type Adder = Pick<Server, 'addService'>;

/**
 * grpc.health.v1 by grpc-health-check: '' and each service for the daemon, and one name a plugin. That library neither
 * bounds nor ends its Watch streams, so they are counted here, and ended when the server drains.
 */
export class Health {
  static readonly SERVICE = 'grpc.health.v1.Health';
  readonly #options: HealthOptions;
  readonly #implementation = new HealthImplementation();
  readonly #known = new Map<string, boolean>();
  readonly #watches = new Set<WatchCall>();
  readonly #unsubscribe: () => void;
  #draining = false;
  #ended = false;

  constructor(options: HealthOptions) {
    this.#options = options;
    this.#refresh();
    this.#unsubscribe = options.source.onChange(() => this.#refresh());
  }

  addToServer(server: Adder): void {
    this.#implementation.addToServer({
      addService: (definition, implementation) =>
        server.addService(definition as never, this.#bounded(implementation as UntypedServiceImplementation)),
    });
  }

  /** Everything is NOT_SERVING from here on; readers of Watch are told. */
  drain(): void {
    this.#draining = true;
    this.#refresh();
  }

  /** Ends the Watch streams; new ones are told the state and ended. */
  end(): void {
    this.#ended = true;
    this.#unsubscribe();
    for (const call of this.#watches) call.end();
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
  }

  #bounded(implementation: UntypedServiceImplementation): UntypedServiceImplementation {
    const watch = implementation.watch as unknown as (call: WatchCall) => void;
    return {
      ...implementation,
      watch: ((call: WatchCall) => {
        if (this.#watches.size >= this.#options.maxStreams) {
          const bound = this.#options.maxStreams;
          call.emit(
            'error',
            statusOf(new HostError('TOO_MANY_STREAMS', `${bound} health streams are open, the bound`)),
          );
          return;
        }
        this.#watches.add(call);
        call.once('cancelled', () => this.#watches.delete(call));
        watch(call);
        if (this.#ended) call.end();
      }) as never,
    };
  }
}
