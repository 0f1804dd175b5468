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
  TransientError,
} from 'webapi-plugin-host';
import { type PluginClock, SYSTEM_CLOCK } from './clock.js';
import { invalid, parseCustom } from './custom.js';
import { noneIfNotFound } from './faults.js';
import { JobLookup } from './job-lookup.js';
import { groupBy, type JobList, leaderOf, type SlurmJob } from './jobs.js';
import { isOurs, sortOut, stemsOf } from './jobs-of-key.js';
import { isRefusal, LateSubmissions, STRAYS_TIMEOUT_MS } from './late-submissions.js';
import { type LoneRead, LoneReads } from './lone-reads.js';
import { fileOf, indexesOf, type SlurmMeta } from './meta.js';
import { readExitCode, readLogPage } from './node-files.js';
import { findOutputs } from './outputs.js';
import { OverSince } from './over-since.js';
import { RestClient, UNUSABLE } from './rest-client.js';
import { defaultClusterOf, type SlurmSettings } from './settings.js';
import { isUnknownEnd } from './states.js';
import { describeMissing, hasSucceeded, isOver, missingElements, type SlurmResource, statusOf } from './status.js';
import { buildSubmission } from './submission.js';
import { TokenSource } from './token.js';
import { Witnesses } from './witnesses.js';

interface Cluster {
  readonly client: RestClient;
  readonly lookup: JobLookup;
  readonly lone: LoneReads;
  readonly witnesses: Witnesses;
}

type ReadContext = Pick<ResourceContext<SlurmMeta>, 'dataStore' | 'outputPrefix' | 'idempotencyKey'>;

/** Jobs of one list call: the list is as long as the cluster is busy, whoever asks, so a batch may well be large. */
const MAX_BATCH = 1_000;
/** Of a resource meta, as JSON: the daemon keeps no larger one. */
const MAX_META_BYTES = 16 * 1024;
const DEFAULT_LOG_LINES = 500;
/** Finished jobs of one batch whose outputs are read at a time. */
const PARALLEL = 8;

/** Jobs on Slurm clusters through slurmrestd. Keeps no state of its own but tokens: every answer comes from the cluster. */
export class SlurmPlugin implements AsyncPlugin<SlurmMeta, SlurmResource> {
  readonly #settings: SlurmSettings;
  readonly #clusters = new Map<string, Cluster>();
  readonly #late: LateSubmissions;
  readonly #overSince: OverSince;

