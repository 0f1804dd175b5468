import { ChannelError } from './channel-error.js';
import { type JsonSize, jsonSize } from './json-size.js';
import type { ChildMessage } from './messages.js';
import { MAX_DEPTH } from './pack.js';

/** How much one frame of a kind may hold. */
export interface FrameBound {
  /** Bytes of its JSON text. */
  readonly textBytes: number;
  /** Values in that text. */
  readonly values: number;
  /** Whether bytes and long texts may lie beside the text. */
  readonly attachments: boolean;
}

/** By the kind of the message, which its text begins with. */
export type FrameBounds = ReadonlyMap<string, FrameBound>;

const KIB = 1024;
/** No kind has more text. */
export const MOST_TEXT_BYTES = KIB * KIB;
/** 100,000 values take a parser some 30 ms, which is what others may have to wait for a frame. */
const LARGE: FrameBound = { textBytes: MOST_TEXT_BYTES, values: 100_000, attachments: true };
const SMALL: FrameBound = { textBytes: 64 * KIB, values: 5_000, attachments: false };

/** What a plugin's process may send. Code of the plugin shares that process, so none of it is to be trusted. */
export const CHILD_BOUNDS: FrameBounds = new Map<ChildMessage['t'], FrameBound>([
  ['ready', SMALL],
  ['imported', LARGE],
  ['loaded', SMALL],
  ['failed', SMALL],
  ['answer', LARGE],
  ['error', SMALL],
  ['log', SMALL],
  ['metric', SMALL],
  ['secret', { ...SMALL, attachments: true }],
  ['pong', SMALL],
  ['closed', SMALL],
]);

/** Escapes may double the depth of packed data. */
const DEPTH = 2 * MAX_DEPTH;
/** Text below this can break no bound of values or depth, whatever it holds. */
const COUNTED_FROM = DEPTH;
/**
 * Bytes of text that count as one value where they were not counted; small messages have longer names than values. Also
 * what a value costs beside its bytes.
 */
export const BYTES_A_VALUE = 16;

const START = '{"t":"';
/** So many bytes of the text tell the kind. */
export const KIND_BYTES = START.length + 16;

/** The kind that a text begins with. Throws ChannelError GARBAGE. */
export function kindOf(start: Buffer): string {
  const text = start.toString('latin1', 0, KIND_BYTES);
  const end = text.indexOf('"', START.length);
  if (!text.startsWith(START) || end < 0) throw new ChannelError('GARBAGE', 'a message does not begin with its kind');
  return text.slice(START.length, end);
}

/** Throws ChannelError TOO_LARGE. */
export function assertTextBytes(kind: string, textBytes: number, bound: FrameBound): void {
  if (textBytes > bound.textBytes) throw tooMuch(kind, `more bytes of text (${textBytes})`, bound.textBytes);
}

/** Throws ChannelError TOO_LARGE or GARBAGE for a frame that its head and first bytes already condemn. */
export function assertHead(bounds: FrameBounds, kind: string, textBytes: number, attachmentBytes: number): FrameBound {
  const bound = bounds.get(kind);
  if (bound === undefined) throw new ChannelError('GARBAGE', `a message of no known kind: ${JSON.stringify(kind)}`);
  assertTextBytes(kind, textBytes, bound);
  if (attachmentBytes > 0 && !bound.attachments) {
    throw new ChannelError('GARBAGE', `a message "${kind}" carries ${attachmentBytes} bytes beside its text`);
  }
  return bound;
}

/** The number of values in a text. Throws ChannelError TOO_LARGE where they are too many or too deep in each other. */
export function assertText(kind: string, text: Uint8Array, bound: FrameBound): number {
  if (text.length < COUNTED_FROM) return Math.ceil(text.length / BYTES_A_VALUE);
  const size: JsonSize = jsonSize(text, { values: bound.values, depth: DEPTH });
  if (size.values > bound.values) throw tooMuch(kind, 'more values', bound.values);
  if (size.depth > DEPTH) throw new ChannelError('GARBAGE', `a message "${kind}" is nested too deeply`);
  return size.values;
}

function tooMuch(kind: string, seen: string, bound: number): ChannelError {
  return new ChannelError('TOO_LARGE', `a message "${kind}" has ${seen} than the ${bound} it may have`);
}
