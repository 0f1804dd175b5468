import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { createClient, type PluginReport } from '../../src/client/index.js';
import type { Decisions } from '../support/decisions.js';
import { ChaosDaemon, type DaemonPlace } from './daemon.js';

const PATIENCE_MS = 60_000;
/**
 * An owner lives for seconds here, and a call reaches it by way of another one that may just start: on a busy machine a Create is answered by
 * none of several owners, and is no orphan for that.
 */
const ORPHAN_GRACE_MS = 45_000;
const TASKS = { visibilityGrace: ORPHAN_GRACE_MS, orphanGrace: ORPHAN_GRACE_MS, doReplayTtl: '24h' };

/** What becomes of the one whose life is to end, where tasks are spread: who has all of them is killed. */
const ENDINGS = { kill: 64, stop: 14, freeze: 22 } as const;
type Ending = keyof typeof ENDINGS;
/** Who was taken for dead ends with this code, and is started again. */
const REPLACED = 9;
/** Within this time one that was frozen for too long sees that it was, on a busy machine. Milliseconds. */
const WAKING_MS = 3_000;
const TENDING_MS = 100;

/** Of a run whose tasks are spread. */
export interface Spread {
  readonly parts: number;
  readonly leaseMs: number;
  readonly decisions: Decisions;
  /** By whom each replica reaches the database. */
  readonly userOf: (replica: number) => string;
}

interface Replica {
  readonly daemon: ChaosDaemon;
  /** It is to live. */
  wanted: boolean;
  /** It is frozen, or has just been woken and may find that it was taken for dead. */
  dazed: boolean;
}

/**
 * Several replicas of one state, to be treated as one daemon: what ends a life is that of one of those that work, calls go to all in turn,
 * and who was killed is started again beside the others. Where tasks are spread over parts, several work, and one of them is killed, stopped
 * in good order, or frozen for one to two leases.
 */
export class ChaosReplicas {
  readonly #replicas: readonly Replica[];
  readonly #spread: Spread | undefined;
  /** Which of them each process was, by its id. */
  readonly #pids = new Map<number, number>();
  readonly #thaws = new Set<NodeJS.Timeout>();
  readonly #tending: NodeJS.Timeout;
  #life = 0;
  /** Those that worked when it was looked last. */
  #workers: readonly Replica[] = [];
  #fault: Error | undefined;
  /** How lives ended that no SIGKILL did, and what followed. */
  readonly counts = { stops: 0, unclean_stops: 0, freezes: 0, replaced: 0 };

  private constructor(daemons: readonly ChaosDaemon[], spread: Spread | undefined) {
    this.#replicas = daemons.map((daemon) => ({ daemon, wanted: false, dazed: false }));
    this.#spread = spread;
    this.#tending = setInterval(() => this.#tend(), TENDING_MS);
  }

  static async prepare(place: DaemonPlace, count: number, spread?: Spread): Promise<ChaosReplicas> {
    const cluster = { enabled: true, advertise: '127.0.0.1', loopback: 'for-tests-on-one-machine' };
    const daemons: ChaosDaemon[] = [];
    for (let i = 0; i < count; i++) {
      const folder = path.join(place.folder, `replica-${i}`);
      mkdirSync(folder);
      const config = { tasks: TASKS, ...place.config, cluster };
      daemons.push(await ChaosDaemon.prepare({ ...place, folder, config, state: stateOf(place, spread, i) }));
    }
    return new ChaosReplicas(daemons, spread);
  }

  get life(): number {
    return this.#life;
  }

  /** Where calls go in this life, to each in its turn. */
  get port(): readonly number[] {
    return this.#awake.map(({ daemon }) => daemon.port);
  }

