import { setTimeout as delay } from 'node:timers/promises';
import { isTerminal } from 'webapi-plugin-host';
import type { PluginReport } from 'webapi-plugin-host/client';
import type { QueuedJob } from './cluster.js';
import type { CountingProxy } from './counting-proxy.js';
import type { Engine, Incarnation } from './engine.js';
import { until } from './processes.js';
import { FRAIL_NODE } from './slurm-conf.js';
import { Stage } from './stage.js';
import { type PlannedTask, planFirstHalf, planSecondHalf, TaskPlan } from './tasks.js';

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
  /** Tasks whose job the engine did not know of when the daemon was killed. */
  readonly uncreatedAtKill: number;
  readonly waitedForQuota: number;
  readonly cancelledStates: ReadonlyMap<string, readonly string[]>;
  readonly outage: { readonly failed: number; readonly sawFailures: boolean };
  /** What Status said of the jobs that Slurm took back into its queue. */
  readonly requeueReasons: readonly string[];
  readonly pluginPidGone: boolean;
  readonly seconds: number;
}

/** The real Slurm, the real daemon and an engine, from nothing to the end of sixty tasks. Leaves nothing running. */
export class Scenario {
  readonly #stage: Stage;
  readonly #made = new Map<string, Incarnation>();
  #plan!: TaskPlan;

  constructor(private readonly print: (line: string) => void) {
    this.#stage = new Stage(print);
  }

