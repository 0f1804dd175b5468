import {
  type ExternalResource,
  type OutputValues,
  type PhaseInfo,
  type PhaseInfoOptions,
  phases,
  type StatusContext,
  type TaskLog,
} from 'webapi-plugin-host';
import { formatIndexes } from './array-spec.js';
import type { SlurmJob } from './jobs.js';
import { indexesOf, type SlurmMeta } from './meta.js';
import { isLive, ruleFor, ruleForExit, type StateRule } from './states.js';

/** What the job left at the output prefix, once it has succeeded. */
export type FoundOutputs =
  | { readonly kind: 'none-declared' }
  | { readonly kind: 'at-prefix' }
  | { readonly kind: 'values'; readonly values: OutputValues }
  /** Not there yet, and the grace after the job's end is not over. */
  | { readonly kind: 'awaited' }
  | { readonly kind: 'unusable'; readonly problem: string }
  /** The program reported a failure in error.pb although it exited with 0. */
  | { readonly kind: 'error-file'; readonly uri: string };

/** One read of a job: the records Slurm holds, and what had to be found elsewhere. */
export interface SlurmResource {
  readonly jobs: readonly SlurmJob[];
  /** The job that is followed, where it is not the meta's: see jobs-of-key.ts. */
  readonly jobId?: number;
  /** Exit codes left behind by a job, or by elements of an array, that Slurm remembers no more; index 0 for a plain job. */
  readonly leftExits: Readonly<Record<number, number>>;
  readonly outputs?: FoundOutputs;
  readonly logs: readonly TaskLog[];
}

/** One part of the job, the whole one or an array element, with its rule. */
interface Part {
  readonly index: number | undefined;
  readonly rule: StateRule;
  readonly job: SlurmJob | undefined;
  readonly exitCode: number | undefined;
}

const LIVE = { queued: 1, initializing: 2, running: 3 } as const;
/** Most elements listed one by one; the rest shows in the counts. */
const MAX_LISTED = 50;
const PHASE_OF_LIVE = { queued: 'QUEUED', initializing: 'INITIALIZING', running: 'RUNNING' } as const;

function partsOf(meta: SlurmMeta, resource: SlurmResource): Part[] {
  const fromJob = (job: SlurmJob, index: number | undefined): Part => ({
    index,
    rule: ruleFor(job, meta.permanentExitCodes),
    job,
    exitCode: job.exitCode,
  });
  const fromExit = (exitCode: number, index: number | undefined): Part => ({
    index,
    rule: ruleForExit(exitCode, meta.permanentExitCodes),
    job: undefined,
    exitCode,
  });
  if (meta.array === undefined) {
    const job = resource.jobs[0];
    const exitCode = resource.leftExits[0];
    if (exitCode !== undefined) return [fromExit(exitCode, undefined)];
    return job === undefined ? [] : [fromJob(job, undefined)];
  }
  const parts = resource.jobs
    .filter((job) => job.arrayTaskId === undefined || resource.leftExits[job.arrayTaskId] === undefined)
    .map((job) => fromJob(job, job.arrayTaskId));
  for (const [index, exitCode] of Object.entries(resource.leftExits)) parts.push(fromExit(exitCode, Number(index)));
  return parts;
}

/** Whether nothing of the job runs or waits any more: then its outputs are looked for. */
export function isOver(meta: SlurmMeta, resource: SlurmResource): boolean {
  return partsOf(meta, resource).every((part) => !isLive(part.rule));
}

/** Whether every part of the job ended well. */
export function hasSucceeded(meta: SlurmMeta, resource: SlurmResource): boolean {
  const parts = partsOf(meta, resource);
  return parts.length > 0 && parts.every((part) => part.rule.kind === 'succeeded');
}

