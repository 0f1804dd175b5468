import type { ResourceContext } from './contexts.js';
import { NotFoundError } from './errors.js';
import type { PhaseInfo } from './phase.js';
import type { BatchReader, Settled } from './plugin.js';

export interface ReadsByIdOptions<Meta, Job, Resource = Job> {
  /** The id of a job in that answer. Default: its `id`. */
  idOf?(job: Job): string;
  /** The id of the job in a resource meta. Default: the meta itself where it is a text, else its `id`. */
  metaId?(meta: Meta): string;
  /** What is read of one job; for a phase that takes a further call, such as the outputs of one that is done. */
  each?(ctx: ResourceContext<Meta>, job: Job): Promise<Resource | PhaseInfo> | Resource | PhaseInfo;
  batchKey?(meta: Meta): string;
}

/** `get` and `getMany` of a plugin, to be spread into what `load` answers. */
export interface ReadsById<Meta, Resource> {
  get(ctx: ResourceContext<Meta>): Promise<Resource | PhaseInfo>;
  readonly getMany: BatchReader<Meta, Resource>;
}

/**
 * `get` and `getMany` for remotes that list jobs by their ids, at most `maxBatch` by one call: matches what was listed
 * with what was asked for, and says NotFoundError of what is not in the list. The list may come in any order, and have
 * others in it. A `get` is a list of one; a plugin whose remote has a better way writes its own after the spread.
 */
export function readsById<Meta, Job, Resource = Job>(
  maxBatch: number,
  list: (ctx: ResourceContext<Meta>, ids: readonly string[]) => Promise<readonly Job[]>,
  options: ReadsByIdOptions<Meta, Job, Resource> = {},
): ReadsById<Meta, Resource> {
  const { batchKey, metaId = defaultMetaId, idOf = defaultId, each } = options;
  const read = async (contexts: readonly ResourceContext<Meta>[]) => {
    const [first] = contexts;
    if (first === undefined) return [];
    const ids = contexts.map((ctx) => metaId(ctx.resourceMeta));
    const found = new Map<string, Job>();
    for (const job of await list(first, ids)) found.set(String(idOf(job)), job);
    const outcomes = contexts.map(async (ctx, index) => {
      const job = found.get(String(ids[index]));
      if (job === undefined) throw new NotFoundError(`the remote lists no job ${ids[index]}`);
      return each === undefined ? (job as unknown as Resource) : each(ctx, job);
    });
    return (await Promise.allSettled(outcomes)) as Settled<Resource | PhaseInfo>[];
  };
  return {
    async get(ctx) {
      const [outcome] = await read([ctx]);
      if (outcome?.status === 'fulfilled') return outcome.value;
      throw outcome?.reason;
    },
    getMany: { maxBatch, read, ...(batchKey === undefined ? {} : { batchKey }) },
  };
}

function defaultId(job: unknown): string {
  return (job as { readonly id: string }).id;
}

function defaultMetaId(meta: unknown): string {
  return typeof meta === 'string' ? meta : defaultId(meta);
}