  async run(): Promise<Outcome> {
    const stage = this.#stage;
    try {
      await stage.setUp();
      this.#plan = new TaskPlan(stage.cluster.dataDir);
      const first = planFirstHalf(this.#plan);
      const requeueReasons = await this.#playFirstHalf(first);
      await this.#restart();
      const second = planSecondHalf(this.#plan);
      const middle = await this.#playOutage(first, second);
      await this.#playTroubles(second);
      await this.#allOver();
      stage.log('all tasks are over');
      const cancelledStates = await stage.queue.cancelled(
        namesOf([...first.parked, ...first.cancelledBefore, ...first.cancelledAfter]),
      );
      return await this.#finish({ ...middle, requeueReasons, cancelledStates });
    } catch (error) {
      this.print(`the daemon's log ends with:\n${this.#daemonTail()}`);
      throw error;
    } finally {
      await stage.close();
    }
  }

  #daemonTail(): string {
    try {
      return this.#stage.daemon.tail();
    } catch {
      return '(there was no daemon yet)';
    }
  }

  async #create(tasks: readonly PlannedTask[]): Promise<void> {
    const made = await Promise.all(tasks.map((task) => this.#stage.engine.create(task)));
    for (const one of made) this.#made.set(one.task.name, one);
  }

  async #delete(tasks: readonly PlannedTask[], reason: string): Promise<void> {
    const incarnations = tasks.map((task) => this.#made.get(task.name) as Incarnation);
    await Promise.all(incarnations.map((one) => this.#stage.engine.delete(one, reason)));
  }

  /** Twenty tasks: some are deleted, some deleted and created anew, some requeued or cancelled at the cluster. */
  async #playFirstHalf(first: ReturnType<typeof planFirstHalf>): Promise<string[]> {
    const { queue, cluster } = this.#stage;
    await this.#create(Object.values(first).flat());
    this.#stage.log(`${this.#made.size} tasks created`);
    const running = [...first.recreated, ...first.cancelledBefore, ...first.requeued, ...first.scancelled];
    await queue.running(namesOf(running));
    await queue.queued(namesOf(first.parked));
    this.#stage.log('deleting four tasks, and three more to create them anew under the same keys');
    await this.#delete([...first.parked, ...first.cancelledBefore, ...first.recreated], 'the test cancels it');
    await this.#create(first.recreated);
    const requeueReasons = await this.#requeue(namesOf(first.requeued));
    for (const { name } of first.scancelled) await cluster.tool('scancel', ['--name', name]);
    return requeueReasons;
  }

  async #restart(): Promise<void> {
    const { daemon, engine, exitCodes } = this.#stage;
    await this.#allCreated();
    this.#stage.log('stopping the daemon with jobs under way');
    exitCodes.push(await daemon.stop());
    engine.createDeadlineMs = 10_000;
    await delay(2_000);
    await daemon.start();
    await engine.connected();
    this.#stage.log('the daemon is back');
  }

  /** In the midst of submissions; answers how many tasks had no job that the engine knew of. */
  async #kill(): Promise<number> {
    const { daemon, engine } = this.#stage;
    const uncreated = this.#uncreated().length;
    this.#stage.log(`killing the daemon with ${uncreated} tasks to be created`);
    await daemon.kill();
    await daemon.start();
    await engine.connected();
    this.#stage.log('the daemon is back');
    return uncreated;
  }

  /** Most of the other forty, more than there are tokens; slurmrestd goes away while they are being submitted. */
  async #playOutage(first: ReturnType<typeof planFirstHalf>, second: ReturnType<typeof planSecondHalf>) {
    const { engine, proxy } = this.#stage;
    const { doubled, cancelledWaiting, duringHang, preempted, urgent, nodeFailed, ...rest } = second;
    proxy.loseAnswers(LOST_ANSWERS);
    const outageOver = delay(1_500).then(() => this.#outage());
    await this.#create(Object.values(rest).flat());
    await this.#create(cancelledWaiting);
    const waitedForQuota = engine.incarnations.filter((one) => /quota/.test(one.last.phaseInfo.reason)).length;
    await this.#delete(cancelledWaiting, 'no longer wanted');
    const thrice = async (task: PlannedTask) => Promise.all([1, 2, 3].map(() => engine.create(task)));
    const repeats = (await Promise.all(doubled.map(thrice))).map((made) => made.map((one) => one.handle));
    await this.#delete(first.cancelledAfter, 'cancelled after the restart');
    this.#stage.log(`${waitedForQuota} tasks wait for a token`);
    const outage = await outageOver;
    const uncreatedAtKill = await this.#kill();
    await this.#allCreated();
    return { waitedForQuota, repeats, outage, uncreatedAtKill };
  }

  /** The controller hangs, an urgent job preempts another one, a node fails. */
  async #playTroubles(second: ReturnType<typeof planSecondHalf>): Promise<void> {
    const { duringHang, preempted, urgent, nodeFailed } = second;
    const { queue, cluster } = this.#stage;
    await this.#hang(() => this.#create(duringHang));
    await this.#create([preempted]);
    await queue.running([preempted.name]);
    this.#stage.log('an urgent job drives out another one, and a node fails');
    await this.#create([urgent]);
    await queue.over([preempted.name, urgent.name]);
    await this.#create([nodeFailed]);
    await queue.running([nodeFailed.name]);
    await cluster.tool('scontrol', ['update', `nodename=${FRAIL_NODE}`, 'state=down', 'reason=test']);
  }

  /** Slurm takes running jobs back into its queue, as after a node failure; the tasks go on. */
  async #requeue(names: readonly string[]): Promise<string[]> {
    const ids = (await this.#stage.cluster.jobs())
      .filter((job) => names.includes(job.name))
      .map((job) => String(job.submission));
    for (const id of ids) {
      await this.#stage.cluster.tool('scontrol', ['update', `jobid=${id}`, 'Requeue=1']);
      await this.#stage.cluster.tool('scontrol', ['requeue', id]);
    }
    const seen = new Map<string, string>();
    await until('the daemon to see the jobs requeued', 30_000, () => {
      for (const one of this.#stage.engine.incarnations) {
        const { reason } = one.last.phaseInfo;
        if (names.includes(one.task.name) && reason.includes('requeued')) seen.set(one.task.name, reason);
      }
      return seen.size === names.length;
    });
    // A requeued job waits for two minutes; the operator lets it go earlier. Not at once, though: slurmd refuses a job
    // whose credential is not from a later second than the one in which it killed the last run ("already killed").
    await until('the first runs to be cleared away', 30_000, async () => {
      const states = await this.#stage.cluster.tool('squeue', ['-h', '-a', '-j', ids.join(','), '-o', '%T']);
      return states.trim().split('\n').join() === ids.map(() => 'PENDING').join();
    });
    for (const id of ids) await this.#stage.cluster.tool('scontrol', ['update', `jobid=${id}`, 'StartTime=now+3']);
    return [...seen.values()];
  }

