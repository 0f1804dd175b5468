import { HostError } from '../errors/index.js';
import type { JsonObject, JsonValue } from '../lib/json.js';
import type { Message } from './codec.js';

/**
 * google.protobuf.Struct, as the codecs of this room take and give it, from and to plain JSON. Numbers are doubles, as
 * the type has it.
 */
export function structFromJson(object: JsonObject): Message {
  // Built as entries: an assignment to the name `__proto__` would be lost.
  return { fields: Object.fromEntries(Object.entries(object).map(([key, value]) => [key, valueFromJson(value)])) };
}

export function valueFromJson(value: JsonValue): Message {
  if (value === null) return { nullValue: 'NULL_VALUE' };
  switch (typeof value) {
    case 'number':
      if (!Number.isFinite(value)) throw new HostError('ENCODE_INVALID', `${value} is not a JSON number`);
      return { numberValue: value };
    case 'string':
      return { stringValue: value };
    case 'boolean':
      return { boolValue: value };
    case 'object':
      return Array.isArray(value)
        ? { listValue: { values: value.map(valueFromJson) } }
        : { structValue: structFromJson(value) };
    default:
      throw new HostError('ENCODE_INVALID', `a value of type ${typeof value} is not JSON`);
  }
}

/** A decoded Struct as plain JSON; `{}` for null (unset). */
export function structToJson(struct: Message | null | undefined): JsonObject {
  const fields = (struct?.fields ?? {}) as Record<string, Message>;
  return Object.fromEntries(Object.entries(fields).map(([key, value]) => [key, valueToJson(value)]));
}

export function valueToJson(value: Message | null | undefined): JsonValue {
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
