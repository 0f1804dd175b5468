import { taskIdOf } from '../model/attempt-key.js';
import type { RpcAction } from '../model/events/rpc.js';
import { attemptIn } from '../model/handle.js';

/**
 * That the task of a handle was deleted; undefined for a handle that names none. `known` is the id of one that is no handle of ours: the
 * resource meta of another service.
 */
export function deleted(handle: Buffer, known?: string): RpcAction | undefined {
  if (known !== undefined) return { action: 'delete', task: known };
  try {
    const { key, incarnation } = attemptIn(handle);
    return { action: 'delete', task: taskIdOf(key, incarnation) };
  } catch {
    return undefined;
  }
}
