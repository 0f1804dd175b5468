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
  /** Takes nothing up from here on, and of several parts hands over what it has. */
  retire(): Promise<void>;
}

type Replicas = Omit<ClusterOptions, 'begin' | 'end' | 'limits' | 'tasksOf'>;

export function takeUpOf(parts: TakeUpParts, replicas: Replicas): TakeUp {
  const { cluster, state } = replicas.config;
  if (!cluster.enabled) return new Alone(parts);
  return state.parts > 1 ? new Spread(parts, replicas) : new Seated(parts, replicas);
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
  protected readonly parts: TakeUpParts;
  #stops = false;

  constructor(parts: TakeUpParts, replicas: Replicas) {
    this.parts = parts;
    const { shutdown, state } = replicas.config;
    // Callers of a part that moves wait for its next owner, and do so for two leases.
    const moveMs = Math.min(shutdown.graceMs, state.postgres.leaseMs);
    this.cluster = new Cluster({
      ...replicas,
      begin: (part) => this.begin(part),
      end: async (part) => {
        await parts.parts().give(part, this.#stops ? shutdown.graceMs : moveMs);
      },
      limits: () => parts.parts(),
      tasksOf: (part) => parts.parts().tasksOf(part),
    });
  }

  async open(): Promise<void> {
    const { stop, releasers, parts } = this.parts;
    releasers.push('seat among the replicas', () => this.cluster.leave());
    await stop.unlessStopped(this.cluster.open(stop.signal));
    // Loaded once it is this replica's; whatever comes after closes before it.
    parts().pushClose(releasers);
    await stop.unlessStopped(parts().readKeys());
  }

  bound(port: number): Promise<void> {
    return this.cluster.join(port);
  }

  loaded(): void {}

  /** From here on it may be this replica that works. */
  async settled(): Promise<void> {
    const { stop, releasers } = this.parts;
    releasers.push('standing by', () => this.retire());
    await stop.unlessStopped(this.cluster.settle());
    stop.assertWanted();
  }

  retire(): Promise<void> {
    this.#stops = true;
    return this.cluster.handOver();
  }

  /** What it has begun to take up it takes up: a stop gives it back. */
  protected async begin(_part: number): Promise<void> {
    const taken = this.parts.parts();
    await taken.load();
    await taken.trust();
    this.parts.reroute();
    this.parts.serve();
    await taken.takeIn(0);
  }
}

/** Parts of the state are that replica's, which come and go from `settled` on, while it serves. */
class Spread extends Seated {
  /** What has no part yet goes on with those that come. */
  override loaded(): void {
    this.parts.serve();
  }

  protected override begin(part: number): Promise<void> {
    return this.parts.parts().take(part);
  }
}
