import descriptor from 'protobufjs/ext/descriptor/index.js';
import { HostError, messageOf } from '../errors/index.js';
import { DESCRIPTOR_SET } from '../generated/descriptors.js';
import { FLYTEIDL2_DESCRIPTOR_SET } from '../generated/flyteidl2.js';
import { readFields, WIRE_LEN } from './wire.js';

/** FileDescriptorSet.file */
const FILE_FIELD = 1;

/** One .proto file. */
export interface DescribedFile {
  readonly name: string;
  /** google.protobuf.FileDescriptorProto, byte for byte as the compiler made it. */
  readonly bytes: Buffer;
  /** Names of the files it imports. */
  readonly imports: readonly string[];
}

/**
 * Descriptors as a protobuf compiler made them, found by file, symbol and extension, and given out as the bytes they
 * came as: decoded and encoded anew they lose what the decoder does not know.
 */
export class DescriptorPool {
  readonly #files = new Map<string, DescribedFile>();
  readonly #symbols = new Map<string, DescribedFile>();
  readonly #messages = new Set<string>();
  /** Extended message → field number → the file that declares the extension. */
  readonly #extensions = new Map<string, Map<number, DescribedFile>>();

  /**
   * Of encoded FileDescriptorSets; a file that stands in several is taken from the first. Throws DESCRIPTOR_UNKNOWN for
   * bytes that are none, and for an import that is in none of them.
   */
  constructor(sets: readonly Uint8Array[]) {
    try {
      for (const set of sets) for (const field of readFields(set)) this.#add(field.number, field.wireType, field.value);
    } catch (thrown) {
      if (HostError.is(thrown) && thrown.code === 'DESCRIPTOR_UNKNOWN') throw thrown;
      throw unusable(messageOf(thrown), thrown);
    }
    if (this.#files.size === 0) throw unusable('it holds no file');
    for (const { name, imports } of this.#files.values()) {
      const absent = imports.find((file) => !this.#files.has(file));
      if (absent !== undefined) throw unusable(`${name} imports ${absent}, which is not among the files`);
    }
  }

  /** Undefined for a name that is no file's. */
  file(name: string): DescribedFile | undefined {
    return this.#files.get(name);
  }

  /**
   * The file that declares a symbol: full name of a message, field, oneof, enum, enum value (beside its enum, as the
   * language has it), extension, service or method. Undefined where none does.
   */
  fileOfSymbol(name: string): DescribedFile | undefined {
    return this.#symbols.get(name);
  }

  /** The file that declares the extension of a message by field number. */
  fileOfExtension(type: string, number: number): DescribedFile | undefined {
    return this.#extensions.get(type)?.get(number);
  }

  /** Field numbers of the extensions of a message, in order; undefined for what is no message of the pool. */
  extensionNumbers(type: string): readonly number[] | undefined {
    if (!this.#messages.has(type)) return undefined;
    return [...(this.#extensions.get(type)?.keys() ?? [])].sort((one, other) => one - other);
  }

  /** The file first, then all it needs, each once, importers before what they import. */
  closure(file: DescribedFile): readonly DescribedFile[] {
    const seen = new Set<string>();
    const importedFirst: DescribedFile[] = [];
    const visit = (each: DescribedFile): void => {
      if (seen.has(each.name)) return;
      seen.add(each.name);
      for (const name of each.imports) visit(this.#files.get(name)!);
      importedFirst.push(each);
    };
    visit(file);
    return importedFirst.reverse();
  }

  #add(number: number, wireType: number, bytes: Buffer): void {
    if (number !== FILE_FIELD || wireType !== WIRE_LEN) throw unusable(`field ${number} of a FileDescriptorSet`);
    const proto = descriptor.FileDescriptorProto.decode(bytes) as unknown as descriptor.IFileDescriptorProto;
    const name = proto.name ?? '';
    if (name === '') throw unusable('a file has no name');
    if (this.#files.has(name)) return;
    const file: DescribedFile = Object.freeze({ name, bytes, imports: Object.freeze([...(proto.dependency ?? [])]) });
    this.#files.set(name, file);
    const scope = proto.package ? `${proto.package}.` : '';
    for (const type of proto.messageType ?? []) this.#addMessage(scope, type, file);
    for (const type of proto.enumType ?? []) this.#addEnum(scope, type, file);
    for (const extension of proto.extension ?? []) this.#addExtension(scope, extension, file);
    for (const service of proto.service ?? []) {
      this.#symbols.set(`${scope}${service.name}`, file);
      for (const method of service.method ?? []) this.#symbols.set(`${scope}${service.name}.${method.name}`, file);
    }
  }

  #addMessage(scope: string, type: descriptor.IDescriptorProto, file: DescribedFile): void {
    const name = `${scope}${type.name}`;
    this.#messages.add(name);
    this.#symbols.set(name, file);
    const inside = `${name}.`;
    for (const part of [...(type.field ?? []), ...(type.oneofDecl ?? [])]) {
      this.#symbols.set(`${inside}${part.name}`, file);
    }
    for (const nested of type.nestedType ?? []) this.#addMessage(inside, nested, file);
    for (const nested of type.enumType ?? []) this.#addEnum(inside, nested, file);
    for (const extension of type.extension ?? []) this.#addExtension(inside, extension, file);
  }

  #addEnum(scope: string, type: descriptor.IEnumDescriptorProto, file: DescribedFile): void {
    this.#symbols.set(`${scope}${type.name}`, file);
    for (const value of type.value ?? []) this.#symbols.set(`${scope}${value.name}`, file);
  }

  #addExtension(scope: string, extension: descriptor.IFieldDescriptorProto, file: DescribedFile): void {
    this.#symbols.set(`${scope}${extension.name}`, file);
    const extended = (extension.extendee ?? '').replace(/^\./, '');
    let numbers = this.#extensions.get(extended);
    if (numbers === undefined) {
      numbers = new Map();
      this.#extensions.set(extended, numbers);
    }
    numbers.set(extension.number ?? 0, file);
  }
}

function unusable(why: string, cause?: unknown): HostError {
  return new HostError('DESCRIPTOR_UNKNOWN', `Not a usable FileDescriptorSet: ${why}.`, { cause });
}

/** All that the port may serve: the native API, both generations of Flyte's, health and reflection. Takes some 60 ms, and its decoder as many to load: not for a start. */
export function servedDescriptors(): DescriptorPool {
  return new DescriptorPool([Buffer.from(DESCRIPTOR_SET, 'base64'), Buffer.from(FLYTEIDL2_DESCRIPTOR_SET, 'base64')]);
}
