import { Cluster, type ClusterOptions } from './cluster.js';
import type { Releasers } from './lifecycle.js';
import type { Parts } from './parts.js';
import type { StopRequest } from './stop-request.js';

export interface TakeUpParts {
  readonly stop: StopRequest;
  readonly releasers: Releasers;
  /** What is taken up; not asked for before `open`. */
  readonly parts: () => Parts;
  /** The plugins' task types are to be found anew: what the last run served is known. */
  readonly reroute: () => void;
  /** Goes on with what was loaded, by the plugins that are. */
  readonly serve: () => void;
}

/**
 * How a daemon comes to have its state, in the steps of its start: `open`, before the gRPC port is → `bound` → `loaded` → `settled`,
 * the last before it is ready; and `retire`, when the stop begins. Each of the first four throws what ends the start, `endedEarly` among it.
 */
export interface TakeUp {
  /** What it has to do with other replicas; undefined where it is the only one. */
  readonly cluster: Cluster | undefined;
  open(): Promise<void>;
  /** The gRPC port is open. */
  bound(port: number): Promise<void>;
  /** The plugins are loaded. */
  loaded(): void;
  settled(): Promise<void>;
  /** Takes nothing up from here on. */
  retire(): Promise<void>;
}

export function takeUpOf(parts: TakeUpParts, replicas: Omit<ClusterOptions, 'begin'>): TakeUp {
  return replicas.config.cluster.enabled ? new Seated(parts, replicas) : new Alone(parts);
}

/** The state is this daemon's: it loads it first, and goes on with it once the plugins are there. */
class Alone implements TakeUp {
  readonly cluster = undefined;
  readonly #parts: TakeUpParts;

  constructor(parts: TakeUpParts) {
    this.#parts = parts;
  }

  async open(): Promise<void> {
    const { stop, releasers } = this.#parts;
    const taken = this.#parts.parts();
    await taken.load(stop.signal).catch((error: unknown) => {
      stop.assertWanted();
      throw error;
    });
    taken.pushClose(releasers);
    await stop.unlessStopped(taken.trust());
  }

  async bound(): Promise<void> {}

  loaded(): void {
    this.#parts.serve();
  }

  async settled(): Promise<void> {}

  async retire(): Promise<void> {}
}

/** The state is that replica's whose turn it is, which may be seen at any time after `settled` began. */
class Seated implements TakeUp {
  readonly cluster: Cluster;
  readonly #parts: TakeUpParts;

  constructor(parts: TakeUpParts, replicas: Omit<ClusterOptions, 'begin'>) {
    this.#parts = parts;
    this.cluster = new Cluster({ ...replicas, begin: () => this.#begin() });
  }

  async open(): Promise<void> {
    const { stop, releasers, parts } = this.#parts;
    releasers.push('seat among the replicas', () => this.cluster.leave());
    await stop.unlessStopped(this.cluster.open(stop.signal));
    // Loaded once it is this replica's; whatever comes after closes before it.
    parts().pushClose(releasers);
  }

  bound(port: number): Promise<void> {
    return this.cluster.join(port);
  }

  loaded(): void {}

  /** From here on it may be this replica that works. */
  async settled(): Promise<void> {
    const { stop, releasers } = this.#parts;
    releasers.push('standing by', () => this.cluster.retire());
    await stop.unlessStopped(this.cluster.settle());
    stop.assertWanted();
  }

  retire(): Promise<void> {
    return this.cluster.retire();
  }

  /** What it has begun to take up it takes up: a stop gives it back. */
  async #begin(): Promise<void> {
    const taken = this.#parts.parts();
    await taken.load();
    await taken.trust();
    this.#parts.reroute();
    this.#parts.serve();
  }
}
