import type * as protobuf from 'protobufjs';
import pb from 'protobufjs';
import { HostError } from '../errors/index.js';
import { at, encodeScalar, isDefault, type ScalarType, wireTypeOf } from './scalars.js';
import { asBuffer, WIRE_LEN } from './wire.js';

/**
 * Encodes plain objects and refuses whatever protobufjs would quietly turn into nothing: unknown field names, unknown
 * enum names (sent as 0 otherwise), wrong types, two members of one oneof, numbers out of range (rule 15). An embedded
 * message may be given as its encoded bytes, which are written untouched.
 */

const MAX_DEPTH = 100;

interface FieldPlan {
  readonly name: string;
  readonly number: number;
  readonly kind: 'scalar' | 'enum' | 'message';
  readonly shape: 'single' | 'repeated' | 'map';
  readonly scalar: ScalarType;
  readonly keyType: ScalarType;
  readonly enumType: protobuf.Enum | undefined;
  readonly messageType: protobuf.Type | undefined;
  readonly oneof: string | undefined;
  readonly packed: boolean;
}

interface TypePlan {
  readonly typeName: string;
  readonly fields: readonly FieldPlan[];
  readonly names: ReadonlySet<string>;
  readonly oneofs: ReadonlyMap<string, ReadonlySet<string>>;
}

function planField(field: protobuf.Field): FieldPlan {
  field.resolve();
  const resolved = field.resolvedType;
  const enumType = resolved instanceof pb.Enum ? resolved : undefined;
  const messageType = resolved instanceof pb.Type ? resolved : undefined;
  return {
    name: field.name,
    number: field.id,
    kind: messageType !== undefined ? 'message' : enumType !== undefined ? 'enum' : 'scalar',
    shape: field.map ? 'map' : field.repeated ? 'repeated' : 'single',
    scalar: (enumType !== undefined ? 'int32' : field.type) as ScalarType,
    keyType: (field instanceof pb.MapField ? field.keyType : 'string') as ScalarType,
    enumType,
    messageType,
    oneof: field.partOf?.name,
    packed:
      field.repeated &&
      field.packed &&
      messageType === undefined &&
      (enumType !== undefined || wireTypeOf(field.type as ScalarType) !== WIRE_LEN),
  };
}

function planType(type: protobuf.Type): TypePlan {
  const fields = type.fieldsArray.map(planField).sort((a, b) => a.number - b.number);
  return {
    typeName: type.fullName.replace(/^\./, ''),
    fields,
    names: new Set(fields.map((field) => field.name)),
    oneofs: new Map(type.oneofsArray.map((oneof) => [oneof.name, new Set(oneof.oneof)])),
  };
}

function invalid(path: string, problem: string): HostError {
  return new HostError('ENCODE_INVALID', `${path}: ${problem}`);
}

function describe(value: unknown): string {
  if (value === null) return 'null';
  if (Array.isArray(value)) return 'an array';
  if (value instanceof Uint8Array) return 'bytes';
  return typeof value === 'object' ? 'an object' : `${typeof value} ${String(value).slice(0, 60)}`;
}

/** Of unknown names, the field most likely meant: snake_case and case are the usual slips. */
function suggestion(name: string, names: Iterable<string>): string {
  const plain = (text: string) => text.replaceAll('_', '').toLowerCase();
  for (const known of names) if (plain(known) === plain(name)) return `; did you mean ${known}?`;
  return `; it has ${[...names].join(', ') || 'no fields'}`;
}

/** Encodes messages of the types of one protobufjs root. Holds compiled field tables, so keep one for a root. */
export class StrictEncoder {
  private readonly plans = new Map<protobuf.Type, TypePlan>();

  /** Throws ENCODE_INVALID with the path of the field at fault. */
  encode(type: protobuf.Type, message: unknown): Buffer {
    const writer = pb.Writer.create();
    this.writeMessage(writer, this.planOf(type), message, type.name, 0);
    return asBuffer(writer.finish());
  }

  private planOf(type: protobuf.Type): TypePlan {
    let plan = this.plans.get(type);
    if (plan === undefined) {
      plan = planType(type);
      this.plans.set(type, plan);
    }
    return plan;
  }

  private writeMessage(writer: protobuf.Writer, plan: TypePlan, message: unknown, path: string, depth: number): void {
    if (depth > MAX_DEPTH) throw invalid(path, `nested deeper than ${MAX_DEPTH} messages`);
    if (typeof message !== 'object' || message === null || Array.isArray(message) || message instanceof Uint8Array) {
      throw invalid(path, `expected an object for ${plan.typeName}, got ${describe(message)}`);
    }
    const object = message as Record<string, unknown>;
    this.checkNames(plan, object, path);
    for (const field of plan.fields) {
      const value = Object.hasOwn(object, field.name) ? object[field.name] : undefined;
      if (value === undefined || value === null) continue;
      this.writeField(writer, field, value, `${path}.${field.name}`, depth);
    }
  }

