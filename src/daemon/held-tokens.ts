import type { Holder } from '../cluster/index.js';
import type { HeldToken } from '../limits/grants/quota-owner.js';
import type { QuotaRequest } from '../limits/types.js';
import type { TaskId } from '../model/attempt-key.js';
import { jobOf } from '../runtime/polling.js';
import { decodePair, type Fact, type FactKey } from '../state/index.js';

export interface HeldTokensOptions {
  readonly parts: number;
  /** The facts of a part as they are kept now, in batches, by their keys in it. */
  readonly load: (part: number) => AsyncIterable<readonly (readonly [FactKey, Buffer])[]>;
  /** Who has a part, as far as it is seen. */
  readonly holderOf: (part: number) => Holder | undefined;
}

/** The tokens that tasks of all parts hold by their facts, read anew each time that it is asked. */
export class HeldTokens {
  readonly #options: HeldTokensOptions;

  constructor(options: HeldTokensOptions) {
    this.#options = options;
  }

  async of(plugin: string): Promise<readonly HeldToken[]> {
    const held: HeldToken[] = [];
    for (let part = 0; part < this.#options.parts; part++) {
      const holder = this.#options.holderOf(part);
      const speaker = { drawer: holder?.epoch ?? '', turn: Number(holder?.tenure ?? 0) };
      for await (const page of this.#options.load(part)) {
        for (const [key, value] of page) {
          if (!/^(task|owed|unclear)\//.test(key)) continue;
          const token = tokenOf(decodePair(key, value), plugin);
          if (token !== undefined) held.push({ ...speaker, ...token });
        }
      }
    }
    return held;
  }
}

function tokenOf(read: Fact, plugin: string): Pick<HeldToken, 'request' | 'job'> | undefined {
  if (read.kind !== 'task' && read.kind !== 'owed' && read.kind !== 'unclear') return undefined;
  const { identity } = read.fact;
  if (identity.plugin !== plugin || !holds(read)) return undefined;
  const { quotaNamespace, project, namespace } = identity;
  if (quotaNamespace === '') return undefined;
  const constraints = read.kind === 'task' ? read.fact.requirements?.constraints : undefined;
  const request: QuotaRequest = { taskId: read.name as TaskId, quotaNamespace, project, namespace };
  const meta = read.kind === 'unclear' ? undefined : read.fact.meta;
  return {
    request: constraints === undefined ? request : { ...request, constraints },
    job: meta && jobOf(meta),
  };
}

/** As a start of the daemon takes them: see the recovery of tasks. */
function holds({ kind, fact }: Fact): boolean {
  if (kind === 'task') {
    const { stage, sentBoundMs, adopted } = fact;
    return (stage === 'creating' || stage === 'live' || sentBoundMs !== undefined) && !adopted;
  }
  if (kind === 'owed') return fact.holdsToken && !fact.fromHandle;
  return kind === 'unclear' && fact.leftBecause === undefined && fact.sentBoundMs !== undefined;
}
