import {
  type AsyncPlugin,
  type CreateContext,
  createHttpClient,
  definePlugin,
  type LiteralInput,
  NotFoundError,
  PermanentError,
  type PhaseInfo,
  phases,
} from 'webapi-plugin-host';
import type { JobView } from './jobs.js';
import { type DemoSettings, demoSettings } from './settings.js';

/** What identifies a job at the remote. */
interface DemoMeta {
  readonly job: string;
  /** Whether the task declares outputs; get has no template. */
  readonly outputs: boolean;
}

const MAX_BATCH = 100;

/** Runs tasks on the demo remote (remote.ts); README.md tells what a task may say. */
export default definePlugin<DemoSettings, DemoMeta, JobView>({
  id: 'demo',
  apiVersion: 1,
  version: '1.0.0',
  taskTypes: ['demo_sleep', 'demo_fail', 'demo_hang'],
  settings: demoSettings,
  load({ settings }) {
    const api = createHttpClient({ baseUrl: settings.url });
    const plugin: AsyncPlugin<DemoMeta, JobView> = {
      resourceRequirements: ({ taskReader }) => {
        const { quota } = taskReader.read().custom;
        return { namespace: typeof quota === 'string' ? quota : 'default' };
      },

      async create(ctx) {
        const name = ctx.taskExecutionMetadata.generatedName;
        const json = { token: ctx.idempotencyKey, name, ...(await requestOf(ctx)) };
        const answer = await api.post<{ job: JobView; existing: boolean }>(ctx, '/v1/jobs', { json });
        const meta = { job: answer.job.id, outputs: ctx.taskReader.read().outputNames.length > 0 };
        return { resourceMeta: meta, resource: answer.job, existing: answer.existing };
      },

      get: (ctx) => api.get<JobView>(ctx, ['v1', 'jobs', ctx.resourceMeta.job]),

      status: ({ resource, resourceMeta }) => phaseOf(resource, resourceMeta),

      delete: (ctx) => api.delete<void>(ctx, ['v1', 'jobs', ctx.resourceMeta.job]),

      async getLogs(ctx) {
        const path = ['v1', 'jobs', ctx.resourceMeta.job, 'logs'];
        const { lines } = await api.get<{ lines: string[] }>(ctx, path);
        return { lines: lines.map((message) => ({ message })) };
      },

      close: () => api.close(),
    };
    if (!settings.batch) return plugin;
    return {
      ...plugin,
      getMany: {
        maxBatch: MAX_BATCH,
        async read(contexts) {
          const ids = contexts.map((ctx) => ctx.resourceMeta.job).join(',');
          const query = { ids };
          const { jobs } = await api.get<{ jobs: (JobView | null)[] }>(contexts[0]!, '/v1/jobs', { query });
          return jobs.map((job) =>
            job === null
              ? { status: 'rejected', reason: new NotFoundError('the remote does not know the job') }
              : { status: 'fulfilled', value: job },
          );
        },
      },
    };
  },
});

/** Task type -> how its jobs end unless `custom.outcome` says otherwise. */
const OUTCOMES: ReadonlyMap<string, string> = new Map([
  ['demo_fail', 'fail'],
  ['demo_hang', 'hang'],
]);

async function requestOf(ctx: CreateContext): Promise<Record<string, unknown>> {
  const template = ctx.taskReader.read();
  const inputs = await ctx.inputReader.get();
  const { quota: _, outputs: fixed, ...custom } = template.custom;
  const given = (typeof fixed === 'object' && fixed !== null && !Array.isArray(fixed) ? fixed : {}) as typeof inputs;
  const outputs: [string, unknown][] = [];
  for (const name of template.outputNames) {
    const value = own(given, name) ?? own(inputs, name);
    if (value === undefined) {
      throw new PermanentError(`output ${name} has no value: neither an input nor custom.outputs has this name`, {
        code: 'DemoOutputMissing',
      });
    }
    outputs.push([name, isJson(value) ? value : String(value)]);
  }
  const outcome = OUTCOMES.get(template.type) ?? 'succeed';
  const attempt = ctx.taskExecutionMetadata.taskExecutionId.retryAttempt;
  return { spec: { outcome, ...custom }, attempt, outputs: Object.fromEntries(outputs) };
}

/** A declared output may be called `constructor`, which every object has. */
function own<T>(values: Readonly<Record<string, T>>, name: string): T | undefined {
  return Object.hasOwn(values, name) ? values[name] : undefined;
}

/** Dates, bytes and the like travel to the remote as text. */
function isJson(value: unknown): boolean {
  return value === null || ['string', 'number', 'boolean'].includes(typeof value) || Array.isArray(value);
}

function phaseOf(job: JobView, meta: DemoMeta): PhaseInfo {
  const remotePhase = job.state;
  switch (job.state) {
    case 'QUEUED':
      return phases.queued({ reason: job.message, remotePhase });
    case 'RUNNING':
      return phases.running({ reason: job.message, remotePhase });
    case 'SUCCEEDED':
      return phases.success(meta.outputs ? (job.outputs as Record<string, LiteralInput>) : undefined, { remotePhase });
    case 'CANCELLED':
      return phases.aborted(job.message, { remotePhase });
    case 'FAILED': {
      const kind = job.blame === 'system' ? 'SYSTEM' : 'USER';
      const fail = job.retryable ? phases.retryableFailure : phases.permanentFailure;
      return fail(job.message, { code: job.code, kind, remotePhase });
    }
  }
}
