import type { Message } from '../idl/codec.js';
import { msToDuration } from '../idl/well-known.js';
import type { TaskLog } from '../plugin-api/phase.js';

/** A flyteidl.core.TaskLog. */
export function logMessage(log: TaskLog): Message {
  return {
    uri: log.uri,
    name: log.name ?? '',
    messageFormat: log.messageFormat ?? 'UNKNOWN',
    ttl: log.ttlMs === undefined ? undefined : msToDuration(log.ttlMs),
    ShowWhilePending: log.showWhilePending ?? false,
    HideOnceFinished: log.hideOnceFinished ?? false,
  };
}
