import type { SlurmCluster } from './cluster.js';
import { until } from './processes.js';

const LIVE_STATES = ['PENDING', 'RUNNING', 'COMPLETING', 'SUSPENDED'];

/** Waits for what Slurm itself says of jobs, past the daemon; jobs by their names, which are those of the tasks. */
export class QueueWatch {
  constructor(private readonly cluster: Pick<SlurmCluster, 'jobs'>) {}

  /** Waits until Slurm itself runs the jobs of these names. */
  running(names: readonly string[]): Promise<unknown> {
    return until(`Slurm to run ${names.join(', ')}`, 60_000, async () => {
      const running = new Set(
        (await this.cluster.jobs()).filter((job) => job.state === 'RUNNING').map((job) => job.name),
      );
      return names.every((name) => running.has(name));
    });
  }

  /** Waits until Slurm is done with the jobs of these names. */
  over(names: readonly string[]): Promise<unknown> {
    return until(`Slurm to be done with ${names.join(', ')}`, 60_000, async () => {
      const jobs = (await this.cluster.jobs()).filter((job) => names.includes(job.name));
      return jobs.length === names.length && jobs.every((job) => !LIVE_STATES.includes(job.state));
    });
  }

  queued(names: readonly string[]): Promise<unknown> {
    return until(`Slurm to queue ${names.join(', ')}`, 30_000, async () => {
      const known = new Set((await this.cluster.jobs()).map((job) => job.name));
      return names.every((name) => known.has(name));
    });
  }

  /** The states of jobs that were cancelled, once none of them runs or waits any more. */
  async cancelled(names: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
    const read = async () => (await this.cluster.jobs()).filter((job) => names.includes(job.name));
    await until('the cancelled jobs to leave the queue', 30_000, async () =>
      (await read()).every((job) => !LIVE_STATES.includes(job.state)),
    ).catch(() => undefined);
    const jobs = await read();
    return new Map(names.map((name) => [name, jobs.filter((job) => job.name === name).map((job) => job.state)]));
  }
}
