import { decodeHandle, looksLikeHandle } from '../../model/handle.js';
import type { TaskRecord } from '../../model/task-record.js';
import type { TasksDeps } from '../deps.js';

/**
 * Tells of the jobs that go on at their remotes after a stop while nobody will find them: their engines hold accepted
 * handles, which have no resource meta and are answered CREATE_LOST by whoever comes next.
 */
export function tellLeftBehind({ store, events }: TasksDeps): void {
  if (store.durable) return;
  for (const task of store.unfinishedTasks()) {
    if (task.stage !== 'live' || !heldAsAccepted(task)) continue;
    const because = 'the daemon stops and keeps no state, and the engine holds an accepted handle';
    events.createLeft?.(task.id, task.scope.plugin, because, 'the next daemon will answer CREATE_LOST');
  }
}

function heldAsAccepted({ answeredHandle }: TaskRecord): boolean {
  if (answeredHandle === undefined || !looksLikeHandle(answeredHandle)) return false;
  return decodeHandle(answeredHandle).meta === undefined;
}
