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

function rawNumbers(type: protobuf.Type, names: readonly string[]): Map<string, number> {
  const numbers = new Map<string, number>();
  for (const name of names) {
    const field = Object.hasOwn(type.fields, name) ? type.fields[name]! : undefined;
    if (field === undefined || field.repeated || field.map || !field.resolve().resolvedType) {
      throw new HostError('DESCRIPTOR_UNKNOWN', `${type.fullName.slice(1)} has no single embedded message ${name}.`);
    }
    numbers.set(name, field.id);
  }
  return numbers;
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
  const known = new Map<string, Map<string, number>>();
  const numbersOf = (names: readonly string[]) => getOrMake(known, names.join(), () => rawNumbers(type, names));
  return {
    typeName,
    decode(bytes, options = {}) {
      if (options.raw === undefined || options.raw.length === 0) return decodeAll(bytes) as T;
      const numbers = numbersOf(options.raw);
      const { values, rest } = takeMessages(asBuffer(bytes), [...numbers.values()]);
      const message = decodeAll(rest);
      for (const [name, number] of numbers) {
        const value = values.get(number);
        message[name] = value ?? null;
        const oneof = type.fields[name]!.partOf;
        if (value !== undefined && oneof) message[oneof.name] = name;
      }
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
