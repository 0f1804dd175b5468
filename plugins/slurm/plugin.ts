import { stat } from 'node:fs/promises';
import path from 'node:path';
import {
  type AsyncPlugin,
  type CreateContext,
  type CreateResult,
  type LogsContext,
  type LogsPage,
  NotFoundError,
  PermanentError,
  type ResourceContext,
  type Settled,
  type SetupContext,
} from 'webapi-plugin-host';
import { parseCustom } from './custom.js';
import { noneIfNotFound } from './faults.js';
import { JobLookup } from './job-lookup.js';
import { groupBy, leaderOf, type SlurmJob } from './jobs.js';
import { isRefusal, LateSubmissions, STRAYS_TIMEOUT_MS, straysOf } from './late-submissions.js';
import { fileOf, indexesOf, type SlurmMeta } from './meta.js';
import { readExitCode, readLogPage } from './node-files.js';
import { findOutputs } from './outputs.js';
import { RestClient } from './rest-client.js';
import { defaultClusterOf, type SlurmSettings } from './settings.js';
import { describeMissing, hasSucceeded, isOver, missingElements, type SlurmResource, statusOf } from './status.js';
import { buildSubmission } from './submission.js';
import { TokenSource } from './token.js';

interface Cluster {
  readonly client: RestClient;
  readonly lookup: JobLookup;
}

type ReadContext = Pick<ResourceContext<SlurmMeta>, 'dataStore' | 'outputPrefix' | 'idempotencyKey'>;

/** Jobs of one list call: the list is as long as the cluster is busy, whoever asks, so a batch may well be large. */
const MAX_BATCH = 1_000;
const DEFAULT_LOG_LINES = 500;
/** Finished jobs of one batch whose outputs are read at a time. */
const PARALLEL = 8;

/** Jobs on Slurm clusters through slurmrestd. Keeps no state of its own but tokens: every answer comes from the cluster. */
export class SlurmPlugin implements AsyncPlugin<SlurmMeta, SlurmResource> {
  readonly #settings: SlurmSettings;
  readonly #clusters = new Map<string, Cluster>();
  readonly #late: LateSubmissions;

  constructor(
    setup: Pick<SetupContext<SlurmSettings>, 'settings' | 'secretManager'>,
    private readonly now: () => number = Date.now,
    private readonly straysTimeoutMs = STRAYS_TIMEOUT_MS,
  ) {
    this.#settings = setup.settings;
    this.#late = new LateSubmissions(now);
    for (const [name, cluster] of Object.entries(setup.settings.clusters)) {
      const tokens = new TokenSource(name, cluster.token, setup.secretManager, now);
      const { url, apiVersion, user } = cluster;
      const { maxResponseBytes } = setup.settings;
      const client = new RestClient({ url, apiVersion, user, tokens, maxResponseBytes, now });
      this.#clusters.set(name, { client, lookup: new JobLookup(client) });
    }
  }

