import { HostError } from '../errors/index.js';
import type { Message } from './codec.js';

/** google.protobuf's Timestamp and Duration between their message form (see `Message`) and milliseconds. */

const NANOS_PER_MS = 1_000_000;

/** Milliseconds since the epoch of a decoded google.protobuf.Timestamp, cut below the millisecond; null where unset. */
export function timestampToMs(timestamp: Message | null | undefined): number | null {
  return timestamp ? Number(timestamp.seconds) * 1000 + Math.floor(timestamp.nanos / NANOS_PER_MS) : null;
}

/** A google.protobuf.Timestamp to encode. */
export function msToTimestamp(epochMs: number): Message {
  if (!Number.isFinite(epochMs)) throw new HostError('ENCODE_INVALID', `${epochMs} is not a time.`);
  const whole = Math.floor(epochMs);
  const seconds = Math.floor(whole / 1000);
  return { seconds, nanos: (whole - seconds * 1000) * NANOS_PER_MS };
}

/** Milliseconds, with fraction, of a decoded google.protobuf.Duration; null where unset. */
export function durationToMs(duration: Message | null | undefined): number | null {
  return duration ? Number(duration.seconds) * 1000 + duration.nanos / NANOS_PER_MS : null;
}

/** A google.protobuf.Duration to encode; whole milliseconds. */
export function msToDuration(ms: number): Message {
  if (!Number.isFinite(ms)) throw new HostError('ENCODE_INVALID', `${ms} is not a duration.`);
  const whole = Math.round(ms);
  const seconds = Math.trunc(whole / 1000);
  return { seconds, nanos: (whole - seconds * 1000) * NANOS_PER_MS };
}
