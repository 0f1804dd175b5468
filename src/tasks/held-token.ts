import type { QuotaRequest } from '../limits/types.js';
import type { TaskId } from '../model/attempt-key.js';
import type { TaskIdentity } from '../model/handle.js';
import type { TaskRecord } from '../model/task-record.js';
import type { OwedDelete } from '../store/owed-deletes.js';
import type { UnclearCreate } from '../store/unclear-creates.js';

/*
 * Which records say of themselves that they hold an allocation token (rule 10), and under which scopes: what a start takes tokens by, and what
 * another replica counts as held that comes to own the plugin's limits. Each answers undefined where none is held. What is known from a handle
 * alone holds none by its record: it is adopted anew.
 */

/** What counts of a plugin is counted under these. */
type Scope = Pick<TaskIdentity, 'quotaNamespace' | 'project' | 'namespace'>;

/** Of a task: it takes one when it goes on to be created, and holds it until it is over. */
export function tokenOfTask(
  { stage, sentBoundMs, adopted, requirements }: Pick<TaskRecord, 'stage' | 'sentBoundMs' | 'adopted' | 'requirements'>,
  id: TaskId,
  scope: Scope,
): QuotaRequest | undefined {
  if (adopted || stage === 'over') return undefined;
  if (stage === 'accepted' && sentBoundMs === undefined) return undefined;
  return request(id, scope, requirements?.constraints);
}

/** Of a delete that is owed: its job may run, unless it was let go of. */
export function tokenOfOwed(
  { identity, holdsToken, fromHandle }: Pick<OwedDelete, 'identity' | 'holdsToken' | 'fromHandle'>,
  id: TaskId,
): QuotaRequest | undefined {
  return holdsToken && !fromHandle ? request(id, identity) : undefined;
}

/** Of a create of unclear outcome: its task was deleted as a call of it was under way, and the job is looked for still. */
export function tokenOfUnclear(
  { identity, sentBoundMs, leftBecause }: Pick<UnclearCreate, 'identity' | 'sentBoundMs' | 'leftBecause'>,
  id: TaskId,
): QuotaRequest | undefined {
  return sentBoundMs !== undefined && leftBecause === undefined ? request(id, identity) : undefined;
}

function request(
  taskId: TaskId,
  { quotaNamespace, project, namespace }: Scope,
  constraints?: QuotaRequest['constraints'],
): QuotaRequest | undefined {
  if (quotaNamespace === '') return undefined;
  const plain = { taskId, quotaNamespace, project, namespace };
  return constraints === undefined ? plain : { ...plain, constraints };
}
