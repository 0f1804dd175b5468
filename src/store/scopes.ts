import type { TaskIdentity, TaskScope } from '../model/handle.js';

/** When so many were seen they are forgotten, each kept by its own tasks, and sharing begins anew. */
const MAX_KEPT = 10_000;
const NO_NAMES: readonly string[] = Object.freeze([]);

const kept = new Map<string, TaskScope>();
/** The two that were asked for last: a start and a burst of creates ask for the same again and again. */
let last: TaskScope | undefined;
let before: TaskScope | undefined;

/** The scope of an identity; equal ones are one object, as far as they came near to each other. */
export function sharedScope(identity: TaskIdentity): TaskScope {
  if (last !== undefined && isOf(last, identity)) return last;
  const scope = before !== undefined && isOf(before, identity) ? before : found(identity);
  before = last;
  last = scope;
  return scope;
}

function found(identity: TaskIdentity): TaskScope {
  const { plugin, taskType, taskTypeVersion, incarnation, project, domain, namespace, quotaNamespace } = identity;
  const outputNames = identity.outputNames?.length === 0 ? NO_NAMES : identity.outputNames;
  const said = { plugin, taskType, taskTypeVersion, incarnation, project, domain, namespace, quotaNamespace };
  // Names that are not there and an empty list of names are two things.
  const text = JSON.stringify([Object.values(said), outputNames ?? null]);
  const known = kept.get(text);
  if (known !== undefined) return known;
  if (kept.size >= MAX_KEPT) kept.clear();
  const scope = Object.freeze({ ...said, outputNames });
  kept.set(text, scope);
  return scope;
}

/** False may be said of lists of names that are equal, too. */
function isOf(scope: TaskScope, identity: TaskIdentity): boolean {
  const { outputNames } = identity;
  const sameNames = scope.outputNames === outputNames || (outputNames?.length === 0 && scope.outputNames === NO_NAMES);
  return (
    sameNames &&
    scope.plugin === identity.plugin &&
    scope.taskType === identity.taskType &&
    scope.taskTypeVersion === identity.taskTypeVersion &&
    scope.incarnation === identity.incarnation &&
    scope.project === identity.project &&
    scope.domain === identity.domain &&
    scope.namespace === identity.namespace &&
    scope.quotaNamespace === identity.quotaNamespace
  );
}
