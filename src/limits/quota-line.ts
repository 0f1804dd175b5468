import type { Deferred } from '../lib/deferred.js';
import { getOrMake } from '../lib/get-or-make.js';
import { LinkedQueue, type QueueNode } from '../lib/linked-queue.js';
import type { QuotaRequest, QuotaScope } from './types.js';

/** A task in the waiting line. */
export interface Waiter {
  readonly request: QuotaRequest;
  /** Place in the line over all namespaces: lower came first. */
  readonly sequence: number;
  readonly sinceMs: number;
  lacks: QuotaScope;
  /** Resolves to true with the token recorded, to false when the task left the line without one. */
  readonly granted: Deferred<boolean>;
}

export function byArrival(a: Waiter, b: Waiter): number {
  return a.sequence - b.sequence;
}

/**
 * Waiters that share all their scopes and are constrained in the same ones, so that the first keeps from others whatever
 * any of them keeps. Within one group the line is strictly first come, first served.
 */
interface Group {
  readonly quotaNamespace: string;
  readonly project: string;
  readonly namespace: string;
  readonly constrained: Constrained;
  readonly waiters: LinkedQueue<Waiter>;
}

/** In which of its scopes a request is constrained, as the name of a group. */
type Constrained = string;

function constrainedIn({ constraints }: QuotaRequest): Constrained {
  return `${constraints?.project !== undefined} ${constraints?.namespace !== undefined}`;
}

type Groups = Map<Constrained, Group>;
type ByNamespace = Map<string, Groups>;
type ByProject = Map<string, ByNamespace>;

/**
 * The waiting line of a ledger, first come, first served, stored as one queue for each (quota namespace, project,
 * engine namespace, scopes that constrain): waiters of one group compete for the same scopes, so only its first can be
 * next. A look at the
 * line costs the number of groups, not of waiters.
 */
export class QuotaLine {
  readonly #tree = new Map<string, ByProject>();
  readonly #groups = new Set<Group>();
  readonly #byTask = new Map<string, { waiter: Waiter; group: Group; place: QueueNode<Waiter> }>();

  get size(): number {
    return this.#byTask.size;
  }

  get(taskId: string): Waiter | undefined {
    return this.#byTask.get(taskId)?.waiter;
  }

  add(waiter: Waiter): void {
    const group = this.#groupOf(waiter.request);
    this.#byTask.set(waiter.request.taskId, { waiter, group, place: group.waiters.push(waiter) });
  }

  remove(taskId: string): Waiter | undefined {
    const entry = this.#byTask.get(taskId);
    if (entry === undefined) return undefined;
    this.#byTask.delete(taskId);
    const { group } = entry;
    group.waiters.remove(entry.place);
    if (group.waiters.size === 0) this.#drop(group);
    return entry.waiter;
  }

  hasNamespace(quotaNamespace: string): boolean {
    return this.#tree.has(quotaNamespace);
  }

  namespaces(): Iterable<string> {
    return this.#tree.keys();
  }

  /** The first of each group, in order of arrival. */
  heads(): Waiter[] {
    const heads: Waiter[] = [];
    for (const { waiters } of this.#groups) {
      const first = waiters.peek();
      if (first !== undefined) heads.push(first);
    }
    return heads.sort(byArrival);
  }

  /** The waiter that follows this group's first once that one is removed. */
  headOfGroup(request: QuotaRequest): Waiter | undefined {
    const groups = this.#tree.get(request.quotaNamespace)?.get(request.project)?.get(request.namespace);
    return groups?.get(constrainedIn(request))?.waiters.peek();
  }

  /** Waiters by quota namespace, project and engine namespace, for the load report. */
  *counts(): Generator<{ quotaNamespace: string; project: string; namespace: string; waiting: number }> {
    for (const { quotaNamespace, project, namespace, waiters } of this.#groups) {
      yield { quotaNamespace, project, namespace, waiting: waiters.size };
    }
  }

  #groupOf(request: QuotaRequest): Group {
    const { quotaNamespace, project, namespace } = request;
    const constrained = constrainedIn(request);
    const projects = getOrMake(this.#tree, quotaNamespace, (): ByProject => new Map());
    const namespaces = getOrMake(projects, project, (): ByNamespace => new Map());
    const groups = getOrMake(namespaces, namespace, (): Groups => new Map());
    return getOrMake(groups, constrained, () => {
      const group: Group = { quotaNamespace, project, namespace, constrained, waiters: new LinkedQueue() };
      this.#groups.add(group);
      return group;
    });
  }

  #drop(group: Group): void {
    this.#groups.delete(group);
    const projects = this.#tree.get(group.quotaNamespace);
    const namespaces = projects?.get(group.project);
    const groups = namespaces?.get(group.namespace);
    groups?.delete(group.constrained);
    if (groups?.size === 0) namespaces?.delete(group.namespace);
    if (namespaces?.size === 0) projects?.delete(group.project);
    if (projects?.size === 0) this.#tree.delete(group.quotaNamespace);
  }
}