/** Pure: the phase of one read. */
export function statusOf({
  resourceMeta: created,
  resource,
}: Pick<StatusContext<SlurmMeta, SlurmResource>, 'resourceMeta' | 'resource'>): PhaseInfo {
  const resourceMeta = resource.jobId === undefined ? created : { ...created, jobId: resource.jobId };
  const parts = partsOf(resourceMeta, resource);
  const first = parts.find((part) => part.job !== undefined)?.job;
  const options: PhaseInfoOptions = {
    logs: resource.logs,
    remotePhase: remotePhaseOf(parts),
    customInfo: {
      cluster: resourceMeta.cluster,
      jobId: resourceMeta.jobId,
      ...(first === undefined || first.nodes === '' ? {} : { nodes: first.nodes }),
      ...(first === undefined || first.restarts === 0 ? {} : { restarts: first.restarts }),
    },
    ...(resourceMeta.array === undefined ? {} : { externalResources: elementsOf(resourceMeta, parts) }),
  };
  const live = parts.filter((part) => isLive(part.rule));
  return live.length > 0
    ? livePhase(resourceMeta, parts, live, options)
    : finalPhase(resourceMeta, parts, resource, options);
}

function livePhase(meta: SlurmMeta, all: readonly Part[], live: readonly Part[], options: PhaseInfoOptions): PhaseInfo {
  // an array is as far as its furthest element; one that ended counts as having run
  const furthest =
    all.length > live.length ? 3 : Math.max(...live.map((part) => LIVE[part.rule.kind as keyof typeof LIVE]));
  const job = live[0]?.job;
  const reason = meta.array === undefined && job !== undefined ? describeLive(meta, job) : countsOf(meta, all);
  if (furthest === LIVE.queued) return phases.queued({ ...options, reason });
  return furthest === LIVE.initializing
    ? phases.initializing({ ...options, reason })
    : phases.running({ ...options, reason });
}

function describeLive(meta: SlurmMeta, job: SlurmJob): string {
  const why = [job.reason, job.description].filter((text) => text !== '').join(', ');
  const again = job.restarts > 0 ? `, requeued ${job.restarts} ${job.restarts === 1 ? 'time' : 'times'}` : '';
  return `Slurm job ${meta.jobId} is ${job.state}${why === '' ? '' : ` (${why})`}${again}`;
}

function finalPhase(
  meta: SlurmMeta,
  parts: readonly Part[],
  resource: SlurmResource,
  options: PhaseInfoOptions,
): PhaseInfo {
  const failures = parts.filter((part) => part.rule.kind === 'failed');
  if (failures.length > 0) {
    // what no further attempt can cure decides for the whole array
    const worst = failures.find((part) => part.rule.kind === 'failed' && !part.rule.retryable) ?? failures[0];
    if (worst?.rule.kind === 'failed') {
      const { code, fault, retryable } = worst.rule;
      const rest = meta.array === undefined ? '' : `; ${countsOf(meta, parts)}`;
      const make = retryable ? phases.retryableFailure : phases.permanentFailure;
      return make(`${describeEnd(meta, worst)}${rest}`, { ...options, code, kind: fault });
    }
  }
  if (parts.some((part) => part.rule.kind === 'cancelled')) {
    const rest = meta.array === undefined ? '' : ` (${countsOf(meta, parts)})`;
    return phases.aborted(`Slurm job ${meta.jobId} was cancelled at the cluster${rest}`, options);
  }
  return successPhase(meta, resource.outputs ?? { kind: 'none-declared' }, options);
}

function successPhase(meta: SlurmMeta, outputs: FoundOutputs, options: PhaseInfoOptions): PhaseInfo {
  const done = `Slurm job ${meta.jobId} is COMPLETED`;
  switch (outputs.kind) {
    case 'none-declared':
      return phases.success(undefined, { ...options, reason: done });
    case 'at-prefix':
      return phases.success('at-prefix', { ...options, reason: done });
    case 'values':
      return phases.success(outputs.values, { ...options, reason: done });
    case 'awaited':
      return phases.running({ ...options, reason: `${done}, waiting for its outputs`, nextPollAfterMs: 2_000 });
    case 'error-file':
      return phases.retryableFailure(`${done} with exit code 0, but its program reported a failure in ${outputs.uri}`, {
        ...options,
        code: 'ErrorFile',
        kind: 'USER',
      });
    case 'unusable':
      return phases.permanentFailure(`${done} with exit code 0, but ${outputs.problem}`, {
        ...options,
        code: 'OutputsUnusable',
        kind: 'USER',
      });
    default:
      return outputs satisfies never;
  }
}

