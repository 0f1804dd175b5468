import type { PluginHost } from '../host/types.js';
import type { RpcServer } from '../rpc/server.js';
import type { TaskStores } from '../store/joined-stores.js';
import type { ShownTasks } from '../tasks/joined-tasks.js';

export interface WorkSources {
  readonly host: PluginHost;
  readonly store: TaskStores;
  readonly tasks: ShownTasks;
}

/** What ends with the process where no state is kept; jobs whose delete is owed go on at the remote. */
export function unfinishedOf({ host, store, tasks }: WorkSources): { waiting: number; deletesOwed: number } {
  let waiting = 0;
  for (const { id } of host.plugins()) {
    const { accepted, creating } = store.counts(id);
    waiting += accepted + creating;
  }
  return { waiting, deletesOwed: tasks.owedDeletes.size };
}

/** What a forced end would cut off now, in words; empty when nothing runs. */
export function runningOf({ host, tasks }: WorkSources, rpc: RpcServer | undefined, step: string): string {
  const parts: string[] = [];
  if (step !== '') parts.push(`step "${step}" of the stop`);
  if (rpc !== undefined && rpc.inFlight > 0) parts.push(`${rpc.inFlight} RPCs`);
  for (const { id, inFlight } of host.plugins()) {
    if (inFlight > 0) parts.push(`${inFlight} calls of plugin ${id}`);
  }
  if (tasks.owedDeletes.size > 0) parts.push(`${tasks.owedDeletes.size} owed deletes`);
  return parts.join(', ');
}
