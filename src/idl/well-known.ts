import { HostError } from '../errors/index.js';
import type { JsonObject, JsonValue } from '../lib/json.js';
import type { Message } from './codec.js';

/** google.protobuf's Struct, Timestamp and Duration between their message form (see `Message`) and plain values. */

const NANOS_PER_MS = 1_000_000;

/** JSON of a decoded google.protobuf.Value. A Value without a kind is null. */
export function valueToJson(value: Message): JsonValue {
  switch (value.kind) {
    case 'numberValue':
    case 'stringValue':
    case 'boolValue':
      return value[value.kind];
    case 'structValue':
      return structToJson(value.structValue);
    case 'listValue':
      return value.listValue.values.map(valueToJson);
    default:
      return null;
  }
}

/** JSON of a decoded google.protobuf.Struct; an unset one (null) is an empty object. */
export function structToJson(struct: Message | null | undefined): JsonObject {
  const entries = Object.entries((struct?.fields ?? {}) as Record<string, Message>);
  return Object.fromEntries(entries.map(([key, value]) => [key, valueToJson(value)]));
}

function unfit(path: string, what: string): HostError {
  return new HostError('ENCODE_INVALID', `${path}: expected JSON (google.protobuf.Value), got ${what}`);
}

/** A google.protobuf.Value to encode. Throws ENCODE_INVALID with the path of what is not JSON. */
export function jsonToValue(json: unknown, path = 'Value'): Message {
  switch (typeof json) {
    case 'number':
      return { numberValue: json };
    case 'string':
      return { stringValue: json };
    case 'boolean':
      return { boolValue: json };
    case 'object':
      if (json === null) return { nullValue: 'NULL_VALUE' };
      if (Array.isArray(json)) {
        return { listValue: { values: json.map((item, index) => jsonToValue(item, `${path}[${index}]`)) } };
      }
      return { structValue: jsonToStruct(json, path) };
    default:
      throw unfit(path, typeof json);
  }
}

/** A google.protobuf.Struct to encode. Members that are undefined are left out, as JSON.stringify does. */
export function jsonToStruct(json: unknown, path = 'Struct'): Message {
  const prototype = typeof json === 'object' && json !== null ? Object.getPrototypeOf(json) : undefined;
  if (prototype !== Object.prototype && prototype !== null) {
    throw unfit(path, Array.isArray(json) ? 'an array' : Object.prototype.toString.call(json));
  }
  const entries = Object.entries(json as object).filter(([, value]) => value !== undefined);
  return { fields: Object.fromEntries(entries.map(([key, value]) => [key, jsonToValue(value, `${path}.${key}`)])) };
}

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
