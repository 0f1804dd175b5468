import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { buffer } from 'node:stream/consumers';
import { parseDocument } from 'yaml';
import { makeLiteralCodec } from '../data/literal-codec.js';
import { readTaskInterface } from '../data/task-interface.js';
import { HostError, messageOf } from '../errors/index.js';
import type { Idl } from '../idl/idl.js';
import { buildLiteralMap, readNamedLiterals } from '../idl/literal-map.js';
import { yamlFlaw } from '../lib/yaml-flaw.js';
import type { LiteralInput } from '../plugin-api/literals.js';
import { CliError } from './exit-codes.js';
import type { CliIo } from './io.js';

/** Endings of files that hold an encoded protobuf message. */
const PROTOBUF = new Set(['.pb', '.bin', '.binpb']);
const TEXT = new Set(['.json', '.yaml', '.yml']);

/** A file as text or bytes; `-` reads standard input, as YAML. */
type Source = { readonly bytes: Buffer } | { readonly value: unknown };

/** Where files are read from. */
type FileIo = Pick<CliIo, 'cwd' | 'stdin'>;

/**
 * Reads a task template: protobuf, or the JSON form of flyteidl.core.TaskTemplate in JSON or YAML; `-` is standard input.
 * Answers its bytes.
 */
export async function readTemplate(idl: Idl, file: string, io: FileIo): Promise<Buffer> {
  const codec = idl.codec('flyteidl.core.TaskTemplate');
  const source = await readSource(file, io, 'a task template');
  if ('bytes' in source) {
    wrapErrors(file, () => codec.decode(source.bytes));
    return source.bytes;
  }
  return wrapErrors(file, () => codec.encodeJson(source.value));
}

export interface InputSources {
  /** A file with a LiteralMap (protobuf), or an object of values (JSON, YAML); `-` is standard input. */
  readonly file: string | undefined;
  /** `name=value`, the value in YAML; these win over the file. */
  readonly pairs: readonly string[];
}

/**
 * Reads inputs and turns values into literals of their declared types. Answers an encoded LiteralMap, or undefined
 * where there are none. Throws LITERAL_UNCONVERTIBLE naming the input.
 */
export async function readInputs(
  idl: Idl,
  template: Buffer,
  sources: InputSources,
  io: FileIo,
): Promise<Buffer | undefined> {
  if (sources.file === undefined && sources.pairs.length === 0) return undefined;
  const codec = makeLiteralCodec(idl);
  const { inputs: types } = readTaskInterface(codec, template);
  const source = sources.file === undefined ? { value: {} } : await readSource(sources.file, io, 'inputs');
  const pairs = Object.fromEntries(sources.pairs.map(readPair));
  if ('bytes' in source) {
    wrapErrors(sources.file ?? '', () => codec.readRawMap(source.bytes));
    const given = readNamedLiterals(source.bytes).filter(({ name }) => !Object.hasOwn(pairs, name));
    return buildLiteralMap([...given, ...readNamedLiterals(codec.writeMap(pairs, types))]);
  }
  const { value } = source;
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new CliError(2, `${sources.file}: expected an object of inputs by name`, { code: 'REQUEST_FIELD_INVALID' });
  }
  const values = { ...(value as Record<string, LiteralInput>), ...pairs };
  const unknown = Object.keys(values).filter((name) => types.size > 0 && !types.has(name));
  if (unknown.length > 0) {
    const message = `seen the inputs ${unknown.join(', ')}, expected only declared ones: ${[...types.keys()].join(', ')}`;
    throw new CliError(2, message, { code: 'REQUEST_FIELD_INVALID' });
  }
  return codec.writeMap(values, types);
}

function readPair(pair: string): [string, LiteralInput] {
  const split = pair.indexOf('=');
  if (split <= 0) {
    throw new CliError(2, `seen --input ${JSON.stringify(pair)}, expected name=value`, {
      code: 'REQUEST_FIELD_INVALID',
    });
  }
  const name = pair.slice(0, split);
  return [name, parseYaml(pair.slice(split + 1), `--input ${name}`) as LiteralInput];
}

async function readSource(file: string, { cwd, stdin }: FileIo, what: string): Promise<Source> {
  const extension = file === '-' ? '.yaml' : path.extname(file).toLowerCase();
  if (!PROTOBUF.has(extension) && !TEXT.has(extension)) {
    const expected = [...TEXT, ...PROTOBUF].join(', ');
    throw new CliError(2, `${file}: seen the extension "${extension}", expected ${what} in one of ${expected}`);
  }
  let bytes: Buffer;
  try {
    bytes = file === '-' ? await buffer(stdin) : await readFile(path.resolve(cwd, file));
  } catch (error) {
    throw new CliError(2, `${file} cannot be read: ${messageOf(error)}`, { cause: error });
  }
  if (PROTOBUF.has(extension)) return { bytes };
  const text = bytes.toString('utf8');
  return { value: extension === '.json' ? parseJson(text, file) : parseYaml(text, file) };
}

/** JSON and nothing else; YAML would take half a file for something it is not. Whole numbers are kept exactly here too. */
function parseJson(text: string, where: string): unknown {
  try {
    JSON.parse(text);
  } catch (error) {
    const position = /position (\d+)/.exec(messageOf(error))?.[1];
    const before = text.slice(0, position === undefined ? text.length : Number(position)).split('\n');
    const at = `line ${before.length}, column ${(before.at(-1)?.length ?? 0) + 1}`;
    throw new CliError(2, `${where} is no valid JSON at ${at}: ${messageOf(error)}`, { cause: error });
  }
  return parseYaml(text, where);
}

/** Whole numbers beyond ±2^53 are kept exactly, as bigint. */
function parseYaml(text: string, where: string): unknown {
  const document = parseDocument(text, { intAsBigInt: true });
  const flaw = document.errors[0] ?? document.warnings[0];
  if (flaw !== undefined) throw new CliError(2, `${where} is no valid YAML: ${yamlFlaw(flaw)}`);
  try {
    return smallNumbers(document.toJS());
  } catch (error) {
    throw new CliError(2, `${where}: ${messageOf(error)}`, { cause: error });
  }
}

function smallNumbers(value: unknown): unknown {
  if (typeof value === 'bigint') return Number.isSafeInteger(Number(value)) ? Number(value) : value;
  if (Array.isArray(value)) return value.map(smallNumbers);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, smallNumbers(inner)]));
}

/** Names the file in front of what the codec says. */
function wrapErrors<T>(file: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    const code = HostError.is(error) ? error.code : undefined;
    throw new CliError(2, `${file}: ${messageOf(error)}`, { ...(code === undefined ? {} : { code }), cause: error });
  }
}