  /** A submission that a kill cut off is repeated once its call can reach nobody any more. */
  #allCreated(): Promise<unknown> {
    return until('all tasks to be created', 120_000, () => this.#uncreated().length === 0);
  }

  #uncreated(): readonly Incarnation[] {
    return this.#stage.engine.incarnations.filter(
      (one) => !one.deleted && ['NOT_READY', 'WAITING_FOR_RESOURCES'].includes(one.last.phaseInfo.phase),
    );
  }

  async #outage(): Promise<Outcome['outage']> {
    this.#stage.log(`stopping slurmrestd for ${OUTAGE_MS / 1000} s`);
    const before = this.#stage.proxy.requests.length;
    await this.#stage.cluster.stopRestd();
    let sawFailures = false;
    const end = performance.now() + OUTAGE_MS;
    while (performance.now() < end) {
      sawFailures ||= this.#stage.engine.incarnations.some(
        (one) => one.last.consecutiveFailures > 0 || one.last.remoteDown,
      );
      await delay(250);
    }
    await this.#stage.cluster.startRestd();
    this.#stage.log('slurmrestd is back');
    return {
      failed: this.#stage.proxy.requests.slice(before).filter((request) => request.status === 0).length,
      sawFailures,
    };
  }

  /**
   * The controller hangs for longer than slurmrestd waits: submissions end in an error, and are carried out afterwards
   * all the same. Whoever then submits again without looking has two jobs.
   */
  async #hang(create: () => Promise<void>): Promise<void> {
    this.#stage.log(`Slurm's controller hangs for ${HANG_MS / 1000} s`);
    this.#stage.cluster.pauseController();
    try {
      await Promise.all([create(), delay(HANG_MS)]);
    } finally {
      this.#stage.cluster.resumeController();
    }
    this.#stage.log('the controller goes on');
  }

  #allOver(): Promise<unknown> {
    const open = () =>
      this.#stage.engine.incarnations.filter((one) => !one.deleted && !isTerminal(one.last.phaseInfo.phase));
    let told = 0;
    return until(
      'all tasks to be over',
      180_000,
      () => {
        const left = open();
        if (performance.now() - told > 15_000) {
          told = performance.now();
          this.#stage.log(
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

  async #finish(
    parts: Pick<
      Outcome,
      'requeueReasons' | 'waitedForQuota' | 'repeats' | 'outage' | 'uncreatedAtKill' | 'cancelledStates'
    >,
  ): Promise<Outcome> {
    const engine = this.#stage.engine;
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
      this.#stage.daemon.metric('pluginhost_quota_tokens_used'),
      this.#stage.daemon.metric('pluginhost_quota_waiting'),
    ]);
    const jobs = await this.#stage.cluster.jobs();
    await engine.stopAsking();
    this.#stage.exitCodes.push(await this.#stage.daemon.stop());
    return {
      ...parts,
      plan: this.#plan,
      engine,
      proxy: this.#stage.proxy,
      jobs,
      report,
      quotaUsed,
      quotaWaiting,
      exitCodes: this.#stage.exitCodes,
      pluginPidGone: report === undefined || !isAlive(report.pid),
      seconds: this.#stage.seconds,
    };
  }
}

function namesOf(tasks: readonly PlannedTask[]): string[] {
  return tasks.map((task) => task.name);
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
