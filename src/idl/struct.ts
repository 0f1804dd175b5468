import { HostError } from '../errors/index.js';
import type { JsonObject, JsonValue } from '../lib/json.js';
import type { Message } from './codec.js';

/**
 * google.protobuf.Struct, as the codecs of this room take and give it, from and to plain JSON. Numbers are doubles, as
 * the type has it. What is not JSON (also from callers without types) throws ENCODE_INVALID with its path; members that
 * are undefined are left out, as JSON.stringify does.
 */
export function structFromJson(object: JsonObject, path = 'Struct'): Message {
  const prototype = typeof object === 'object' && object !== null ? Object.getPrototypeOf(object) : undefined;
  if (prototype !== Object.prototype && prototype !== null) {
    throw notJson(path, Array.isArray(object) ? 'an array' : Object.prototype.toString.call(object));
  }
  const members = Object.entries(object).filter(([, value]) => value !== undefined);
  // Built as entries: an assignment to the name `__proto__` would be lost.
  return { fields: Object.fromEntries(members.map(([key, value]) => [key, valueFromJson(value, `${path}.${key}`)])) };
}

function notJson(path: string, seen: string): HostError {
  return new HostError('ENCODE_INVALID', `${path}: expected JSON, got ${seen}`);
}

export function valueFromJson(value: JsonValue, path = 'Value'): Message {
  if (value === null) return { nullValue: 'NULL_VALUE' };
  switch (typeof value) {
    case 'number':
      if (!Number.isFinite(value)) throw notJson(path, `the number ${value}`);
      return { numberValue: value };
    case 'string':
      return { stringValue: value };
    case 'boolean':
      return { boolValue: value };
    case 'object':
      return Array.isArray(value)
        ? { listValue: { values: value.map((item, index) => valueFromJson(item, `${path}[${index}]`)) } }
        : { structValue: structFromJson(value, path) };
    default:
      throw notJson(path, `a value of type ${typeof value}`);
  }
}

/** A decoded Struct as plain JSON; `{}` for null (unset). */
export function structToJson(struct: Message | null | undefined): JsonObject {
  const fields = (struct?.fields ?? {}) as Record<string, Message>;
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, valueToJson(value)]));
}

function valueToJson(value: Message | null | undefined): JsonValue {
  switch (value?.kind) {
    case 'numberValue':
      return value.numberValue as number;
    case 'stringValue':
      return value.stringValue as string;
    case 'boolValue':
      return value.boolValue as boolean;
    case 'structValue':
      return structToJson(value.structValue as Message);
    case 'listValue':
      return ((value.listValue as Message).values as Message[]).map(valueToJson);
    default:
      return null;
  }
}