  /** One quota namespace a cluster, named like it. An unknown cluster is refused by create; it names no namespace. */
  resourceRequirements(ctx: Parameters<NonNullable<AsyncPlugin['resourceRequirements']>>[0]): { namespace: string } {
    const { cluster } = ctx.taskReader.read().custom;
    const known = typeof cluster === 'string' && this.#clusters.has(cluster);
    return { namespace: known ? cluster : defaultClusterOf(this.#settings) };
  }

  async create(ctx: CreateContext): Promise<CreateResult<SlurmMeta, SlurmResource>> {
    const template = ctx.taskReader.read();
    const custom = parseCustom(template, this.#settings);
    const name = custom.cluster ?? defaultClusterOf(this.#settings);
    const { body, stem } = buildSubmission({
      template,
      custom,
      inputs: await ctx.inputReader.get(),
      outputPrefix: ctx.outputPrefix,
      engineEnvironment: ctx.taskExecutionMetadata.environmentVariables,
      idempotencyKey: ctx.idempotencyKey,
      cluster: this.#clusterSettings(name),
      settings: this.#settings,
    });
    const meta = (jobId: number): SlurmMeta => ({
      cluster: name,
      jobId,
      ...(custom.array === undefined ? {} : { array: custom.array }),
      outputs: [...template.outputNames],
      permanentExitCodes: [...(custom.permanentExitCodes ?? this.#settings.permanentExitCodes)],
      stem,
    });
    const { client, lookup } = this.#cluster(name);
    const found = await lookup.find(ctx.idempotencyKey, ctx.signal);
    const [first] = found;
    if (first !== undefined) {
      const resourceMeta = meta(leaderOf(first));
      ctx.logger.info('a job of this key is there already', { cluster: name, jobId: resourceMeta.jobId });
      await this.#cancelStrays(ctx, resourceMeta, found);
      const jobs = found.filter((job) => leaderOf(job) === resourceMeta.jobId);
      return { resourceMeta, existing: true, resource: await this.#complete(ctx, resourceMeta, jobs) };
    }
    const { jobId, warning } = await client.submit(body, ctx.signal).catch((error: unknown) => {
      if (!isRefusal(error)) this.#late.note(ctx.idempotencyKey);
      throw error;
    });
    if (warning !== '') ctx.logger.warn('Slurm took the job with a remark', { cluster: name, jobId, warning });
    return { resourceMeta: meta(jobId) };
  }

  async get(ctx: ResourceContext<SlurmMeta>): Promise<SlurmResource> {
    const meta = ctx.resourceMeta;
    if (this.#late.expects(ctx.idempotencyKey)) {
      const all = await this.#cluster(meta.cluster).lookup.find(ctx.idempotencyKey, ctx.signal);
      await this.#cancelStrays(ctx, meta, all);
    }
    // the controller forgets a job some minutes after its end; what it left behind may still speak for it
    const jobs = await this.#cluster(meta.cluster).client.getJob(meta.jobId, ctx.signal).catch(noneIfNotFound);
    return this.#complete(ctx, meta, jobs);
  }

  readonly getMany = {
    maxBatch: MAX_BATCH,
    batchKey: (meta: SlurmMeta): string => meta.cluster,
    read: async (contexts: readonly ResourceContext<SlurmMeta>[]): Promise<Settled<SlurmResource>[]> => {
      const head = contexts[0];
      if (head === undefined) return [];
      const wanted = new Set(contexts.map((ctx) => ctx.resourceMeta.jobId));
      const keys = new Set(contexts.map((ctx) => ctx.idempotencyKey));
      const jobs = await this.#cluster(head.resourceMeta.cluster).client.listJobs(
        (raw) => wanted.has(raw.arrayJobId || raw.jobId || 0) || keys.has(raw.comment),
        head.signal,
      );
      const byLeader = groupBy(jobs, leaderOf);
      const byKey = groupBy(jobs, (job) => job.comment);
      const soon = this.#soon(head.signal);
      for (const ctx of contexts) {
        await this.#cancelStrays(ctx, ctx.resourceMeta, byKey.get(ctx.idempotencyKey) ?? [], soon);
      }
      const outcomes: Settled<SlurmResource>[] = [];
      for (let at = 0; at < contexts.length; at += PARALLEL) {
        const part = contexts.slice(at, at + PARALLEL);
        outcomes.push(
          ...(await Promise.allSettled(
            part.map((ctx) => this.#complete(ctx, ctx.resourceMeta, byLeader.get(ctx.resourceMeta.jobId) ?? [])),
          )),
        );
      }
      return outcomes;
    },
  };

  status = statusOf;

  /**
   * Looks before it cancels: what is over needs no call, and a job that took over the number is left alone. No read comes
   * after a delete, so a job of the same key that came late goes with it, or the delete fails and is repeated.
   */
  async delete(ctx: ResourceContext<SlurmMeta>): Promise<void> {
    const meta = ctx.resourceMeta;
    const { client, lookup } = this.#cluster(meta.cluster);
    const known = await client.getJob(meta.jobId, ctx.signal, 'delete').catch(noneIfNotFound);
    const jobs = known.filter((job) => isOurs(job, ctx.idempotencyKey, meta));
    const over = jobs.length === 0 || isOver(meta, { jobs, leftExits: {}, logs: [] });
    if (!over) await client.cancel(meta.jobId, ctx.signal);
    if (this.#late.expects(ctx.idempotencyKey)) {
      const all = await lookup.find(ctx.idempotencyKey, ctx.signal);
      for (const jobId of straysOf(all, ctx.idempotencyKey, meta)) await client.cancel(jobId, ctx.signal);
    }
    if (jobs.length === 0) throw new NotFoundError(`Slurm job ${meta.jobId} is not the one of this task (any more)`);
  }

  /** Pages through the job's log; the elements of an array follow one another, each line with its index. */
  async getLogs(ctx: LogsContext<SlurmMeta>): Promise<LogsPage> {
    const meta = ctx.resourceMeta;
    const match = /^(?:(\d{1,7}):(\d{1,15}))?$/.exec(ctx.token);
    if (match === null) {
      throw new PermanentError(`'${ctx.token.slice(0, 40)}' is not the token of a log page`, { code: 'InvalidToken' });
    }
    const workDir = path.posix.dirname(meta.stem);
    if (!(await stat(workDir).catch(() => undefined))?.isDirectory()) {
      throw new PermanentError(`${workDir} of cluster '${meta.cluster}' is not mounted beside the plugin host`, {
        faultKind: 'SYSTEM',
        code: 'LogsNotMounted',
      });
    }
    const indexes = indexesOf(meta);
    const at = Number(match[1] ?? 0);
    const index = indexes?.[at];
    const most = ctx.lines > 0 ? ctx.lines : DEFAULT_LOG_LINES;
    const page = await readLogPage(fileOf(meta.stem, index, 'out'), Number(match[2] ?? 0), most);
    const lines = page.lines.map((text) => ({
      message: index === undefined ? text : `[${index}] ${text}`,
      originator: 'USER' as const,
    }));
    if (page.next !== undefined) return { lines, token: `${at}:${page.next}` };
    return at + 1 < (indexes?.length ?? 1) ? { lines, token: `${at + 1}:0` } : { lines };
  }

  /**
   * Cancels what else runs under a task's key: jobs of submissions whose answer was lost and that arrived after the next
   * one. Nobody else knows of them. One that cannot be cancelled now is tried again by the next read.
   */
  async #cancelStrays(
    ctx: Pick<ResourceContext<SlurmMeta>, 'idempotencyKey' | 'logger' | 'signal'>,
    meta: SlurmMeta,
    jobs: readonly SlurmJob[],
    signal = this.#soon(ctx.signal),
  ): Promise<void> {
    for (const jobId of straysOf(jobs, ctx.idempotencyKey, meta)) {
      const facts = { cluster: meta.cluster, jobId, kept: meta.jobId };
      try {
        await this.#cluster(meta.cluster).client.cancel(jobId, signal);
        ctx.logger.warn(
          'a second job of one key was cancelled: its submission had been given up and arrived late',
          facts,
        );
      } catch (error) {
        ctx.logger.warn('a second job of one key could not be cancelled yet', { ...facts, error });
      }
    }
  }

  #soon(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, AbortSignal.timeout(this.straysTimeoutMs)]);
  }

  /** Adds to Slurm's records what they do not tell: exit codes of dropped records, and outputs after a success. */
  async #complete(ctx: ReadContext, meta: SlurmMeta, records: readonly SlurmJob[]): Promise<SlurmResource> {
    const jobs = records.filter((job) => isOurs(job, ctx.idempotencyKey, meta));
    const leftExits: Record<number, number> = {};
    const resource: SlurmResource = { jobs, leftExits, logs: this.#logLinks(meta) };
    if (!isOver(meta, resource)) return resource;
    await this.#findExits(meta, resource, leftExits);
    if (!hasSucceeded(meta, resource)) return resource;
    const endedMs = Math.max(0, ...jobs.map((job) => job.endTime)) * 1000;
    const outputs = await findOutputs({
      store: ctx.dataStore,
      prefix: ctx.outputPrefix,
      declared: meta.outputs,
      indexes: indexesOf(meta),
      mayAppear: this.now() - endedMs < this.#settings.outputGraceSeconds * 1000,
    });
    return { ...resource, outputs };
  }

  async #findExits(meta: SlurmMeta, resource: SlurmResource, leftExits: Record<number, number>): Promise<void> {
    if (meta.array === undefined) {
      if (resource.jobs.length > 0) return;
      const code = await readExitCode(fileOf(meta.stem, undefined, 'exit'));
      if (code === undefined)
        throw new NotFoundError(`Slurm does not know job ${meta.jobId}, and it left no exit code`);
      leftExits[0] = code;
      return;
    }
    for (const index of missingElements(meta, resource)) {
      const code = await readExitCode(fileOf(meta.stem, index, 'exit'));
      if (code !== undefined) leftExits[index] = code;
    }
    const lost = missingElements(meta, resource);
    if (lost.length > 0) throw new NotFoundError(describeMissing(meta, lost));
  }

  #logLinks(meta: SlurmMeta): SlurmResource['logs'] {
    const template = this.#settings.logUrlTemplate;
    if (template !== undefined) {
      const uri = template.replaceAll('{{jobId}}', String(meta.jobId)).replaceAll('{{cluster}}', meta.cluster);
      return [{ uri, name: 'Slurm job' }];
    }
    return meta.array === undefined
      ? [{ uri: `file://${fileOf(meta.stem, undefined, 'out')}`, name: 'Slurm log' }]
      : [];
  }

  #cluster(name: string): Cluster {
    const cluster = this.#clusters.get(name);
    if (cluster === undefined) {
      throw new PermanentError(
        `cluster '${name}' is not configured any more; known are ${[...this.#clusters.keys()].join(', ')}`,
        { faultKind: 'SYSTEM', code: 'ClusterUnknown' },
      );
    }
    return cluster;
  }

  #clusterSettings(name: string): SlurmSettings['clusters'][string] {
    this.#cluster(name);
    return this.#settings.clusters[name] as SlurmSettings['clusters'][string];
  }
}

/**
 * Whether a record is of the job this task made: Slurm starts its numbers anew when its state is lost, and after
 * MaxJobId. The comment can be changed by a user; the log's path stays.
 */
function isOurs(job: SlurmJob, key: string, meta: SlurmMeta): boolean {
  return job.comment === key || job.standardOutput.startsWith(meta.stem);
}
