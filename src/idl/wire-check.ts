import { isUtf8 } from 'node:buffer';
import type * as protobuf from 'protobufjs';
import pb from 'protobufjs';
import { messageOf } from '../errors/index.js';
import { type ScalarType, wireTypeOf } from './scalars.js';
import { asBuffer, readFields, WIRE_LEN } from './wire.js';

/** Messages in each other that every decoder takes; entries of maps count as messages, as they do on the wire. */
export const MAX_WIRE_DEPTH = 100;

interface FieldRule {
  readonly name: string;
  readonly wireType: number;
  /** Of an embedded message, or of the entries of a map. */
  readonly inner: TypeRule | undefined;
  readonly isText: boolean;
  /** Numbers of wire types other than LEN may come packed into one such field. */
  readonly mayBePacked: boolean;
}

interface TypeRule {
  readonly fields: ReadonlyMap<number, FieldRule>;
}

/**
 * Whether bytes that somebody else encoded are a message of a type, all the way down, as a decoder would find it: known
 * fields have their wire type, texts are UTF-8, nothing is cut off. Makes no objects of the values, so that it costs a
 * tenth of a decode. Fields that the type does not know pass.
 */
export class WireChecker {
  readonly #rules = new Map<protobuf.Type, TypeRule>();

  /** What is wrong with the bytes, for a person; undefined when nothing is. `maxDepth`: default MAX_WIRE_DEPTH. */
  problem(type: protobuf.Type, bytes: Uint8Array, maxDepth = MAX_WIRE_DEPTH): string | undefined {
    try {
      return messageProblem(this.#ruleOf(type), asBuffer(bytes), type.name, maxDepth);
    } catch (thrown) {
      return messageOf(thrown);
    }
  }

  #ruleOf(type: protobuf.Type): TypeRule {
    const known = this.#rules.get(type);
    if (known !== undefined) return known;
    const fields = new Map<number, FieldRule>();
    const rule = { fields };
    // Before its fields, since types hold themselves.
    this.#rules.set(type, rule);
    for (const field of type.fieldsArray) fields.set(field.id, this.#fieldRule(field.resolve()));
    return rule;
  }

  #fieldRule(field: protobuf.Field): FieldRule {
    const own = this.#valueRule(field.name, field);
    if (!(field instanceof pb.MapField)) return { ...own, mayBePacked: field.repeated && own.wireType !== WIRE_LEN };
    const key = scalarRule('key', field.keyType as ScalarType);
    const entry = new Map([
      [1, key],
      [2, { ...own, name: 'value' }],
    ]);
    return { name: field.name, wireType: WIRE_LEN, inner: { fields: entry }, isText: false, mayBePacked: false };
  }

  #valueRule(name: string, field: protobuf.Field): FieldRule {
    const { resolvedType } = field;
    if (resolvedType instanceof pb.Type) {
      return { name, wireType: WIRE_LEN, inner: this.#ruleOf(resolvedType), isText: false, mayBePacked: false };
    }
    if (resolvedType instanceof pb.Enum) return scalarRule(name, 'int32');
    return scalarRule(name, field.type as ScalarType);
  }
}

function scalarRule(name: string, type: ScalarType): FieldRule {
  return { name, wireType: wireTypeOf(type), inner: undefined, isText: type === 'string', mayBePacked: false };
}

function messageProblem(rule: TypeRule, bytes: Buffer, path: string, depthLeft: number): string | undefined {
  if (depthLeft === 0) return `${path}: more messages in each other than decoders take`;
  for (const { number, wireType, value } of readFields(bytes)) {
    const field = rule.fields.get(number);
    if (field === undefined) continue;
    if (wireType !== field.wireType) {
      if (field.mayBePacked && wireType === WIRE_LEN) continue;
      return `${path}.${field.name}: wire type ${wireType}, expected ${field.wireType}`;
    }
    if (field.isText && !isUtf8(value)) return `${path}.${field.name}: not UTF-8`;
    if (field.inner === undefined) continue;
    const problem = messageProblem(field.inner, value, `${path}.${field.name}`, depthLeft - 1);
    if (problem !== undefined) return problem;
  }
  return undefined;
}
