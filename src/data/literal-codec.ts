import { HostError } from '../errors/index.js';
import type { Codec } from '../idl/codec.js';
import type { Idl } from '../idl/idl.js';
import { buildLiteralMap, readNamedLiterals } from '../idl/literal-map.js';
import { asBuffer } from '../idl/wire.js';
import { isWellFormed } from '../lib/text.js';
import {
  type LiteralInput,
  type LiteralType,
  type LiteralValue,
  literals,
  type RawLiteral,
} from '../plugin-api/literals.js';
import { NoPlainForm, readLiteral } from './literal-reader.js';
import { type LiteralMessage, unconvertible, untypedLiteral } from './literal-writer.js';
import { typedLiteral } from './typed-writer.js';

/** Literals as bytes to values and back. The encoding is one for flyteidl and flyteidl2; see idl/literal-map.ts. */
export interface LiteralCodec {
  /** The value of an encoded flyteidl.core.Literal. Throws REQUEST_UNDECODABLE. */
  read(literal: Uint8Array): LiteralValue;
  /** The encoded Literal of a value, of its declared type where one is given. Throws LITERAL_UNCONVERTIBLE. */
  write(value: LiteralInput, type?: LiteralType, path?: string): Buffer;
  /** The values of a LiteralMap, Inputs or Outputs. */
  readMap(map: Uint8Array): Record<string, LiteralValue>;
  /** The literals of a map, each as its bytes. */
  readRawMap(map: Uint8Array): Record<string, RawLiteral>;
  /** A LiteralMap (or Outputs) of values; names without a declared type are written by their value alone. */
  writeMap(
    values: Readonly<Record<string, LiteralInput>>,
    types?: ReadonlyMap<string, LiteralType | undefined>,
  ): Buffer;
  /** Decodes a flyteidl.core.LiteralType. */
  readType(type: Uint8Array): LiteralType;
}

function encodeLiteral(codec: Codec, message: LiteralMessage, path: string): Buffer {
  if (message instanceof Uint8Array) return asBuffer(message);
  try {
    return codec.encode(message);
  } catch (thrown) {
    // Tagged literals are not checked field by field before; the encoder names the field that is wrong.
    if (HostError.is(thrown) && thrown.code === 'ENCODE_INVALID') throw unconvertible(path, thrown.message, thrown);
    throw thrown;
  }
}

/** The bytes of a name are written by nobody who would look at it. */
function exactName(name: string): string {
  if (isWellFormed(name)) return name;
  throw unconvertible(JSON.stringify(name), 'the name holds half a surrogate pair, which has no UTF-8');
}

/** Needs an Idl with flyteidl's core types. */
export function makeLiteralCodec(idl: Idl): LiteralCodec {
  const literalCodec = idl.codec('flyteidl.core.Literal');
  const typeCodec = idl.codec<LiteralType>('flyteidl.core.LiteralType');

  const read = (bytes: Uint8Array): LiteralValue => {
    const message = literalCodec.decode(bytes);
    try {
      return readLiteral(message);
    } catch (thrown) {
      if (thrown instanceof NoPlainForm) return literals.raw(bytes);
      throw thrown;
    }
  };

  const write = (value: LiteralInput, type?: LiteralType, path = 'value'): Buffer => {
    const message = type === undefined ? untypedLiteral(value, path, 0) : typedLiteral(value, type, path, 0);
    return encodeLiteral(literalCodec, message, path);
  };

  return {
    read,
    write,
    readMap: (map) => Object.fromEntries(readNamedLiterals(map).map(({ name, value }) => [name, read(value)])),
    readRawMap: (map) =>
      Object.fromEntries(readNamedLiterals(map).map(({ name, value }) => [name, literals.raw(value)])),
    writeMap: (values, types) =>
      buildLiteralMap(
        Object.entries(values).map(([name, value]) => ({
          name: exactName(name),
          value: write(value, types?.get(name), name),
        })),
      ),
    readType: (bytes) => typeCodec.decode(bytes),
  };
}