  private checkNames(plan: TypePlan, object: Record<string, unknown>, path: string): void {
    let chosen: Map<string, string> | undefined;
    for (const name of Object.keys(object)) {
      const value = object[name];
      if (plan.names.has(name)) continue;
      const members = plan.oneofs.get(name);
      // A decoded message names the member that is set under the oneof's own name; it must tell the truth.
      if (members !== undefined) {
        if (value === undefined || value === null) continue;
        if (typeof value === 'string' && members.has(value) && object[value] != null) continue;
        throw invalid(`${path}.${name}`, `says ${describe(value)} is set, and it is not`);
      }
      if (value !== undefined) {
        throw invalid(path, `${plan.typeName} has no field ${name}${suggestion(name, plan.names)}`);
      }
    }
    for (const field of plan.fields) {
      if (field.oneof === undefined || !Object.hasOwn(object, field.name) || object[field.name] == null) continue;
      chosen ??= new Map();
      const other = chosen.get(field.oneof);
      if (other !== undefined) throw invalid(path, `${other} and ${field.name} are both set; only one of them may be`);
      chosen.set(field.oneof, field.name);
    }
  }

  private writeField(writer: protobuf.Writer, field: FieldPlan, value: unknown, path: string, depth: number): void {
    if (field.shape === 'map') this.writeMap(writer, field, value, path, depth);
    else if (field.shape === 'repeated') this.writeRepeated(writer, field, value, path, depth);
    else if (field.kind === 'message' || field.oneof !== undefined || !this.isZero(field, value, path)) {
      this.writeOne(writer, field, field.number, value, path, depth);
    }
  }

  private writeRepeated(writer: protobuf.Writer, field: FieldPlan, value: unknown, path: string, depth: number): void {
    if (!Array.isArray(value)) throw invalid(path, `expected an array, got ${describe(value)}`);
    if (value.length === 0) return;
    if (!field.packed) {
      value.forEach((item, index) => {
        this.writeOne(writer, field, field.number, item, at(path, index), depth);
      });
      return;
    }
    writer.uint32(field.number * 8 + WIRE_LEN).fork();
    value.forEach((item, index) => {
      this.writeBare(writer, field, item, at(path, index));
    });
    writer.ldelim();
  }

  private writeMap(writer: protobuf.Writer, field: FieldPlan, value: unknown, path: string, depth: number): void {
    if (typeof value !== 'object' || value === null || Array.isArray(value) || value instanceof Uint8Array) {
      throw invalid(path, `expected an object, got ${describe(value)}`);
    }
    for (const [key, item] of Object.entries(value)) {
      const here = at(path, key);
      writer.uint32(field.number * 8 + WIRE_LEN).fork();
      writer.uint32(8 + wireTypeOf(field.keyType));
      encodeScalar(writer, field.keyType, field.keyType === 'bool' ? key === 'true' : key, here);
      this.writeOne(writer, field, 2, item, here, depth);
      writer.ldelim();
    }
  }

  private writeOne(
    writer: protobuf.Writer,
    field: FieldPlan,
    number: number,
    value: unknown,
    path: string,
    depth: number,
  ): void {
    if (field.kind === 'message') {
      writer.uint32(number * 8 + WIRE_LEN);
      if (value instanceof Uint8Array) {
        writer.bytes(value);
        return;
      }
      writer.fork();
      this.writeMessage(writer, this.planOf(field.messageType!), value, path, depth + 1);
      writer.ldelim();
      return;
    }
    writer.uint32(number * 8 + wireTypeOf(field.scalar));
    this.writeBare(writer, field, value, path);
  }

  private writeBare(writer: protobuf.Writer, field: FieldPlan, value: unknown, path: string): void {
    if (field.enumType === undefined) encodeScalar(writer, field.scalar, value, path);
    else writer.int32(this.enumNumber(field.enumType, value, path));
  }

  private isZero(field: FieldPlan, value: unknown, path: string): boolean {
    if (field.enumType !== undefined) return this.enumNumber(field.enumType, value, path) === 0;
    return isDefault(field.scalar, value);
  }

  private enumNumber(type: protobuf.Enum, value: unknown, path: string): number {
    if (typeof value === 'string' && Object.hasOwn(type.values, value)) return type.values[value]!;
    if (typeof value === 'number' && type.valuesById[value] !== undefined) return value;
    const names = Object.keys(type.values).join(', ');
    throw invalid(path, `${describe(value)} is not a value of enum ${type.fullName.slice(1)}; it has ${names}`);
  }
}
