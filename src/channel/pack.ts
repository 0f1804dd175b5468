import { type MessageWriter, SelfWritten } from '../lib/self-written.js';
import { ChannelError } from './channel-error.js';

/**
 * Plain data with bytes in it as JSON text and attachments. A Uint8Array becomes `{"$b":[offset,length]}`, where the
 * offset counts from the first attachment of the message, and a long text `{"$s":[offset,length]}`, its UTF-8; few bytes that somebody
 * has as a text of one byte a character stay one, `{"$l":text}`. An object of the data that has one of our four marks as a key is
 * wrapped as `{"$o":{…}}`, so that nothing a plugin writes can be mistaken for them. Keys with value undefined are left out.
 */
export interface Packed {
  readonly json: string;
  readonly attachments: readonly Uint8Array[];
  readonly attachmentBytes: number;
}

const BYTES = '$b';
const TEXT = '$s';
const LATIN1 = '$l';
const ESCAPED = '$o';
/** One of our marks may stand in the text, as it is or escaped. */
const MAY_BE_MARKED = /"\$|\\u0024/;
/** More bytes go beside the text, in which some take six times their size. */
const MAX_LATIN1 = 256;
/** Deeper data is refused in both directions, so that no recursion here can exhaust the stack. */
export const MAX_DEPTH = 200;

/** What JSON cannot hold as it stands, and halves of surrogate pairs, of which one may stand alone. */
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const NOT_PLAIN = /["\\\u0000-\u001f\ud800-\udfff]/;

const ABOVE_LATIN1 = /[\u0100-\uffff]/;

function quoted(text: string): string {
  return NOT_PLAIN.test(text) ? JSON.stringify(text) : `"${text}"`;
}

/** Of keys that came by, the beginning of what stands in the text: nearly all messages have the same. */
const beginnings = new Map<string, string>();
const MAX_BEGINNINGS = 1_000;
const MAX_KEY = 40;

function beginningOf(key: string): string {
  const known = beginnings.get(key);
  if (known !== undefined) return known;
  const beginning = `${quoted(key)}:`;
  if (beginnings.size < MAX_BEGINNINGS && key.length <= MAX_KEY) beginnings.set(key, beginning);
  return beginning;
}

/**
 * The text is written as the data is walked, without a copy of it in between: every call and every answer comes by here.
 */
class Writer implements MessageWriter {
  readonly attachments: Uint8Array[] = [];
  attachmentBytes = 0;
  readonly #longText: number;

  constructor(longText: number) {
    this.#longText = longText;
  }

  /** undefined for what is left out. */
  write(node: unknown, depth: number): string | undefined {
    if (depth > MAX_DEPTH) throw unsendable(`data nested deeper than ${MAX_DEPTH} levels`);
    switch (typeof node) {
      case 'string':
        return this.text(node);
      case 'boolean':
        return node ? 'true' : 'false';
      case 'undefined':
        return undefined;
      case 'number':
        if (!Number.isFinite(node)) throw unsendable(`the number ${node}`);
        return String(node);
      case 'object':
        break;
      default:
        throw unsendable(`a ${typeof node}`);
    }
    if (node === null) return 'null';
    if (Array.isArray(node)) return this.#list(node, depth);
    if (node instanceof Uint8Array) return this.#attach(BYTES, node);
    return this.#object(node, depth);
  }

  text(text: string): string {
    return text.length > this.#longText ? this.#attach(TEXT, Buffer.from(text)) : quoted(text);
  }

  bytes(latin1: string): string {
    return latin1.length > MAX_LATIN1
      ? this.#attach(BYTES, Buffer.from(latin1, 'latin1'))
      : `{"${LATIN1}":${quoted(latin1)}}`;
  }

  value(value: unknown): string | undefined {
    return this.write(value, 0);
  }

  #attach(mark: string, bytes: Uint8Array): string {
    const reference = `{"${mark}":[${this.attachmentBytes},${bytes.byteLength}]}`;
    this.attachments.push(bytes);
    this.attachmentBytes += bytes.byteLength;
    return reference;
  }

  #list(list: readonly unknown[], depth: number): string {
    let text = '[';
    for (let at = 0; at < list.length; at++) {
      if (at > 0) text += ',';
      text += this.write(list[at], depth + 1) ?? 'null';
    }
    return `${text}]`;
  }

  #object(node: object, depth: number): string {
    const prototype: unknown = Object.getPrototypeOf(node);
    if (prototype !== Object.prototype && prototype !== null) {
      if (node instanceof SelfWritten) return node.write(this);
      throw unsendable(`an object of class ${node.constructor?.name ?? 'unknown'}`);
    }
    let text = '';
    let marked = false;
    for (const key in node) {
      if (!Object.hasOwn(node, key)) continue;
      const item = this.write((node as Record<string, unknown>)[key], depth + 1);
      marked ||= key === BYTES || key === TEXT || key === LATIN1 || key === ESCAPED;
      if (item === undefined) continue;
      text += text === '' ? beginningOf(key) + item : `,${beginningOf(key)}${item}`;
    }
    return marked ? `{"${ESCAPED}":{${text}}}` : `{${text}}`;
  }
}