/** State, exit code or signal, reason, place: what a person needs to know about the end of a job. */
function describeEnd(meta: SlurmMeta, part: Part): string {
  const id = part.index === undefined ? `${meta.jobId}` : `${meta.jobId}_${part.index}`;
  const { job } = part;
  const meaning = part.rule.kind === 'failed' ? part.rule.meaning : '';
  if (job === undefined)
    return `Slurm job ${id} FAILED: ${meaning}, exit code ${part.exitCode} (from the code it left behind)`;
  const facts = [meaning];
  const signal = `signal ${job.signal}`;
  if (job.signal === 0) facts.push(`exit code ${job.exitCode}`);
  else if (!meaning.endsWith(signal)) facts.push(signal);
  if (job.signal === 0 && job.exitCode > 128 && job.exitCode < 160) {
    facts.push(`a process was killed by signal ${job.exitCode - 128}`);
  }
  if (job.reason !== '') facts.push(`reason ${job.reason}`);
  if (job.description !== '') facts.push(job.description);
  if (job.nodes !== '') facts.push(`on ${job.nodes}`);
  if (job.restarts > 0) facts.push(`restarts ${job.restarts}`);
  return `Slurm job ${id} ${job.state}: ${facts.filter((fact) => fact !== '').join(', ')}`;
}

/** How many elements of an array are where, such as `array of 10: 3 COMPLETED, 1 FAILED, 6 not started`. */
function countsOf(meta: SlurmMeta, parts: readonly Part[]): string {
  const counts = new Map<string, number>();
  let started = 0;
  for (const part of parts) {
    if (part.index === undefined) continue;
    started++;
    const state = part.job?.state ?? (part.exitCode === 0 ? 'COMPLETED' : 'FAILED');
    counts.set(state, (counts.get(state) ?? 0) + 1);
  }
  const list = [...counts].map(([state, count]) => `${count} ${state}`);
  const total = indexesOf(meta)?.length ?? 0;
  if (total > started)
    list.push(`${total - started} ${parts.some((part) => part.index === undefined) ? 'not started' : 'ended'}`);
  const pending = parts.find((part) => part.index === undefined)?.job?.reason;
  return `array of ${total}: ${list.join(', ')}${pending === undefined || pending === '' ? '' : ` (${pending})`}`;
}

function remotePhaseOf(parts: readonly Part[]): string {
  const states = new Set(parts.map((part) => part.job?.state ?? (part.exitCode === 0 ? 'COMPLETED' : 'FAILED')));
  return [...states].sort().join(' ');
}

function elementsOf(meta: SlurmMeta, parts: readonly Part[]): ExternalResource[] {
  return parts
    .filter((part) => part.index !== undefined)
    .slice(0, MAX_LISTED)
    .map((part) => ({
      externalId: `${meta.jobId}_${part.index}`,
      index: part.index as number,
      retryAttempt: part.job?.restarts ?? 0,
      phase: phaseOfRule(part.rule),
    }));
}

function phaseOfRule(rule: StateRule): NonNullable<ExternalResource['phase']> {
  switch (rule.kind) {
    case 'succeeded':
      return 'SUCCESS';
    case 'cancelled':
      return 'ABORTED';
    case 'failed':
      return rule.retryable ? 'RETRYABLE_FAILURE' : 'PERMANENT_FAILURE';
    default:
      return PHASE_OF_LIVE[rule.kind];
  }
}

/** The elements of an array that no record and no exit code speaks for. */
export function missingElements(meta: SlurmMeta, resource: Pick<SlurmResource, 'jobs' | 'leftExits'>): number[] {
  const known = new Set(resource.jobs.map((job) => job.arrayTaskId));
  return (indexesOf(meta) ?? []).filter((index) => !known.has(index) && resource.leftExits[index] === undefined);
}

/** For a message about elements that left no trace. */
export function describeMissing(meta: SlurmMeta, missing: readonly number[]): string {
  return `elements ${formatIndexes(missing)} of array job ${meta.jobId} ended, but Slurm has dropped their records and they left no exit code`;
}
