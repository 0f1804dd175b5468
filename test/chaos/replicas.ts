import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ChaosDaemon, type DaemonPlace } from './daemon.js';

const PATIENCE_MS = 60_000;
/**
 * An owner lives for seconds here, and a call reaches it by way of another one that may just start: on a busy machine a Create is answered by
 * none of several owners, and is no orphan for that.
 */
const ORPHAN_GRACE_MS = 45_000;
const TASKS = { visibilityGrace: ORPHAN_GRACE_MS, orphanGrace: ORPHAN_GRACE_MS, doReplayTtl: '24h' };

/**
 * Several replicas of one state, to be treated as one daemon: what is killed is the one that works, calls go to another one in each life,
 * and who was killed is started again beside the others.
 */
export class ChaosReplicas {
  readonly #replicas: readonly ChaosDaemon[];
  #life = 0;
  #owner: ChaosDaemon | undefined;

  private constructor(replicas: readonly ChaosDaemon[]) {
    this.#replicas = replicas;
  }

  static async prepare(place: DaemonPlace, count: number): Promise<ChaosReplicas> {
    const cluster = { enabled: true, advertise: '127.0.0.1', loopback: 'for-tests-on-one-machine' };
    const replicas: ChaosDaemon[] = [];
    for (let i = 0; i < count; i++) {
      const folder = path.join(place.folder, `replica-${i}`);
      mkdirSync(folder);
      replicas.push(
        await ChaosDaemon.prepare({ ...place, folder, config: { tasks: TASKS, ...place.config, cluster } }),
      );
    }
    return new ChaosReplicas(replicas);
  }

  get life(): number {
    return this.#life;
  }

  /** Where calls go in this life. */
  get port(): number {
    return this.#called.port;
  }

  /** The admin port of the one that works, as an operator asks it. */
  get operator(): ChaosDaemon['operator'] {
    return (this.#owner ?? this.#called).operator;
  }

  start(): void {
    this.#life += 1;
    this.#owner = undefined;
    for (const replica of this.#replicas) if (!replica.alive) replica.start();
  }

  answers(): Promise<boolean> {
    return this.#called.answers();
  }

  /** Resolves when one of them works, and the one that is called can pass calls on to it; false when this life is over before. */
  async ready(): Promise<boolean> {
    const life = this.#life;
    const until = performance.now() + PATIENCE_MS;
    while (performance.now() < until) {
      for (const replica of this.#replicas) {
        const role = await replica.role();
        if (life !== this.#life) return false;
        if (role !== 'owner') continue;
        this.#owner = replica;
        return (await this.#called.answers()) && life === this.#life;
      }
      await sleep(50);
    }
    throw new Error(`no replica works after ${PATIENCE_MS / 1000} s`);
  }

  async kill(): Promise<void> {
    const victim = this.#owner ?? this.#replicas.find(({ alive }) => alive);
    this.#owner = undefined;
    await victim?.kill();
  }

  async stop(): Promise<number | null> {
    const codes = await Promise.all(this.#replicas.map((replica) => replica.stop()));
    return codes.find((code) => code !== 0) ?? 0;
  }

  async end(): Promise<void> {
    await Promise.all(this.#replicas.map((replica) => replica.end()));
  }

  killPlugin(which: number): void {
    this.#owner?.killPlugin(which);
  }

  async listing(...args: Parameters<ChaosDaemon['listing']>): Promise<Record<string, unknown>[]> {
    if (this.#owner?.alive !== true) await this.ready();
    return (this.#owner as ChaosDaemon).listing(...args);
  }

  linesAbout(text: string): string[] {
    return this.#replicas.flatMap((replica, i) => replica.linesAbout(text).map((line) => `replica ${i}, ${line}`));
  }

  get #called(): ChaosDaemon {
    return this.#replicas[this.#life % this.#replicas.length] as ChaosDaemon;
  }
}
