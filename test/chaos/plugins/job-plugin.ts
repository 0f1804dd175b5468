import { writeSync } from 'node:fs';
import {
  type ConnectionInfo,
  definePlugin,
  NotFoundError,
  PermanentError,
  type PhaseInfo,
  phases,
  ThrottledError,
  TransientError,
} from 'webapi-plugin-host';

export interface Settings {
  /** Of the remote. */
  readonly url: string;
  /** Most tokens of one project; 0 sets no bound. */
  readonly projectQuota: number;
  /** Quoted where the remote fails, as careless plugins do. */
  readonly apiToken: string;
}

export interface Meta {
  readonly job: string;
  /** What a remote that can be searched knows the job by. */
  readonly name: string;
}

interface Job {
  readonly id: string;
  readonly state: 'queued' | 'running' | 'done' | 'failed' | 'cancelled';
}

/** What the remote's books need of each request, whatever its flavour can make of it. */
interface Call {
  readonly signal: AbortSignal;
  readonly sentAtMs: number;
  readonly idempotencyKey: string;
  /** Its secrets are printed as carelessly. */
  readonly connection: ConnectionInfo | undefined;
}

/** Asked for while the daemon lives: whose parent has died is another's child. */
const DAEMON = process.ppid;

let calls = 0;

/** Prints a line past the masks of this process, so that those of the daemon alone hold. */
function printPast(line: string): void {
  try {
    writeSync(process.stdout.fd, `${line}\n`);
  } catch {
    // The daemon does not read as fast as that.
  }
}

const secretsOf = ({ connection }: Pick<Call, 'connection'>, { apiToken }: Settings) =>
  `${apiToken} and ${connection?.secrets.key ?? 'no other'}`;

/** A plugin of a remote of one flavour; `findsByKey` says whether its create finds what an earlier one made. */
export function jobPlugin(flavour: 'keyed' | 'searched' | 'blind') {
  return definePlugin<Settings, Meta>({
    id: flavour,
    apiVersion: 1,
    taskTypes: [`chaos_${flavour}`],
    load({ settings }) {
      const remote = (ctx: Call, lane: 'read' | 'write') => {
        calls += 1;
        const headers = {
          'content-type': 'application/json',
          'x-call': `${process.pid}.${calls}`,
          'x-lane': lane,
          'x-sent-at': String(ctx.sentAtMs),
          'x-sent-by': String(DAEMON),
          'x-book-key': ctx.idempotencyKey,
        };
        return async (method: string, path: string, body?: object): Promise<unknown> => {
          const { signal } = ctx;
          const text = body === undefined ? {} : { body: JSON.stringify(body) };
          const response = await fetch(`${settings.url}/${flavour}${path}`, { method, headers, signal, ...text }).catch(
            (error: unknown) => {
              throw new TransientError(`the remote cannot be reached: ${String(error)}`);
            },
          );
          const answer = await response.text().catch((error: unknown) => {
            throw new TransientError(`the answer broke off: ${String(error)}`);
          });
          if (response.ok) return answer === '' ? undefined : JSON.parse(answer);
          if (response.status === 429) {
            throw new ThrottledError('429', { retryAfterMs: Number(response.headers.get('retry-after')) * 1000 });
          }
          if (response.status === 404) throw new NotFoundError(answer);
          throw new TransientError(`the remote answered ${response.status} to ${secretsOf(ctx, settings)}`, {
            notCreated: response.status === 503,
          });
        };
      };
      /** Of several jobs of one name the oldest stays, the others are cancelled. */
      const oldest = async (ask: ReturnType<typeof remote>, name: string): Promise<Job | undefined> => {
        const jobs = (await ask('GET', `/jobs?name=${encodeURIComponent(name)}`)) as Job[];
        const [first, ...others] = jobs;
        for (const { id, state } of others) {
          if (state === 'queued' || state === 'running') await ask('DELETE', `/jobs/${id}?double=1`);
        }
        return first;
      };
      return {
        resourceRequirements: () => ({
          namespace: 'default',
          ...(settings.projectQuota > 0 ? { constraints: { project: settings.projectQuota } } : {}),
        }),

        findsByKey: flavour !== 'blind',

        async create(ctx) {
          printPast(`creates with ${secretsOf(ctx, settings)}`);
          const ask = remote(ctx, 'write');
          const name = ctx.idempotencyKey;
          const { custom } = ctx.taskReader.read();
          const inputs = await ctx.inputReader.get();
          if (inputs.text !== undefined && String(inputs.text).length !== custom.textLength) {
            throw new PermanentError('the inputs are not those that were sent', {
              faultKind: 'SYSTEM',
              code: 'INPUTS_CHANGED',
            });
          }
          const { project } = ctx.taskExecutionMetadata.taskExecutionId;
          const wanted = { task: ctx.taskExecutionMetadata.generatedName, project, ...custom };
          if (flavour === 'searched') {
            const found = await oldest(ask, name);
            if (found !== undefined) return answered(found, name, true);
          }
          const clientId = flavour === 'keyed' ? { clientId: name } : {};
          const made = (await ask('POST', '/jobs', { ...wanted, ...clientId, name })) as Job & { existing?: boolean };
          if (flavour !== 'searched') return answered(made, name, made.existing === true);
          // Another create of the key may have passed this one between its search and its submit.
          const kept = (await oldest(ask, name).catch(unclear)) ?? made;
          return answered(kept, name, kept.id !== made.id);
        },

        async get(ctx) {
          const ask = remote(ctx, 'read');
          const { job, name } = ctx.resourceMeta;
          if (flavour === 'searched') await oldest(ask, name);
          return phaseOf((await ask('GET', `/jobs/${job}`)) as Job);
        },

        ...(flavour === 'keyed'
          ? {
              getMany: {
                maxBatch: 5,
                read: async (contexts) => {
                  const [first] = contexts;
                  if (first === undefined) return [];
                  const ids = contexts.map(({ resourceMeta }) => resourceMeta.job);
                  const jobs = (await remote(first, 'read')('POST', '/jobs/batch', { ids })) as (Job | null)[];
                  return jobs.map((job) =>
                    job === null
                      ? { status: 'rejected' as const, reason: new NotFoundError('no such job') }
                      : { status: 'fulfilled' as const, value: phaseOf(job) },
                  );
                },
              },
            }
          : {}),

        async delete(ctx) {
          const ask = remote(ctx, 'write');
          const { job, name } = ctx.resourceMeta;
          if (flavour === 'searched') await oldest(ask, name);
          await ask('DELETE', `/jobs/${job}`);
        },
      };
    },
  });
}

/** A throttle, and `notCreated`, say that nothing was made; here something was, whatever came after. */
function unclear(error: unknown): never {
  const denies = error instanceof ThrottledError || error instanceof TransientError;
  throw denies ? new TransientError(error.message) : error;
}

function answered(job: Job, name: string, existing: boolean) {
  return { resourceMeta: { job: job.id, name }, resource: phaseOf(job), existing };
}

function phaseOf({ id, state }: Job): PhaseInfo {
  switch (state) {
    case 'queued':
      return phases.queued({ remotePhase: state });
    case 'running':
      return phases.running({ remotePhase: state });
    case 'done':
      return phases.success({ job: id });
    case 'failed':
      return phases.permanentFailure('the job failed', { code: 'JOB_FAILED', kind: 'USER' });
    case 'cancelled':
      return phases.aborted('the job was cancelled');
  }
}
