import { getOrMake } from '../lib/get-or-make.js';
import type { QuotaRequest } from '../limits/types.js';
import { phaseState } from '../model/phase-state.js';
import type { NodeAttempt, TaskRecord } from '../model/task-record.js';
import { adoptToken, startPollingAll } from '../runtime/polling.js';
import { lacksCredentials, type PluginRuntime } from '../runtime/runtime.js';
import type { CreateTask } from './accept/create.js';
import type { Orphans } from './accept/orphans.js';
import type { TasksDeps } from './deps.js';
import type { DeleteList } from './end/delete-list.js';
import type { UnclearLooks } from './end/unclear-looks.js';
import { tokenOfOwed, tokenOfTask, tokenOfUnclear } from './held-token.js';

export interface RecoveryParts {
  readonly creates: CreateTask;
  readonly deletes: DeleteList;
  readonly orphans: Orphans;
  readonly unclear: UnclearLooks;
}

/**
 * Goes on with what an earlier run of the daemon, or this one before its plugins were loaded, left of one plugin. Tokens
 * are taken first, by who held them; what it answers then goes on with everything in the order it was accepted, and says whether
 * creates are among it. So the holders of several parts have theirs before the first that waits in any of them, and before handles alone
 * take one for a job that another part's task holds one for.
 */
export function recover(deps: TasksDeps, parts: RecoveryParts, runtime: PluginRuntime): () => boolean {
  const { store } = deps;
  const { id: plugin } = runtime.plugin;
  const owed = [...store.owed.listed()].filter(({ identity }) => identity.plugin === plugin);
  const { live, waiting, adopted, locked } = lookThrough(deps, parts, runtime);
  for (const order of owed) hold(runtime, tokenOfOwed(order, order.id));
  const unclear = [...store.unclear.listed()].filter(
    ({ identity, leftBecause }) => identity.plugin === plugin && leftBecause === undefined,
  );
  for (const create of unclear) hold(runtime, tokenOfUnclear(create, create.id));
  return () => {
    if (adopted.length > 0 || owed.some(({ fromHandle }) => fromHandle)) runtime.quotas.seeAllJobs();
    // What handles alone told of is kept once a read has shown its job: it has a token as then, if there is room for such.
    for (const task of adopted) adoptToken(runtime, task);
    for (const order of owed)
      if (order.holdsToken && order.fromHandle) adoptToken(runtime, { ...order, adopted: true });
    startPollingAll(deps, runtime, live);
    // Their secrets are gone, and come with their engine's next call (rule 14).
    for (const { id } of locked) runtime.refresher.awaitAsked(id);
    for (const { node, identity } of [...owed, ...unclear]) {
      const gone = node && store.earlier.gone(identity.key, identity.incarnation + 1);
      if (gone !== undefined) parts.orphans.leaves(node as NodeAttempt, gone);
    }
    for (const task of waiting) parts.creates.recover(runtime, task);
    for (const { id } of owed) {
      parts.deletes.carryOut(id).catch((error: unknown) => deps.events.fault?.('delete', error));
    }
    for (const { id } of unclear) parts.unclear.resume(id, plugin);
    return waiting.length + unclear.length > 0;
  };
}

/** A plugin's tasks by what a start has to do about them; each list in the order they were accepted. */
interface ToRecover {
  readonly live: TaskRecord[];
  /** Those whose create is still to be made, or to be made again. */
  readonly waiting: TaskRecord[];
  /** Live ones that are known from a handle alone. */
  readonly adopted: TaskRecord[];
  /** Those that are read again once their secrets have come. */
  readonly locked: TaskRecord[];
}

/**
 * Looks at each task once, since there may be half a million, most of which are in no cache of the processor: takes the tokens of
 * those that held one, and makes those orphans that were such, all of them before the first that goes on looks for those of its node.
 */
function lookThrough({ store, clock }: TasksDeps, { orphans }: RecoveryParts, runtime: PluginRuntime): ToRecover {
  const found: ToRecover = { live: [], waiting: [], adopted: [], locked: [] };
  const nowMs = clock.now();
  for (const task of store.unfinishedOf(runtime.plugin.id)) {
    hold(runtime, tokenOfTask(task, task.id, task.scope));
    orphans.restored(task);
    if (lacksCredentials(task, nowMs)) found.locked.push(task);
    if (task.stage !== 'live') found.waiting.push(task);
    else {
      found.live.push(task);
      if (task.adopted) found.adopted.push(task);
    }
  }
  return found;
}

/** Says what waits for plugins that do not run here, in the log and in each task's reason: nobody else would. */
export function tellUnserved({ store, runtimes, events }: TasksDeps): void {
  const left = new Map<string, { tasks: number; deletes: number }>();
  const note = (plugin: string, what: 'tasks' | 'deletes'): void => {
    if (runtimes.get(plugin) === undefined) getOrMake(left, plugin, () => ({ tasks: 0, deletes: 0 }))[what] += 1;
  };
  for (const plugin of [...store.plugins()]) {
    if (runtimes.get(plugin) !== undefined) continue;
    for (const task of store.unfinishedOf(plugin)) {
      const { stage } = task;
      note(plugin, 'tasks');
      if (stage !== 'accepted' && stage !== 'creating') continue;
      const reason = `waits for plugin "${plugin}", which does not run here`;
      store.setWaiting(task, stage, phaseState('WAITING_FOR_RESOURCES', { reason }));
    }
  }
  for (const { identity } of store.owed.listed()) note(identity.plugin, 'deletes');
  for (const { identity, leftBecause } of store.unclear.listed()) {
    if (leftBecause === undefined) note(identity.plugin, 'deletes');
  }
  for (const [plugin, { tasks, deletes }] of left) events.unserved?.(plugin, tasks, deletes);
}

function hold({ quotas }: PluginRuntime, token: QuotaRequest | undefined): void {
  if (token !== undefined) quotas.hold(token);
}
