import type { Message } from '../idl/codec.js';
import type { TaskLog } from '../plugin-api/phase.js';

/** Epoch milliseconds as google.protobuf.Timestamp. */
export function timestamp(epochMs: number): Message {
  const ms = Math.round(epochMs);
  const seconds = Math.floor(ms / 1000);
  return { seconds, nanos: (ms - seconds * 1000) * 1_000_000 };
}

/** Milliseconds as google.protobuf.Duration. */
export function duration(ms: number): Message {
  const whole = Math.round(ms);
  const seconds = Math.trunc(whole / 1000);
  return { seconds, nanos: (whole - seconds * 1000) * 1_000_000 };
}

/** A flyteidl.core.TaskLog. */
export function logMessage(log: TaskLog): Message {
  return {
    uri: log.uri,
    name: log.name ?? '',
    messageFormat: log.messageFormat ?? 'UNKNOWN',
    ttl: log.ttlMs === undefined ? undefined : duration(log.ttlMs),
    ShowWhilePending: log.showWhilePending ?? false,
    HideOnceFinished: log.hideOnceFinished ?? false,
  };
}