  constructor(
    setup: Pick<SetupContext<SlurmSettings>, 'settings' | 'secretManager'>,
    clock: PluginClock = SYSTEM_CLOCK,
    private readonly straysTimeoutMs = STRAYS_TIMEOUT_MS,
  ) {
    this.#settings = setup.settings;
    const monotonic = () => clock.monotonicMs();
    this.#late = new LateSubmissions(monotonic);
    this.#overSince = new OverSince(monotonic);
    for (const [name, cluster] of Object.entries(setup.settings.clusters)) {
      const tokens = new TokenSource(name, cluster.token, setup.secretManager, clock);
      const { url, apiVersion, user } = cluster;
      const { maxResponseBytes } = setup.settings;
      const now = () => clock.wallMs();
      const client = new RestClient({ url, apiVersion, user, tokens, maxResponseBytes, now });
      const witnesses = new Witnesses(client, monotonic);
      const lookup = new JobLookup(client, witnesses);
      this.#clusters.set(name, { client, lookup, lone: new LoneReads(client), witnesses });
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
    // A job whose meta cannot be kept would run and be found by nobody.
    const metaBytes = Buffer.byteLength(JSON.stringify(meta(Number.MAX_SAFE_INTEGER)));
    if (metaBytes > MAX_META_BYTES) {
      throw invalid(
        `what has to be kept of the job (names of ${template.outputNames.length} outputs, array, exit codes) takes ${metaBytes} bytes, at most ${MAX_META_BYTES} are kept`,
      );
    }
    const { client, lookup, witnesses } = this.#cluster(name);
    const found = await lookup.find(ctx.idempotencyKey, stem, ctx.signal);
    const [first] = found;
    if (first !== undefined) {
      const { kept } = sortOut(found, ctx.idempotencyKey, meta(leaderOf(first)));
      const resourceMeta = meta(kept);
      ctx.logger.info('a job of this key is there already', { cluster: name, jobId: kept });
      const jobs = await this.#follow(ctx, resourceMeta, found);
      return { resourceMeta, existing: true, resource: await this.#complete(ctx, resourceMeta, jobs) };
    }
    const { jobId, warning } = await client.submit(body, ctx.signal).catch((error: unknown) => {
      if (!isRefusal(error)) this.#late.note(ctx.idempotencyKey);
      throw error;
    });
    witnesses.note(jobId);
    if (warning !== '') ctx.logger.warn('Slurm took the job with a remark', { cluster: name, jobId, warning });
    return { resourceMeta: meta(jobId) };
  }

  async get(ctx: ResourceContext<SlurmMeta>): Promise<SlurmResource> {
    const meta = ctx.resourceMeta;
    const { client, lookup } = this.#cluster(meta.cluster);
    // the controller forgets a job some minutes after its end; what it left behind may still speak for it
    const { jobs } = await client.getJob(meta.jobId, ctx.signal).catch(noneIfNotFound);
    // a list shows all jobs of the key: where there may be another one, or this one was cancelled in favour of it
    const isCancelled = jobs.length > 0 && jobs.every((job) => job.state === 'CANCELLED');
    if (!isCancelled && !this.#late.expects(ctx.idempotencyKey)) return this.#complete(ctx, meta, jobs);
    const all = await lookup.find(ctx.idempotencyKey, meta.stem, ctx.signal);
    const own = all.some((job) => leaderOf(job) === meta.jobId) ? [] : jobs;
    return this.#complete(ctx, meta, await this.#follow(ctx, meta, [...all, ...own]));
  }

  readonly getMany = {
    maxBatch: MAX_BATCH,
    batchKey: (meta: SlurmMeta): string => meta.cluster,
    read: async (contexts: readonly ResourceContext<SlurmMeta>[]): Promise<Settled<SlurmResource>[]> => {
      const head = contexts[0];
      if (head === undefined) return [];
      const { list, fault } = await this.#listFor(contexts, head);
      const byLeader = groupBy(list.jobs, leaderOf);
      const byStem = groupByStems(list.jobs);
      const soon = this.#soon(head.signal);
      const followed = new Map<string, readonly SlurmJob[]>();
      const missing = new Map<string, number>();
      for (const ctx of contexts) {
        const { idempotencyKey: key, resourceMeta: meta } = ctx;
        const all = new Set([...(byLeader.get(meta.jobId) ?? []), ...(byStem.get(meta.stem) ?? [])]);
        const jobs = await this.#follow(ctx, meta, [...all], soon);
        followed.set(key, jobs);
        if (lacksSome(meta, jobs)) missing.set(key, jobs[0] === undefined ? meta.jobId : leaderOf(jobs[0]));
      }
      const { lone } = this.#cluster(head.resourceMeta.cluster);
      const asked = missing.size === 0 ? undefined : await lone.read(missing, fault, head.signal);
      return settle(contexts, async (ctx) => {
        const { idempotencyKey: key, resourceMeta: meta } = ctx;
        const jobs = jobsOf(asked?.get(key)) ?? followed.get(key) ?? [];
        return this.#complete(ctx, meta, jobs);
      });
    },
  };

  status = statusOf;

  /**
   * Looks before it cancels: what is over needs no call, and a job that took over the number is left alone. No read comes
   * after a delete, so a job of the same key that came late goes with it, or the delete fails and is repeated.
   */
  async delete(ctx: ResourceContext<SlurmMeta>): Promise<void> {
    const { idempotencyKey: key, resourceMeta: meta } = ctx;
    const { client, lookup } = this.#cluster(meta.cluster);
    const known = await client.getJob(meta.jobId, ctx.signal, 'delete').catch(noneIfNotFound);
    const jobs = known.jobs.filter((job) => isOurs(job, key, meta.stem));
    const isGone = jobs.every((job) => job.state === 'CANCELLED');
    // a revoked job may run on, on another cluster of the federation; Slurm passes the cancelling on
    const over = isOver(meta, { jobs, leftExits: {}, logs: [] }) && !jobs.some((job) => job.state === 'REVOKED');
    if (!over) await client.cancel(meta.jobId, ctx.signal);
    if (isGone || this.#late.expects(key)) {
      const all = await lookup.find(key, meta.stem, ctx.signal);
      const { kept, strays } = sortOut(all, key, meta);
      const live = kept === meta.jobId ? strays : [...strays, kept];
      for (const jobId of live) if (jobId !== meta.jobId) await client.cancel(jobId, ctx.signal);
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
   * The list of jobs for a batch. One that came and cannot be made use of shows no job; `fault` says why.
   */
  async #listFor(
    contexts: readonly ResourceContext<SlurmMeta>[],
    head: ResourceContext<SlurmMeta>,
  ): Promise<{ list: JobList; fault?: TransientError }> {
    const ids = new Set(contexts.map((ctx) => ctx.resourceMeta.jobId));
    const stems = new Set(contexts.map((ctx) => ctx.resourceMeta.stem));
    const { client } = this.#cluster(head.resourceMeta.cluster);
    try {
      const list = await client.listJobs(
        ({ leader, standardOutput }) => ids.has(leader) || stemsOf(standardOutput).some((stem) => stems.has(stem)),
        head.signal,
      );
      return { list };
    } catch (error) {
      if (!(error instanceof TransientError) || error.code !== UNUSABLE) throw error;
      return { list: { jobs: [], unread: [] }, fault: error };
    }
  }

  /**
   * The records of the job that a task follows, out of all of its key. The others are cancelled: jobs of submissions whose
   * answer was lost, of which nobody else knows. One that cannot be cancelled now is tried again by the next read.
   */
  async #follow(
    ctx: Pick<ResourceContext<SlurmMeta>, 'idempotencyKey' | 'logger' | 'signal'>,
    meta: SlurmMeta,
    jobs: readonly SlurmJob[],
    signal?: AbortSignal,
  ): Promise<SlurmJob[]> {
    const { kept, strays } = sortOut(jobs, ctx.idempotencyKey, meta);
    if (strays.length > 0) {
      const soon = signal ?? this.#soon(ctx.signal);
      for (const jobId of strays) await this.#cancelStray(ctx, { cluster: meta.cluster, jobId, kept }, soon);
    }
    return jobs.filter((job) => leaderOf(job) === kept);
  }

  async #cancelStray(
    ctx: Pick<ResourceContext<SlurmMeta>, 'logger'>,
    facts: { cluster: string; jobId: number; kept: number },
    signal: AbortSignal,
  ): Promise<void> {
    try {
      await this.#cluster(facts.cluster).client.cancel(facts.jobId, signal);
      ctx.logger.warn(
        'a second job of one key was cancelled: its submission had been given up and arrived late',
        facts,
      );
    } catch (error) {
      ctx.logger.warn('a second job of one key could not be cancelled yet', { ...facts, error });
    }
  }

  #soon(signal: AbortSignal): AbortSignal {
    return AbortSignal.any([signal, AbortSignal.timeout(this.straysTimeoutMs)]);
  }

  /** Adds to Slurm's records what they do not tell: exit codes of dropped records, and outputs after a success. */
  async #complete(ctx: ReadContext, created: SlurmMeta, records: readonly SlurmJob[]): Promise<SlurmResource> {
    const jobs = records.filter((job) => isOurs(job, ctx.idempotencyKey, created.stem));
    const jobId = jobs[0] === undefined ? created.jobId : leaderOf(jobs[0]);
    const meta = { ...created, jobId };
    const leftExits: Record<number, number> = {};
    const followed = jobId === created.jobId ? {} : { jobId };
    const resource: SlurmResource = { jobs, ...followed, leftExits, logs: this.#logLinks(meta) };
    if (!isOver(meta, resource)) {
      this.#cluster(meta.cluster).witnesses.note(jobId);
      return resource;
    }
    await this.#findExits(meta, resource, leftExits);
    if (!hasSucceeded(meta, resource)) return resource;
    const outputs = await findOutputs({
      store: ctx.dataStore,
      prefix: ctx.outputPrefix,
      declared: meta.outputs,
      indexes: indexesOf(meta),
      mayAppear: this.#overSince.elapsedMs(ctx.idempotencyKey) < this.#settings.outputGraceSeconds * 1000,
    });
    if (outputs.kind !== 'awaited') this.#overSince.forget(ctx.idempotencyKey);
    return { ...resource, outputs };
  }

  async #findExits(meta: SlurmMeta, resource: SlurmResource, leftExits: Record<number, number>): Promise<void> {
    if (meta.array === undefined) {
      const [job] = resource.jobs;
      if (job !== undefined && !isUnknownEnd(job)) return;
      const code = await readExitCode(fileOf(meta.stem, undefined, 'exit'));
      if (code !== undefined) leftExits[0] = code;
      else if (job === undefined)
        throw new NotFoundError(`Slurm does not know job ${meta.jobId}, and it left no exit code`);
      return;
    }
    const unclear = resource.jobs.filter(isUnknownEnd).flatMap((job) => job.arrayTaskId ?? []);
    for (const index of [...missingElements(meta, resource), ...unclear]) {
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

/** Whether the records show no job, or not all elements of an array that looks over: then it is asked for alone. */
function lacksSome(meta: SlurmMeta, jobs: readonly SlurmJob[]): boolean {
  const resource: SlurmResource = { jobs, leftExits: {}, logs: [] };
  return jobs.length === 0 || (isOver(meta, resource) && missingElements(meta, resource).length > 0);
}

/** @throws what asking gave, unless it is that the controller does not know the job: what it left may speak for it */
function jobsOf(asked: LoneRead | undefined): readonly SlurmJob[] | undefined {
  if (asked === undefined) return undefined;
  if ('jobs' in asked) return asked.jobs;
  return noneIfNotFound(asked.error).jobs;
}

function groupByStems(jobs: readonly SlurmJob[]): ReadonlyMap<string, SlurmJob[]> {
  const groups = new Map<string, SlurmJob[]>();
  for (const job of jobs) {
    for (const stem of stemsOf(job.standardOutput)) {
      const known = groups.get(stem);
      if (known === undefined) groups.set(stem, [job]);
      else known.push(job);
    }
  }
  return groups;
}

/** A few at a time, in order. */
async function settle<In, Out>(items: readonly In[], work: (item: In) => Promise<Out>): Promise<Settled<Out>[]> {
  const outcomes: Settled<Out>[] = [];
  for (let at = 0; at < items.length; at += PARALLEL) {
    const part = items.slice(at, at + PARALLEL);
    outcomes.push(...(await Promise.allSettled(part.map(work))));
  }
  return outcomes;
}
