import { z } from 'zod';

/**
 * Numbers come plain from the older API versions and as `{ set, infinite, number }` from v0.0.40 on; states as one name
 * or as a list of names. Anything else in a job's record is left unread, so that an unknown field never matters.
 */
const numberSchema = z
  .union([
    z.number(),
    z.null(),
    z
      .object({ set: z.boolean().optional(), number: z.number().optional() })
      .transform((value) => (value.set === false ? null : (value.number ?? null))),
  ])
  .optional()
  .transform((value) => value ?? undefined);

const textSchema = z
  .string()
  .nullish()
  .transform((value) => value ?? '');

const exitSchema = z
  .union([
    // a raw wait status, as wait(2) gives it
    z.number().transform((raw) => ({ code: (raw >> 8) & 0xff, signal: raw & 0x7f })),
    z
      .object({ return_code: numberSchema, signal: z.object({ id: numberSchema }).optional() })
      .transform((value) => ({ code: value.return_code ?? 0, signal: value.signal?.id ?? 0 })),
  ])
  .nullish()
  .transform((value) => value ?? { code: 0, signal: 0 });

/** Flags that stand beside a base state in newer versions and hide it in older ones; the base state decides there. */
const FLAGS: ReadonlySet<string> = new Set([
  'COMPLETING',
  'CONFIGURING',
  'POWER_UP_NODE',
  'REQUEUED',
  'REQUEUE_FED',
  'REQUEUE_HOLD',
  'RESIZING',
  'RESV_DEL_HOLD',
  'SIGNALING',
  'SPECIAL_EXIT',
  'STAGE_OUT',
  'STOPPED',
]);

const stateSchema = z.union([
  z.string(),
  z
    .array(z.string())
    .nonempty()
    // while a flag is set the job is not over, whatever its base state says
    .transform((names) => names.find((name) => FLAGS.has(name)) ?? (names[0] as string)),
]);

const jobSchema = z
  .object({
    job_id: numberSchema,
    array_job_id: numberSchema,
    array_task_id: numberSchema,
    array_task_string: textSchema,
    job_state: stateSchema,
    state_reason: textSchema,
    state_description: textSchema,
    exit_code: exitSchema,
    restart_cnt: numberSchema,
    comment: textSchema,
    standard_output: textSchema,
    nodes: textSchema,
    partition: textSchema,
    submit_time: numberSchema,
    end_time: numberSchema,
  })
  .transform((raw) => ({
    jobId: raw.job_id ?? 0,
    /** The array this job is an element of; undefined outside arrays. */
    arrayJobId: raw.array_job_id === undefined || raw.array_job_id === 0 ? undefined : raw.array_job_id,
    /** The element's index; undefined for the record that stands for elements not started yet. */
    arrayTaskId: raw.array_job_id === undefined || raw.array_job_id === 0 ? undefined : raw.array_task_id,
    arrayPending: raw.array_task_string,
    state: raw.job_state,
    reason: raw.state_reason === 'None' ? '' : raw.state_reason,
    description: raw.state_description,
    exitCode: raw.exit_code.code,
    signal: raw.exit_code.signal,
    restarts: raw.restart_cnt ?? 0,
    comment: raw.comment,
    standardOutput: raw.standard_output,
    nodes: raw.nodes,
    partition: raw.partition,
    submitTime: raw.submit_time ?? 0,
    /** Seconds since the epoch; for a running job, when its time limit ends it. */
    endTime: raw.end_time ?? 0,
  }));

/** One record of Slurm's job list. */
export type SlurmJob = z.output<typeof jobSchema>;

/** The id that submit answered: of the array for its elements, else of the job. */
export function leaderOf(job: Pick<SlurmJob, 'jobId' | 'arrayJobId'>): number {
  return job.arrayJobId ?? job.jobId;
}

export function groupBy<K>(jobs: readonly SlurmJob[], keyOf: (job: SlurmJob) => K): Map<K, SlurmJob[]> {
  const groups = new Map<K, SlurmJob[]>();
  for (const job of jobs) {
    const known = groups.get(keyOf(job));
    if (known === undefined) groups.set(keyOf(job), [job]);
    else known.push(job);
  }
  return groups;
}

/**
 * Reads the `jobs` of an answer and keeps those that `wanted` picks by their raw fields; the rest, on a large cluster
 * nearly all, is not looked at further. Undefined where the answer is not a job list or a wanted record is not a job.
 */
export function parseJobs(
  answer: unknown,
  wanted: (raw: { jobId: number | undefined; arrayJobId: number | undefined; comment: string }) => boolean,
): SlurmJob[] | undefined {
  const list = (answer as { jobs?: unknown } | null)?.jobs;
  if (!Array.isArray(list)) return undefined;
  const jobs: SlurmJob[] = [];
  for (const raw of list as unknown[]) {
    if (typeof raw !== 'object' || raw === null) return undefined;
    const { job_id, array_job_id, comment } = raw as Record<string, unknown>;
    const view = {
      jobId: numberSchema.safeParse(job_id).data,
      arrayJobId: numberSchema.safeParse(array_job_id).data,
      comment: typeof comment === 'string' ? comment : '',
    };
    if (!wanted(view)) continue;
    const job = jobSchema.safeParse(raw);
    if (!job.success) return undefined;
    jobs.push(job.data);
  }
  return jobs;
}
