import { decodeHandle, looksLikeHandle, sameJob } from '../../model/handle.js';
import type { TaskRecord } from '../../model/task-record.js';
import type { PluginRuntime } from '../../runtime/runtime.js';
import type { TasksDeps } from '../deps.js';

/**
 * A create has come to know its job. Where an engine asked for the same one before, by the handle that an earlier daemon
 * answered, there is an adopted record of it: it gives way, and the engine keeps its handle. It is the same one only if its
 * handle says all that this task's says (`sameJob`); others of this key are none of its business. True if there was one.
 */
export function takeOverTwin({ store }: TasksDeps, runtime: PluginRuntime, task: TaskRecord): boolean {
  const { identity, meta } = task;
  if (meta === undefined) return false;
  runtime.quotas.identify(task.id);
  for (const twin of store.adopted.of(identity.key, identity.incarnation)) {
    const { answeredHandle } = twin;
    if (answeredHandle === undefined || !looksLikeHandle(answeredHandle)) continue;
    if (!sameJob(decodeHandle(answeredHandle), { identity, meta })) continue;
    store.takeOver(task, twin);
    return true;
  }
  return false;
}
