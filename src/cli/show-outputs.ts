import { stringify } from 'yaml';
import { makeLiteralCodec } from '../data/literal-codec.js';
import type { Idl } from '../idl/idl.js';
import type { JsonObject, JsonValue } from '../lib/json.js';
import type { Outputs } from '../model/phase-state.js';
import { isTaggedLiteral, type LiteralValue } from '../plugin-api/literals.js';
import { printable } from './io.js';

/** Outputs as plain JSON: values by name, or the place where they lie. */
export function outputsAsJson(idl: Idl, outputs: Outputs, outputPrefix: string): JsonValue {
  switch (outputs.kind) {
    case 'none':
      return {};
    case 'prefix':
      return { outputsAt: `${outputPrefix}/outputs.pb` };
    case 'inline': {
      const values = makeLiteralCodec(idl).readMap(outputs.literalMap);
      return Object.fromEntries(Object.entries(values).map(([name, value]) => [name, plain(value)]));
    }
    default:
      return outputs satisfies never;
  }
}

/** Outputs as lines for a person; empty where there are none. */
export function outputsAsText(idl: Idl, outputs: Outputs, outputPrefix: string): string {
  const json = outputsAsJson(idl, outputs, outputPrefix) as JsonObject;
  return Object.keys(json).length === 0 ? '' : printable(stringify(json).trimEnd(), true);
}

/** A literal's value without what JSON has no word for. Bytes are shown by their number and base64. */
function plain(value: unknown): JsonValue {
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return value;
  if (typeof value === 'number') return Number.isFinite(value) ? value : String(value);
  if (typeof value === 'bigint') return String(value);
  if (value instanceof Date) return value.toISOString();
  if (value instanceof Uint8Array) return { bytes: value.length, base64: Buffer.from(value).toString('base64') };
  if (Array.isArray(value)) return value.map(plain);
  if (isTaggedLiteral(value)) return plainTagged(value);
  return Object.fromEntries(Object.entries(value as object).map(([key, inner]) => [key, plain(inner)]));
}

function plainTagged(literal: Extract<LiteralValue, { literalKind: string }>): JsonValue {
  switch (literal.literalKind) {
    case 'integer':
    case 'float':
    case 'struct':
    case 'msgpack':
    case 'union':
      return plain(literal.value);
    case 'duration':
      return `${literal.seconds + literal.nanos / 1e9}s`;
    default: {
      const { literalKind, ...rest } = literal;
      return { kind: literalKind, ...(plain({ ...rest }) as JsonObject) };
    }
  }
}
