import { HostError } from '../errors/index.js';
import type { Codec } from '../idl/codec.js';
import type { Idl } from '../idl/idl.js';
import { loadPluginHost } from '../idl/load.js';
import { createDeferred } from '../lib/deferred.js';
import { assertText, FIELD_BOUNDS } from './fields.js';
import type { RpcServiceModule } from './methods.js';
import type { RpcStream } from './stream.js';

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
}

type ServingStatus = 'SERVING' | 'NOT_SERVING' | 'SERVICE_UNKNOWN';

interface Request {
  readonly service: string;
}

/** Of a name that is shown in an error: it may be as long as a request, and no trailer carries that. */
const MAX_SHOWN = 60;

const servingText = (serving: boolean): ServingStatus => (serving ? 'SERVING' : 'NOT_SERVING');

/**
 * grpc.health.v1: '' and each service for the daemon, and one name a plugin.
 *
 * States: telling what its source says → `drain` → nothing serves, which is told to who watches → `end`.
 */
export class Health {
  static readonly SERVICE = 'grpc.health.v1.Health';
  readonly #options: HealthOptions;
  readonly #idl: Idl = loadPluginHost();
  readonly #request: Codec<Request> = this.#idl.codec('grpc.health.v1.HealthCheckRequest');
  readonly #response: Codec = this.#idl.codec('grpc.health.v1.HealthCheckResponse');
  readonly #list: Codec = this.#idl.codec('grpc.health.v1.HealthListResponse');
  readonly #known = new Map<string, boolean>();
  /** Wakes each open Watch. */
  readonly #watches = new Set<() => void>();
  readonly #unsubscribe: () => void;
  #draining = false;

  constructor(options: HealthOptions) {
    this.#options = options;
    this.#refresh();
    this.#unsubscribe = options.source.onChange(() => this.#refresh());
  }

  module(): RpcServiceModule {
    return {
      name: Health.SERVICE,
      definition: this.#idl.rawService(Health.SERVICE),
      handlers: {
        Check: { kind: 'unary', handle: (request) => this.#check(request) },
        List: { kind: 'unary', handle: () => this.#listed() },
        Watch: { kind: 'serverStream', bounded: true, handle: (request, stream) => this.#watch(request, stream) },
      },
    };
  }

  /** Everything is NOT_SERVING from here on; readers of Watch are told. */
  drain(): void {
    this.#draining = true;
    this.#refresh();
  }

  /** Learns of no change any more. */
  end(): void {
    this.#unsubscribe();
  }

  #refresh(): void {
    const { source, services } = this.#options;
    const overall = !this.#draining && source.ready();
    const now = new Map<string, boolean>([['', overall]]);
    for (const { id, serving } of source.plugins()) now.set(id, serving && !this.#draining);
    for (const name of services) now.set(name, overall);
    // Who asks goes on asking: a plugin that is configured no more is known, and does not serve.
    for (const name of this.#known.keys()) if (!now.has(name)) now.set(name, false);
    for (const [name, serving] of now) this.#known.set(name, serving);
    for (const wake of this.#watches) wake();
  }

  #check(bytes: Buffer): Buffer {
    const { service } = this.#request.decode(bytes);
    const serving = this.#known.get(service);
    if (serving !== undefined) return this.#response.encode({ status: servingText(serving) });
    const shown = JSON.stringify(service.length > MAX_SHOWN ? `${service.slice(0, MAX_SHOWN)}…` : service);
    const names = [...this.#known.keys()].filter((known) => known !== '').join(', ');
    throw new HostError('PLUGIN_UNKNOWN', `no plugin or service is called ${shown}; there are: ${names}`);
  }

  #listed(): Buffer {
    const statuses = [...this.#known].map(([name, serving]) => [name, { status: servingText(serving) }]);
    return this.#list.encode({ statuses: Object.fromEntries(statuses) });
  }

  /** Tells the status now and after each change; who does not read is told the last one when it does, and ends at the drain. */
  async #watch(bytes: Buffer, stream: RpcStream): Promise<void> {
    // The name is held as long as the stream is open.
    const name = assertText('service', this.#request.decode(bytes).service, FIELD_BOUNDS.nameBytes);
    const { draining } = stream;
    const { signal } = stream.call;
    let changed = createDeferred<void>();
    const wake = () => changed.resolve();
    this.#watches.add(wake);
    for (const end of [draining, signal]) end.addEventListener('abort', wake);
    try {
      for (let told: ServingStatus | undefined; ; await changed.promise) {
        changed = createDeferred<void>();
        for (let status = this.#statusOf(name); status !== told; status = this.#statusOf(name)) {
          told = status;
          if (!(await stream.write(this.#response.encode({ status })))) return;
        }
        if (draining.aborted || signal.aborted) return;
      }
    } finally {
      this.#watches.delete(wake);
      for (const end of [draining, signal]) end.removeEventListener('abort', wake);
    }
  }

  #statusOf(name: string): ServingStatus {
    const serving = this.#known.get(name);
    return serving === undefined ? 'SERVICE_UNKNOWN' : servingText(serving);
  }
}
