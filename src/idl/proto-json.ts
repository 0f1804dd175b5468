import type * as protobuf from 'protobufjs';
import pb from 'protobufjs';
import { HostError } from '../errors/index.js';
import type { JsonObject, JsonValue } from '../lib/json.js';
import { lookUp } from '../lib/look-up.js';
import type { Message } from './codec.js';
import { structFromJson, valueFromJson } from './struct.js';

/**
 * From the JSON form of a message (https://protobuf.dev/programming-guides/json/) to what the strict encoder takes:
 * field names in camelCase or as in the .proto file, bytes in base64, durations as `1.5s`, timestamps in RFC 3339,
 * Struct and Value as plain JSON, wrappers as their value. A Uint8Array stands for an encoded message, or for bytes.
 */

function wrong(path: string, expected: string, seen: unknown): HostError {
  const shown = seen === undefined ? 'nothing' : (JSON.stringify(seen) ?? typeof seen).slice(0, 80);
  return new HostError('REQUEST_FIELD_INVALID', `${path}: expected ${expected}, got ${shown}`, {
    details: { field: path },
  });
}

function durationFrom(json: unknown, path: string): Message {
  const match = typeof json === 'string' ? /^(-?)(\d{1,12})(?:\.(\d{1,9}))?s$/.exec(json) : null;
  if (match === null) throw wrong(path, 'a duration such as "1.5s"', json);
  const sign = match[1] === '-' ? -1 : 1;
  const nanos = sign * Number((match[3] ?? '').padEnd(9, '0'));
  return { seconds: sign * Number(match[2]), nanos: nanos === 0 ? 0 : nanos };
}

function timestampFrom(json: unknown, path: string): Message {
  const match =
    typeof json === 'string' ? /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d{1,9}))?(Z|[+-]\d\d:\d\d)$/.exec(json) : null;
  const ms = match === null ? Number.NaN : Date.parse(`${match[1]}${match[3]}`);
  if (match === null || Number.isNaN(ms)) throw wrong(path, 'a time such as "2026-01-31T12:00:00Z"', json);
  return { seconds: ms / 1000, nanos: Number((match[2] ?? '').padEnd(9, '0')) };
}

const WELL_KNOWN: Readonly<Record<string, (json: JsonValue, path: string) => Message>> = {
  '.google.protobuf.Struct': (json, path) => structFromJson(objectAt(json, path)),
  '.google.protobuf.Value': (json) => valueFromJson(json),
  '.google.protobuf.ListValue': (json, path) => ({ values: arrayAt(json, path).map((item) => valueFromJson(item)) }),
  '.google.protobuf.Duration': durationFrom,
  '.google.protobuf.Timestamp': timestampFrom,
  ...Object.fromEntries(
    [
      ['BoolValue', 'bool'],
      ['StringValue', 'string'],
      ['BytesValue', 'bytes'],
      ['Int32Value', 'int32'],
      ['Int64Value', 'int64'],
      ['UInt32Value', 'uint32'],
      ['UInt64Value', 'uint64'],
      ['FloatValue', 'float'],
      ['DoubleValue', 'double'],
    ].map(([name, type = '']) => [`.google.protobuf.${name}`, wrapperFrom(type)]),
  ),
};

/** A wrapper is printed as its value alone; the form with a `value` field, which older tools print, is taken too. */
function wrapperFrom(type: string): (json: JsonValue, path: string) => Message {
  return (json, path) => {
    const inner =
      typeof json === 'object' && json !== null && !Array.isArray(json) && Object.hasOwn(json, 'value')
        ? json.value
        : json;
    return { value: scalarFrom(type, inner, path) };
  };
}

function objectAt(json: unknown, path: string): JsonObject {
  if (typeof json !== 'object' || json === null || Array.isArray(json)) throw wrong(path, 'an object', json);
  return json as JsonObject;
}

function arrayAt(json: unknown, path: string): JsonValue[] {
  if (!Array.isArray(json)) throw wrong(path, 'an array', json);
  return json;
}

const camelCase = (name: string): string => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

function fieldNamed(type: protobuf.Type, name: string, path: string): protobuf.Field {
  for (const candidate of [name, camelCase(name)]) {
    const field = Object.hasOwn(type.fields, candidate) ? type.fields[candidate] : undefined;
    if (field !== undefined) return field.resolve();
  }
  const known = Object.keys(type.fields).join(', ');
  throw new HostError('REQUEST_FIELD_INVALID', `${path}: ${type.name} has no field ${name}; it has ${known}`, {
    details: { field: `${path}.${name}` },
  });
}

function scalarFrom(type: string, json: unknown, path: string): unknown {
  if (type === 'bytes') {
    if (json instanceof Uint8Array) return json;
    if (typeof json !== 'string' || !/^[A-Za-z0-9+/_-]*={0,2}$/.test(json)) throw wrong(path, 'bytes in base64', json);
    return Buffer.from(json, 'base64');
  }
  if (type === 'float' || type === 'double') {
    if (typeof json === 'string' && /^(NaN|-?Infinity|-?\d+(\.\d+)?([eE][+-]?\d+)?)$/.test(json)) return Number(json);
  }
  // 32-bit numbers may come as text, as 64-bit ones do.
  if (/^(u?int|s?fixed|sint)32$/.test(type) && typeof json === 'string' && /^-?\d+$/.test(json)) {
    return Number(json);
  }
  return json;
}

function oneFrom(field: protobuf.Field, json: JsonValue, path: string): unknown {
  const resolved = field.resolvedType;
  if (resolved instanceof pb.Type) return messageFromJson(resolved, json, path);
  if (resolved instanceof pb.Enum) return json === null && resolved.name === 'NullValue' ? 0 : json;
  return scalarFrom(field.type, json, path);
}

/** Throws REQUEST_FIELD_INVALID with the path of the field; wrong scalar types are left to the encoder. */
export function messageFromJson(type: protobuf.Type, json: unknown, path = type.name): Message {
  if (json instanceof Uint8Array) return json;
  const special = lookUp(WELL_KNOWN, type.fullName);
  if (special !== undefined) return special(json as JsonValue, path);
  const message: Message = {};
  for (const [name, value] of Object.entries(objectAt(json, path))) {
    const field = fieldNamed(type, name, path);
    const here = `${path}.${field.name}`;
    const isValue = field.resolvedType?.fullName === '.google.protobuf.Value';
    if (value === undefined || (value === null && !isValue && field.resolvedType?.name !== 'NullValue')) continue;
    if (Object.hasOwn(message, field.name)) throw wrong(here, 'the field once', 'it twice, in both spellings');
    message[field.name] = fieldFrom(field, value, here);
  }
  return message;
}

function fieldFrom(field: protobuf.Field, value: JsonValue, path: string): unknown {
  if (field.map) {
    const entries = Object.entries(objectAt(value, path));
    return Object.fromEntries(entries.map(([key, item]) => [key, oneFrom(field, item, `${path}[${key}]`)]));
  }
  if (field.repeated) return arrayAt(value, path).map((item, index) => oneFrom(field, item, `${path}[${index}]`));
  return oneFrom(field, value, path);
}
