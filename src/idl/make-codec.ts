import type * as protobuf from 'protobufjs';
import { HostError, messageOf } from '../errors/index.js';
import { getOrMake } from '../lib/get-or-make.js';
import type { Codec, Message } from './codec.js';
import { messageFromJson } from './proto-json.js';
import { CheckedReader } from './reader.js';
import { assertRequired } from './required.js';
import type { StrictEncoder } from './strict-encoder.js';
import { asBuffer, takeMessages } from './wire.js';
import { WireChecker } from './wire-check.js';

const DECODED_FORM: protobuf.IConversionOptions = {
  longs: String,
  enums: String,
  defaults: true,
  arrays: true,
  objects: true,
  oneofs: true,
};

/** Fields that are left encoded, and their numbers. */
interface RawFields {
  readonly fields: readonly protobuf.Field[];
  readonly numbers: readonly number[];
}

function rawFields(type: protobuf.Type, names: readonly string[]): RawFields {
  const fields = names.map((name) => {
    const field = Object.hasOwn(type.fields, name) ? type.fields[name]! : undefined;
    if (field === undefined || field.repeated || field.map || !field.resolve().resolvedType) {
      throw new HostError('DESCRIPTOR_UNKNOWN', `${type.fullName.slice(1)} has no single embedded message ${name}.`);
    }
    return field;
  });
  return { fields, numbers: fields.map(({ id }) => id) };
}

const wires = new WireChecker();

export function makeCodec<T extends object>(type: protobuf.Type, encoder: StrictEncoder): Codec<T> {
  const typeName = type.fullName.replace(/^\./, '');
  const decodeAll = (bytes: Uint8Array): Message => {
    try {
      return type.toObject(type.decode(new CheckedReader(asBuffer(bytes))), DECODED_FORM);
    } catch (thrown) {
      throw new HostError('REQUEST_UNDECODABLE', `The bytes are not a ${typeName}: ${messageOf(thrown)}.`, {
        cause: thrown,
      });
    }
  };
  // A service asks with the same few lists for each call.
  const known = new Map<string, RawFields>();
  const rawOf = (names: readonly string[]) => getOrMake(known, names.join(), () => rawFields(type, names));
  return {
    typeName,
    decode(bytes, options = {}) {
      if (options.raw === undefined || options.raw.length === 0) return decodeAll(bytes) as T;
      const { fields, numbers } = rawOf(options.raw);
      const { values, rest } = takeMessages(bytes, numbers);
      const message = decodeAll(rest);
      fields.forEach(({ name, partOf }, place) => {
        const value = values[place];
        message[name] = value ?? null;
        if (value !== undefined && partOf) message[partOf.name] = name;
      });
      return message as T;
    },
    encode: (message) => encoder.encode(type, message),
    encodeStrict(message, required) {
      assertRequired(type.name, message, required);
      return encoder.encode(type, message);
    },
    encodeJson: (json) => encoder.encode(type, messageFromJson(type, json)),
    wireProblem: (bytes, maxDepth) => wires.problem(type, bytes, maxDepth),
  };
}