  /** The admin port of one that works, as an operator asks it. */
  get operator(): ChaosDaemon['operator'] {
    return (this.#workers.find(isUp) ?? (this.#awake[0] as Replica)).daemon.operator;
  }

  /** Which replica a process was. */
  replicaOf(pid: number): number | undefined {
    return this.#pids.get(pid);
  }

  start(): void {
    this.#life += 1;
    for (const replica of this.#replicas) if (!replica.daemon.alive) this.#start(replica);
  }

  /** Resolves when the ports of all are open that are not frozen; false when this life is over before. */
  async answers(): Promise<boolean> {
    const life = this.#life;
    for (const replica of this.#awake) {
      while (!(await replica.daemon.answers().catch((error: unknown) => this.#endedItself(replica, error)))) {
        if (life !== this.#life || !replica.wanted) return false;
        await sleep(TENDING_MS);
      }
    }
    return life === this.#life;
  }

  /** Resolves when they work on all there is; false when this life is over before. */
  async ready(): Promise<boolean> {
    const life = this.#life;
    await this.#untilCovered(() => life !== this.#life);
    return life === this.#life;
  }

  /** Ends one of those that work, as the seed says where tasks are spread. */
  async kill(): Promise<void> {
    const dice = this.#spread?.decisions.of('ending', this.#life);
    const workers = this.#workers.filter(isUp);
    const all = workers.length > 0 ? workers : this.#replicas.filter(({ daemon }) => daemon.alive);
    const victim = all[Math.floor((dice?.next() ?? 0) * all.length)];
    if (victim === undefined) return;
    const ending = dice?.pick<Ending>(ENDINGS) ?? 'kill';
    // Somebody is to take calls.
    const isLast = this.#awake.every((each) => each === victim);
    if (ending === 'stop' && !victim.dazed) {
      this.counts.stops += 1;
      await this.#stop(victim);
    } else if (ending === 'freeze' && !victim.dazed && !isLast)
      this.#freeze(victim, dice?.next() ?? 0, dice?.chance(0.5));
    else await this.#kill(victim);
  }

  async stop(): Promise<number | null> {
    await this.#untilAwake();
    const codes = await Promise.all(this.#replicas.map((replica) => this.#stop(replica)));
    return codes.find((code) => code !== 0) ?? 0;
  }

  async end(): Promise<void> {
    clearInterval(this.#tending);
    for (const timer of this.#thaws) clearTimeout(timer);
    await Promise.all(this.#replicas.map((replica) => this.#kill(replica)));
  }

  killPlugin(which: number): void {
    const up = this.#workers.filter(isUp);
    const share = which * up.length;
    up[Math.floor(share)]?.daemon.killPlugin(share % 1);
  }

  /** Of all of them, as they worked on all there is, before it and after. */
  async listing(...args: Parameters<ChaosDaemon['listing']>): Promise<Record<string, unknown>[]> {
    for (;;) {
      await this.#untilAwake();
      const before = await this.#untilCovered();
      const all = await Promise.all(this.#replicas.map(({ daemon }) => daemon.listing(...args).catch(() => undefined)));
      const rows = all.flatMap((each) => each ?? []);
      if (!all.includes(undefined) && before === (await this.#untilCovered())) return rows;
    }
  }

  /** The load reports of all, as they worked on all there is: each tells of its own tasks, or, with one part, of those of who works. */
  async loads(deadlineMs: number): Promise<readonly PluginReport[]> {
    for (;;) {
      await this.#untilAwake();
      await this.#untilCovered();
      const [worker] = this.#workers;
      if (this.#spread === undefined && worker !== undefined) return loadsAt(worker.daemon.port, deadlineMs);
      // One that was replaced is started again.
      const all = await Promise.all(this.port.map((port) => loadsAt(port, deadlineMs).catch(() => undefined)));
      const answered = all.filter((each) => each !== undefined);
      if (answered.length === this.#replicas.length) return answered.flat();
      await sleep(TENDING_MS);
    }
  }

  linesAbout(text: string): string[] {
    return this.#replicas.flatMap(({ daemon }, i) => daemon.linesAbout(text).map((line) => `replica ${i}, ${line}`));
  }

  get #awake(): readonly Replica[] {
    return this.#replicas.filter(({ dazed }) => !dazed);
  }

  #start(replica: Replica): void {
    replica.wanted = true;
    // One that was frozen may have ended meanwhile, as it was taken for dead.
    replica.dazed = false;
    replica.daemon.start();
    this.#pids.set(replica.daemon.pid, this.#replicas.indexOf(replica));
  }

  async #kill(replica: Replica): Promise<void> {
    replica.wanted = false;
    await replica.daemon.kill();
    replica.dazed = false;
  }

  async #stop(replica: Replica): Promise<number | null> {
    replica.wanted = false;
    const code = await replica.daemon.stop();
    if (code !== 0 && code !== REPLACED) this.counts.unclean_stops += 1;
    return code;
  }

  /** For one to two leases; of two times its plugins' processes are as well. */
  #freeze(replica: Replica, share: number, whole = false): void {
    const { daemon } = replica;
    const { leaseMs } = this.#spread as Spread;
    const { pid } = daemon;
    this.counts.freezes += 1;
    replica.dazed = true;
    daemon.freeze('SIGSTOP', { whole });
    const later = (ms: number, then: () => void) => {
      const timer = setTimeout(() => {
        this.#thaws.delete(timer);
        if (daemon.pid === pid) then();
      }, ms);
      this.#thaws.add(timer);
    };
    later(leaseMs * (1 + share), () => {
      daemon.freeze('SIGCONT', { whole });
      later(WAKING_MS, () => {
        replica.dazed = false;
      });
    });
  }

  /** What an orchestrator does: who ended by itself, since it was taken for dead, is started again. */
  #tend(): void {
    for (const replica of this.#replicas) {
      const { daemon, wanted } = replica;
      if (!wanted || daemon.alive) continue;
      if (daemon.exitCode === REPLACED) {
        this.counts.replaced += 1;
        replica.dazed = false;
        this.#start(replica);
      } else {
        replica.wanted = false;
        this.#fault ??= daemon.failed(`ended by itself with ${daemon.exitCode}`);
      }
    }
  }

  /** Not yet, where it is started again. Throws where it is not. */
  #endedItself({ daemon }: Replica, error: unknown): boolean {
    if (daemon.exitCode === REPLACED) return false;
    throw error;
  }

  async #untilAwake(): Promise<void> {
    while (this.#replicas.some(({ dazed }) => dazed)) await sleep(TENDING_MS);
  }

  /** Answers who covers what, in words. */
  async #untilCovered(over = () => false): Promise<string> {
    const parts = this.#spread?.parts ?? 1;
    const until = performance.now() + PATIENCE_MS;
    let seen = '';
    while (performance.now() < until) {
      if (this.#fault !== undefined) throw this.#fault;
      const awake = this.#awake;
      const covers = await Promise.all(awake.map(({ daemon }) => daemon.covers(parts)));
      if (over()) return '';
      this.#workers = awake.filter((_, index) => (covers[index]?.length ?? 0) > 0);
      seen = awake.map((replica, i) => `${this.#replicas.indexOf(replica)}: ${covers[i] ?? 'no answer'}`).join('; ');
      if (new Set(covers.flatMap((each) => each ?? [])).size === parts) return seen;
      await sleep(50);
    }
    throw new Error(`nobody works on some of ${parts} parts after ${PATIENCE_MS / 1000} s; who works on what: ${seen}`);
  }
}

function stateOf({ state }: DaemonPlace, spread: Spread | undefined, replica: number): object {
  if (spread === undefined) return state;
  const { postgres, ...rest } = state as { readonly postgres: object };
  return { ...rest, postgres: { ...postgres, user: spread.userOf(replica) } };
}

function isUp({ daemon, dazed }: Replica): boolean {
  return daemon.alive && !dazed;
}

async function loadsAt(port: number, deadlineMs: number): Promise<readonly PluginReport[]> {
  const client = createClient({ address: `127.0.0.1:${port}`, deadlineMs });
  return client.listPlugins().finally(() => client.close());
}
