import { leaderOf, type SlurmJob } from './jobs.js';
import type { SlurmMeta } from './meta.js';
import { isLive, ruleFor } from './states.js';

/**
 * The stems (see SlurmMeta.stem) that the path of a job's log may belong to: `<stem>.out`, or `<stem>-<index>.out` of an
 * array, where `<index>` is still `%a` in the records of most versions.
 */
export function stemsOf(standardOutput: string): string[] {
  if (!standardOutput.endsWith('.out')) return [];
  const stem = standardOutput.slice(0, -'.out'.length);
  const ofArray = /^(.*)-(?:%a|\d{1,10})$/s.exec(stem)?.[1];
  return ofArray === undefined ? [stem] : [stem, ofArray];
}

/** Whether the job was submitted for this task: sites rewrite comments, and users may; the log's path stays. */
function isAtStem(job: Pick<SlurmJob, 'standardOutput'>, stem: string): boolean {
  return stemsOf(job.standardOutput).includes(stem);
}

/**
 * Whether a record is of a job this task made: Slurm starts its numbers anew when its state is lost, and after MaxJobId.
 */
export function isOurs(job: Pick<SlurmJob, 'comment' | 'standardOutput'>, key: string, stem: string): boolean {
  return job.comment === key || isAtStem(job, stem);
}

const isAlive = (job: SlurmJob) => isLive(ruleFor(job, []));

/** The jobs of a task's key, sorted out. */
export interface JobsOfKey {
  /** The id of the job that the task follows. */
  readonly kept: number;
  /** Live ones that are to be cancelled. */
  readonly strays: readonly number[];
}

/**
 * Of several jobs of one key the oldest stays, whoever looks, so that two that look never cancel each other's. There are
 * several when an answer was lost and the job arrived late, or when a list did not show it. What was cancelled already gives
 * way to one that was not. A job by its comment alone is followed but never cancelled: the comment can be anybody's.
 */
export function sortOut(jobs: readonly SlurmJob[], key: string, meta: Pick<SlurmMeta, 'jobId' | 'stem'>): JobsOfKey {
  const ours = jobs.filter((job) => isAtStem(job, meta.stem) || (leaderOf(job) === meta.jobId && job.comment === key));
  const standing = ours.filter((job) => job.state !== 'CANCELLED').map(leaderOf);
  const kept = standing.length === 0 ? meta.jobId : Math.min(...standing);
  const strays = ours.filter((job) => leaderOf(job) !== kept && isAlive(job) && isAtStem(job, meta.stem));
  return { kept, strays: [...new Set(strays.map(leaderOf))] };
}