/**
 * Texts of more than `longText` UTF-16 units go beside the JSON text. Throws ChannelError UNSENDABLE for what is not plain
 * data (functions, bigint, non-finite numbers, cycles).
 */
export function pack(value: unknown, longText = Number.POSITIVE_INFINITY): Packed {
  const writer = new Writer(longText);
  const json = writer.write(value, 0) ?? 'null';
  return { json, attachments: writer.attachments, attachmentBytes: writer.attachmentBytes };
}

/**
 * The reverse of `pack`. `depthIsKnown`: somebody has looked how deep the text is. Never copies more out of the attachments than they hold, however often they are referred to.
 * Throws ChannelError GARBAGE for text or references that `pack` cannot have made.
 */
export function unpack(json: string, attachments: Buffer, depthIsKnown = false): unknown {
  let value: unknown;
  try {
    value = JSON.parse(wellFormed(json));
  } catch {
    throw new ChannelError('GARBAGE', 'a message is not JSON');
  }
  // Data without marks, as nearly every answer is, is what it says.
  if (depthIsKnown && !MAY_BE_MARKED.test(json)) return value;
  return restore(value, new Attachments(attachments), 0);
}

/**
 * Half a surrogate pair, as cutting a text may leave it, is kept by JSON and has no UTF-8: an engine could not be told of
 * a task whose reason holds one. JSON.stringify escapes such halves and nothing else of that range, so they are found here.
 */
function wellFormed(json: string): string {
  if (!/\\u[dD]/.test(json)) return json;
  return json.replace(/(?<!\\)((?:\\\\)*)\\ud[89a-f][0-9a-f]{2}/gi, '$1\ufffd');
}

/** The bytes beside a text, handed out at most once over. */
class Attachments {
  readonly #bytes: Buffer;
  #left: number;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#left = bytes.length;
  }

  /** A copy, since a view would keep the whole frame in memory for as long as a small meta lives. */
  bytes(reference: unknown): Buffer {
    const { offset, length } = this.#range(reference);
    return Buffer.from(this.#bytes.subarray(offset, offset + length));
  }

  text(reference: unknown): string {
    const { offset, length } = this.#range(reference);
    return this.#bytes.toString('utf8', offset, offset + length);
  }

  #range(reference: unknown): { offset: number; length: number } {
    const [offset, length] = Array.isArray(reference) ? (reference as unknown[]) : [];
    if (!isIndex(offset) || !isIndex(length) || offset + length > this.#bytes.length) {
      throw new ChannelError('GARBAGE', 'a message refers to bytes that it does not carry');
    }
    this.#left -= length;
    if (this.#left < 0) throw new ChannelError('GARBAGE', 'a message refers to its bytes more than once');
    return { offset, length };
  }
}

function restore(node: unknown, attachments: Attachments, depth: number): unknown {
  if (typeof node !== 'object' || node === null) return node;
  if (depth > MAX_DEPTH * 2) throw new ChannelError('GARBAGE', 'a message is nested too deeply');
  if (Array.isArray(node)) {
    for (let i = 0; i < node.length; i++) {
      const item: unknown = node[i];
      if (typeof item === 'object' && item !== null) node[i] = restore(item, attachments, depth + 1);
    }
    return node;
  }
  const record = node as Record<string, unknown>;
  if (Object.hasOwn(record, BYTES)) return attachments.bytes(record[BYTES]);
  if (Object.hasOwn(record, TEXT)) return attachments.text(record[TEXT]);
  if (Object.hasOwn(record, LATIN1)) return bytesOf(record[LATIN1]);
  if (Object.hasOwn(record, ESCAPED)) {
    const inner = record[ESCAPED];
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) {
      throw new ChannelError('GARBAGE', 'a message holds a broken escape');
    }
    return restoreFields(inner as Record<string, unknown>, attachments, depth);
  }
  return restoreFields(record, attachments, depth);
}

function bytesOf(latin1: unknown): Buffer {
  if (typeof latin1 !== 'string' || ABOVE_LATIN1.test(latin1)) {
    throw new ChannelError('GARBAGE', 'a message holds bytes that are none');
  }
  return Buffer.from(latin1, 'latin1');
}

/** In place: an own key such as `__proto__`, which JSON.parse makes, stays an own key. */
function restoreFields(record: Record<string, unknown>, attachments: Attachments, depth: number): unknown {
  for (const key of Object.keys(record)) {
    const item = record[key];
    if (typeof item === 'object' && item !== null) record[key] = restore(item, attachments, depth + 1);
  }
  return record;
}

function isIndex(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function unsendable(what: string): ChannelError {
  return new ChannelError('UNSENDABLE', `${what} cannot be sent; only plain data can`);
}
