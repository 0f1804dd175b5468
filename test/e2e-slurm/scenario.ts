import { chmodSync, chownSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { isTerminal } from 'webapi-plugin-host';
import type { PluginReport } from 'webapi-plugin-host/client';
import { type QueuedJob, SlurmCluster } from './cluster.js';
import { CountingProxy } from './counting-proxy.js';
import { Daemon, SLURM_PLUGIN } from './daemon.js';
import { Engine, type Incarnation } from './engine.js';
import { ensureSlurmInstalled, JOB_USER } from './packages.js';
import { until } from './processes.js';
import { planFirstHalf, planSecondHalf, TaskPlan } from './tasks.js';

export const READ_LIMIT = { qps: 4, burst: 8 };
export const WRITE_LIMIT = { qps: 5, burst: 10 };
/** Fewer than the tasks of the second half, so that some wait for a token. */
export const QUOTA = 28;
const TOKEN_LIFE_SECONDS = 60;
const ROTATE_EVERY_MS = 20_000;
/** Submissions that Slurm takes and the daemon hears nothing of. */
export const LOST_ANSWERS = 3;
const OUTAGE_MS = 12_000;
/** Longer than the ten seconds (MessageTimeout) that slurmrestd waits for the controller. */
const HANG_MS = 14_000;

/** All that a run leaves to be checked. */
export interface Outcome {
  readonly plan: TaskPlan;
  readonly engine: Engine;
  readonly proxy: CountingProxy;
  readonly jobs: readonly QueuedJob[];
  readonly report: PluginReport | undefined;
  readonly quotaUsed: ReadonlyMap<string, number>;
  readonly quotaWaiting: ReadonlyMap<string, number>;
  readonly exitCodes: readonly (number | null)[];
  /** Same handles for a create that came three times. */
  readonly repeats: readonly (readonly Buffer[])[];
  readonly waitedForQuota: number;
  readonly cancelledStates: ReadonlyMap<string, readonly string[]>;
  readonly outage: { readonly failed: number; readonly sawFailures: boolean };
  readonly requeueReasons: readonly string[];
  readonly pluginPidGone: boolean;
  readonly seconds: number;
}

/** The real Slurm, the real daemon and an engine, from nothing to the end of sixty tasks. Leaves nothing running. */
export class Scenario {
  readonly #undo: (() => Promise<void> | void)[] = [];
  readonly #startedMs = performance.now();
  #cluster!: SlurmCluster;
  #proxy!: CountingProxy;
  #daemon!: Daemon;
  #engine!: Engine;
  readonly #exitCodes: (number | null)[] = [];

  constructor(private readonly print: (line: string) => void) {}

  async run(): Promise<Outcome> {
    try {
      await this.#setUp();
      return await this.#play();
    } catch (error) {
      this.print(`the daemon's log ends with:\n${this.#daemon?.tail() ?? '(not started)'}`);
      throw error;
    } finally {
      for (const undo of this.#undo.reverse()) await undo();
    }
  }

  #log(line: string): void {
    this.print(`${((performance.now() - this.#startedMs) / 1000).toFixed(1).padStart(6)} s  ${line}`);
  }

  async #setUp(): Promise<void> {
    const log = (line: string) => this.#log(line);
    ensureSlurmInstalled(log);
    this.#cluster = await SlurmCluster.start(log);
    this.#undo.push(() => this.#cluster.stop());
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const end = () => {
        this.#cluster.kill();
        process.exit(1);
      };
      process.once(signal, end);
      this.#undo.push(() => void process.removeListener(signal, end));
    }
    this.#proxy = await CountingProxy.start(this.#cluster.restUrl);
    this.#undo.push(() => this.#proxy.stop());
    const workDir = path.join(this.#cluster.dataDir, 'work');
    mkdirSync(workDir);
    chownSync(workDir, this.#cluster.jobIds.uid, this.#cluster.jobIds.gid);
    const tokenFile = path.join(this.#cluster.stateDir, 'token');
    await this.#rotate(tokenFile);
    const timer = setInterval(() => {
      this.#rotate(tokenFile).catch((error: unknown) => this.#log(`no new token: ${String(error)}`));
    }, ROTATE_EVERY_MS);
    this.#undo.push(() => clearInterval(timer));
    const cluster = { url: this.#proxy.url, user: JOB_USER, token: { file: tokenFile }, workDir };
    const limits = { readRateLimiter: READ_LIMIT, writeRateLimiter: WRITE_LIMIT };
    const config = { resourceQuotas: { main: QUOTA }, ...limits, caching: { resyncInterval: '5s' } };
    const settings = { clusters: { main: cluster } };
    this.#daemon = await Daemon.create(
      this.#cluster.stateDir,
      {
        plugins: { slurm: { source: SLURM_PLUGIN, required: true, settings, config } },
        dataStore: { localRoots: [this.#cluster.dataDir] },
        shutdown: { drainDelay: '500ms' },
      },
      // marks the daemon as part of this cluster, for the clean-up after a run that was killed
      { SLURM_CONF: this.#cluster.confFile },
    );
    this.#undo.push(async () => void (await this.#daemon.stop()));
    await this.#daemon.start();
    this.#log(`the daemon is ready at ${this.#daemon.address}`);
    this.#engine = new Engine(this.#daemon.address);
    this.#undo.push(() => this.#engine.close());
    this.#engine.startAsking();
    this.#undo.push(() => this.#engine.stopAsking());
  }

  async #rotate(file: string): Promise<void> {
    const token = await this.#cluster.token(TOKEN_LIFE_SECONDS);
    // written beside and moved, as an operator's tool would: no reader sees half a token
    writeFileSync(`${file}.new`, `SLURM_JWT=${token}\n`);
    chmodSync(`${file}.new`, 0o600);
    renameSync(`${file}.new`, file);
  }

  async #play(): Promise<Outcome> {
    const plan = new TaskPlan(this.#cluster.dataDir);
    const first = planFirstHalf(plan);
    const engine = this.#engine;
    const made = new Map<string, Incarnation>();
    const create = async (tasks: readonly { readonly name: string }[]) => {
      const planned = plan.tasks.filter((task) => tasks.includes(task));
      for (const one of await Promise.all(planned.map((task) => engine.create(task)))) made.set(one.task.name, one);
    };
    const of = (name: string) => made.get(name) as Incarnation;

    await create(Object.values(first).flat());
    this.#log(`${plan.tasks.length} tasks created`);
    await this.#running(
      [...first.recreated, ...first.cancelledBefore, ...first.requeued, ...first.scancelled].map((t) => t.name),
    );
    await this.#queued(first.parked.map((task) => task.name));
    this.#log('deleting four tasks, and three more to create them anew under the same keys');
    const deleted = [...first.parked, ...first.cancelledBefore, ...first.recreated].map((task) => of(task.name));
    await Promise.all(deleted.map((one) => engine.delete(one, 'the test cancels it')));
    await create(first.recreated);
    const requeueReasons = await this.#requeue(first.requeued.map((task) => task.name));
    for (const { name } of first.scancelled) await this.#cluster.tool('scancel', ['--name', name]);
    await this.#allCreated();

    this.#log('stopping the daemon with jobs under way');
    this.#exitCodes.push(await this.#daemon.stop());
    await delay(2_000);
    await this.#daemon.start();
    await engine.connected();
    this.#log('the daemon is back');

    const second = planSecondHalf(plan);
    const { doubled, cancelledWaiting, duringHang, ...rest } = second;
    this.#proxy.loseAnswers(LOST_ANSWERS);
    // slurmrestd goes away while these are being submitted
    const outageOver = delay(1_500).then(() => this.#outage());
    await create(Object.values(rest).flat());
    await create(cancelledWaiting);
    const waitedForQuota = engine.incarnations.filter((one) => /quota/.test(one.last.phaseInfo.reason)).length;
    const waiting = cancelledWaiting.map((task) => of(task.name));
    await Promise.all(waiting.map((one) => engine.delete(one, 'no longer wanted')));
    const repeats = await Promise.all(
      doubled.map(async (task) =>
        (await Promise.all([1, 2, 3].map(() => engine.create(task)))).map((one) => one.handle),
      ),
    );
    await Promise.all(first.cancelledAfter.map((task) => engine.delete(of(task.name), 'cancelled after the restart')));
    this.#log(`${plan.tasks.length - duringHang.length} tasks created, ${waitedForQuota} of them wait for a token`);
    const outage = await outageOver;
    await this.#allCreated();
    await this.#hang(() => create(duringHang));

    await this.#allOver();
    this.#log('all tasks are over');
    const cancelledStates = await this.#cancelled(
      [...first.parked, ...first.cancelledBefore, ...first.cancelledAfter].map((t) => t.name),
    );
    return this.#finish({ plan, requeueReasons, waitedForQuota, repeats, outage, cancelledStates });
  }

  /** Waits until Slurm itself runs the jobs of these names. */
  #running(names: readonly string[]): Promise<unknown> {
    return until(`Slurm to run ${names.join(', ')}`, 60_000, async () => {
      const running = new Set(
        (await this.#cluster.jobs()).filter((job) => job.state === 'RUNNING').map((job) => job.name),
      );
      return names.every((name) => running.has(name));
    });
  }

  #queued(names: readonly string[]): Promise<unknown> {
    return until(`Slurm to queue ${names.join(', ')}`, 30_000, async () => {
      const known = new Set((await this.#cluster.jobs()).map((job) => job.name));
      return names.every((name) => known.has(name));
    });
  }

  /** Slurm takes running jobs back into its queue, as after a node failure; the tasks go on. */
  async #requeue(names: readonly string[]): Promise<string[]> {
    const ids = (await this.#cluster.jobs())
      .filter((job) => names.includes(job.name))
      .map((job) => String(job.submission));
    for (const id of ids) await this.#cluster.tool('scontrol', ['requeue', id]);
    const seen = new Map<string, string>();
    await until('the daemon to see the jobs requeued', 30_000, () => {
      for (const one of this.#engine.incarnations) {
        const { reason } = one.last.phaseInfo;
        if (names.includes(one.task.name) && reason.includes('requeued')) seen.set(one.task.name, reason);
      }
      return seen.size === names.length;
    });
    // a requeued job waits for two minutes; the operator lets it go at once
    for (const id of ids) await this.#cluster.tool('scontrol', ['update', `jobid=${id}`, 'StartTime=now']);
    return [...seen.values()];
  }

  /** Without a journal a clean stop keeps what the engine has a full handle of; so everything is to be created first. */
  #allCreated(): Promise<unknown> {
    return until('all tasks to be created', 30_000, () =>
      this.#engine.incarnations.every(
        (one) => one.deleted || !['NOT_READY', 'WAITING_FOR_RESOURCES'].includes(one.last.phaseInfo.phase),
      ),
    );
  }

  async #outage(): Promise<Outcome['outage']> {
    this.#log(`stopping slurmrestd for ${OUTAGE_MS / 1000} s`);
    const before = this.#proxy.requests.length;
    await this.#cluster.stopRestd();
    let sawFailures = false;
    const end = performance.now() + OUTAGE_MS;
    while (performance.now() < end) {
      sawFailures ||= this.#engine.incarnations.some((one) => one.last.consecutiveFailures > 0 || one.last.remoteDown);
      await delay(250);
    }
    await this.#cluster.startRestd();
    this.#log('slurmrestd is back');
    return { failed: this.#proxy.requests.slice(before).filter((request) => request.status === 0).length, sawFailures };
  }

  /**
   * The controller hangs for longer than slurmrestd waits: submissions end in an error, and are carried out afterwards
   * all the same. Whoever then submits again without looking has two jobs.
   */
  async #hang(create: () => Promise<void>): Promise<void> {
    this.#log(`Slurm's controller hangs for ${HANG_MS / 1000} s`);
    this.#cluster.pauseController();
    try {
      await Promise.all([create(), delay(HANG_MS)]);
    } finally {
      this.#cluster.resumeController();
    }
    this.#log('the controller goes on');
  }

  #allOver(): Promise<unknown> {
    const open = () => this.#engine.incarnations.filter((one) => !one.deleted && !isTerminal(one.last.phaseInfo.phase));
    let told = 0;
    return until(
      'all tasks to be over',
      180_000,
      () => {
        const left = open();
        if (performance.now() - told > 15_000) {
          told = performance.now();
          this.#log(
            `${left.length} open: ${left
              .slice(0, 6)
              .map((one) => `${one.task.name} ${one.last.phaseInfo.phase}`)
              .join(', ')}`,
          );
        }
        return left.length === 0;
      },
      500,
    );
  }

  /** The states of jobs that were cancelled, once none of them runs or waits any more. */
  async #cancelled(names: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
    const live = ['PENDING', 'RUNNING', 'COMPLETING', 'SUSPENDED'];
    const read = async () => (await this.#cluster.jobs()).filter((job) => names.includes(job.name));
    await until('the cancelled jobs to leave the queue', 30_000, async () =>
      (await read()).every((job) => !live.includes(job.state)),
    ).catch(() => undefined);
    const jobs = await read();
    return new Map(names.map((name) => [name, jobs.filter((job) => job.name === name).map((job) => job.state)]));
  }

  async #finish(
    parts: Pick<Outcome, 'plan' | 'requeueReasons' | 'waitedForQuota' | 'repeats' | 'outage' | 'cancelledStates'>,
  ): Promise<Outcome> {
    const engine = this.#engine;
    const report = await until(
      'every token to be free',
      20_000,
      async () => {
        const found = (await engine.client.listPlugins()).find((plugin) => plugin.id === 'slurm');
        return found?.quotas.every((quota) => quota.used === 0) === true ? found : undefined;
      },
      250,
    ).catch(async () => (await engine.client.listPlugins()).find((plugin) => plugin.id === 'slurm'));
    const [quotaUsed, quotaWaiting] = await Promise.all([
      this.#daemon.metric('pluginhost_quota_tokens_used'),
      this.#daemon.metric('pluginhost_quota_waiting'),
    ]);
    const jobs = await this.#cluster.jobs();
    await engine.stopAsking();
    this.#exitCodes.push(await this.#daemon.stop());
    return {
      ...parts,
      engine,
      proxy: this.#proxy,
      jobs,
      report,
      quotaUsed,
      quotaWaiting,
      exitCodes: this.#exitCodes,
      pluginPidGone: report === undefined || !isAlive(report.pid),
      seconds: (performance.now() - this.#startedMs) / 1000,
    };
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
