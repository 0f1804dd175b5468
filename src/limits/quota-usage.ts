import { getOrMake } from '../lib/get-or-make.js';
import type { QuotaNamespaceSnapshot, QuotaRequest, QuotaUsage } from './types.js';

/** Tokens held in one quota namespace, counted in each scope under its whole name. */
export interface NamespaceUsage {
  used: number;
  readonly byProject: Map<string, number>;
  readonly byNamespace: Map<string, number>;
}

/** Counts of held tokens. Names are keys of nested maps, so `ml` and `ml-prod` can never be taken for each other. */
export class QuotaUsageCounts {
  readonly #namespaces = new Map<string, NamespaceUsage>();
  #all = 0;

  /** Tokens held over all quota namespaces. */
  get all(): number {
    return this.#all;
  }

  /** Quota namespaces with a token held. */
  get size(): number {
    return this.#namespaces.size;
  }

  names(): IterableIterator<string> {
    return this.#namespaces.keys();
  }

  of(quotaNamespace: string): NamespaceUsage | undefined {
    return this.#namespaces.get(quotaNamespace);
  }

  project(request: QuotaRequest): number {
    return this.of(request.quotaNamespace)?.byProject.get(request.project) ?? 0;
  }

  namespace(request: QuotaRequest): number {
    return this.of(request.quotaNamespace)?.byNamespace.get(request.namespace) ?? 0;
  }

  add(request: Pick<QuotaRequest, 'quotaNamespace' | 'project' | 'namespace'>, count = 1): void {
    const usage = getOrMake(this.#namespaces, request.quotaNamespace, () => ({
      used: 0,
      byProject: new Map<string, number>(),
      byNamespace: new Map<string, number>(),
    }));
    usage.used += count;
    this.#all += count;
    shift(usage.byProject, request.project, count);
    shift(usage.byNamespace, request.namespace, count);
  }

  subtract(request: Pick<QuotaRequest, 'quotaNamespace' | 'project' | 'namespace'>): void {
    const usage = this.#namespaces.get(request.quotaNamespace);
    if (usage === undefined) return;
    usage.used -= 1;
    this.#all -= 1;
    shift(usage.byProject, request.project, -1);
    shift(usage.byNamespace, request.namespace, -1);
    if (usage.used === 0) this.#namespaces.delete(request.quotaNamespace);
  }
}

function shift(counts: Map<string, number>, name: string, by: number): void {
  const next = (counts.get(name) ?? 0) + by;
  if (next === 0) counts.delete(name);
  else counts.set(name, next);
}

/** A row for every namespace that is configured, in use or waited for, by name. */
export function quotaRows(
  totals: Readonly<Record<string, number>>,
  used: QuotaUsageCounts,
  waiting: QuotaUsageCounts,
): readonly QuotaNamespaceSnapshot[] {
  const names = new Set([...Object.keys(totals), ...used.names(), ...waiting.names()]);
  return [...names].sort().map((name) => {
    const held = used.of(name);
    const queued = waiting.of(name);
    return {
      quotaNamespace: name,
      total: Object.hasOwn(totals, name) ? totals[name] : undefined,
      used: held?.used ?? 0,
      waiting: queued?.used ?? 0,
      byProject: scopeRows(held?.byProject, queued?.byProject),
      byNamespace: scopeRows(held?.byNamespace, queued?.byNamespace),
    };
  });
}

function scopeRows(used: Map<string, number> | undefined, waiting: Map<string, number> | undefined): QuotaUsage[] {
  const names = new Set([...(used?.keys() ?? []), ...(waiting?.keys() ?? [])]);
  return [...names].sort().map((name) => ({ name, used: used?.get(name) ?? 0, waiting: waiting?.get(name) ?? 0 }));
}
