import { ChannelError } from './channel-error.js';
import {
  assertHead,
  assertText,
  assertTextBytes,
  type FrameBound,
  type FrameBounds,
  KIND_BYTES,
  kindOf,
  MOST_TEXT_BYTES,
} from './frame-bounds.js';
import { type Packed, pack, unpack } from './pack.js';

/**
 * A frame is one message: length of all that follows (4 bytes, big endian), length of the JSON text (4 bytes), the
 * text in UTF-8, the attachments one after the other.
 */
const LENGTH_BYTES = 4;
const HEAD_BYTES = 8;
/** Attachments up to this size are copied behind the text, larger ones are written as they are. */
const INLINE_BYTES = 16 * 1024;

export interface EncodedFrame {
  readonly parts: readonly Uint8Array[];
  readonly bytes: number;
}

/**
 * Texts above the first length go beside the JSON text; where that is still too much, those above the second do, which
 * costs the receiver a little more each. In UTF-16 units.
 */
const LONG_TEXTS = [4_096, 64];

/**
 * `bounds` are what the receiver holds each kind of message to. Throws ChannelError TOO_LARGE or UNSENDABLE.
 */
export function encodeFrame(message: unknown, maxBytes: number, bounds?: FrameBounds): EncodedFrame {
  const kind = bounds === undefined ? '' : String((message as { readonly t?: unknown }).t);
  const bound = bounds?.get(kind);
  if (bound === undefined) return writeFrame(pack(message), maxBytes);
  if (!bound.attachments) return fitting(kind, writeFrame(pack(message), maxBytes), bound);
  const [long, short] = LONG_TEXTS;
  try {
    return fitting(kind, writeFrame(pack(message, long), maxBytes), bound);
  } catch (error) {
    if (!(error instanceof ChannelError) || error.code !== 'TOO_LARGE') throw error;
    return fitting(kind, writeFrame(pack(message, short), maxBytes), bound);
  }
}

function fitting(kind: string, frame: EncodedFrame & { readonly jsonBytes: number }, bound: FrameBound): EncodedFrame {
  assertTextBytes(kind, frame.jsonBytes, bound);
  assertText(kind, frame.parts[0]!.subarray(HEAD_BYTES, HEAD_BYTES + frame.jsonBytes), bound);
  return frame;
}

function writeFrame(packed: Packed, maxBytes: number): EncodedFrame & { readonly jsonBytes: number } {
  const { json, attachments, attachmentBytes } = packed;
  const jsonBytes = Buffer.byteLength(json);
  const bytes = HEAD_BYTES + jsonBytes + attachmentBytes;
  if (bytes - LENGTH_BYTES > maxBytes) {
    throw new ChannelError('TOO_LARGE', `a message of ${bytes - LENGTH_BYTES} bytes is above the bound of ${maxBytes}`);
  }
  const inline = attachmentBytes <= INLINE_BYTES;
  const head = Buffer.allocUnsafe(HEAD_BYTES + jsonBytes + (inline ? attachmentBytes : 0));
  head.writeUInt32BE(bytes - LENGTH_BYTES, 0);
  head.writeUInt32BE(jsonBytes, LENGTH_BYTES);
  head.write(json, HEAD_BYTES, 'utf8');
  if (!inline) return { parts: [head, ...attachments], bytes, jsonBytes };
  let offset = HEAD_BYTES + jsonBytes;
  for (const attachment of attachments) {
    head.set(attachment, offset);
    offset += attachment.byteLength;
  }
  return { parts: [head], bytes, jsonBytes };
}

export interface DecodedFrame {
  readonly message: unknown;
  readonly bytes: number;
  /** Values in its text, as far as they were counted. */
  readonly values: number;
}

const NOTHING = Buffer.alloc(0);
/** Of what frames in pieces are put together in, least and most that is kept for the next ones. */
const KEPT_BYTES = 128 * 1024;
const MOST_KEPT_BYTES = 1024 * 1024;

/**
 * Cuts a byte stream into messages. Holds at most one frame (bounded) and what came behind it, and no more memory than twice
 * that, or 1 MiB, also where the bytes come one by one. With `bounds`, each kind of message is held to its own, and to what its
 * values and depth come to, before it is parsed.
 *
 * States: between frames, or within one, whose rest it waits for; with a chunk at hand that is somebody else's memory, from `push` to
 * `keep`, or not. A frame that breaks a bound throws, after which it is of no use.
 */
export class FrameDecoder {
  readonly #maxBytes: number;
  readonly #bounds: FrameBounds | undefined;
  /** The bytes not yet taken lie from `#start` to `#end`: in our own memory, or in the chunk at hand. */
  #buffer: Buffer = NOTHING;
  #start = 0;
  #end = 0;
  /** Frames that come in pieces are put together here, one after the other. */
  #own: Buffer = NOTHING;

  constructor(maxBytes: number, bounds?: FrameBounds) {
    this.#maxBytes = maxBytes;
    this.#bounds = bounds;
  }

  /** Bytes received and not yet taken as messages. */
  get heldBytes(): number {
    return this.#end - this.#start;
  }

  /** The chunk may be written into again after `keep`, and not before. */
  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    const held = this.heldBytes;
    if (held === 0) {
      this.#buffer = chunk;
      this.#start = 0;
      this.#end = chunk.length;
      return;
    }
    this.#makeRoom(held + chunk.length);
    chunk.copy(this.#buffer, this.#end);
    this.#end += chunk.length;
  }

  /** Takes what is left of the chunk into our own memory. */
  keep(): void {
    const held = this.heldBytes;
    if (held > 0) {
      this.#giveBack(held);
      this.#makeRoom(held);
      return;
    }
    this.#buffer = NOTHING;
    this.#start = 0;
    this.#end = 0;
    if (this.#own.length > MOST_KEPT_BYTES) this.#own = NOTHING;
  }

  /** What a large frame took is of no use any more once little is left behind it. */
  #giveBack(held: number): void {
    if (this.#own.length > MOST_KEPT_BYTES && 2 * held <= MOST_KEPT_BYTES) this.#own = NOTHING;
  }

  /** Room for `bytes` from `#start` on, in our own memory; grows by doubling, so that every byte is moved a bounded number of times. */
  #makeRoom(bytes: number): void {
    if (this.#buffer === this.#own && this.#start + bytes <= this.#own.length) return;
    if (2 * bytes > this.#own.length) this.#own = Buffer.allocUnsafeSlow(roomFor(2 * bytes));
    this.#buffer.copy(this.#own, 0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    this.#buffer = this.#own;
  }

  /** The next whole message, or undefined. Throws ChannelError TOO_LARGE or GARBAGE, as early as it can be seen. */
  next(): DecodedFrame | undefined {
    const held = this.heldBytes;
    if (held < HEAD_BYTES) return undefined;
    const length = this.#buffer.readUInt32BE(this.#start);
    const jsonBytes = this.#buffer.readUInt32BE(this.#start + LENGTH_BYTES);
    if (length > this.#maxBytes) {
      throw new ChannelError('TOO_LARGE', `a message of ${length} bytes is above the bound of ${this.#maxBytes}`);
    }
    if (length < LENGTH_BYTES || jsonBytes > length - LENGTH_BYTES) {
      throw new ChannelError('GARBAGE', `a frame of ${length} bytes claims ${jsonBytes} bytes of text`);
    }
    const total = LENGTH_BYTES + length;
    const attachmentBytes = length - LENGTH_BYTES - jsonBytes;
    const kind = this.#kind(Math.min(jsonBytes, held - HEAD_BYTES), jsonBytes);
    const bound = kind === undefined ? undefined : assertHead(this.#bounds!, kind, jsonBytes, attachmentBytes);
    if (held < total) return undefined;
    const frame = this.#buffer.subarray(this.#start, this.#start + total);
    this.#start += total;
    const textEnd = HEAD_BYTES + jsonBytes;
    const values = bound === undefined ? 0 : assertText(kind!, frame.subarray(HEAD_BYTES, textEnd), bound);
    const message = unpack(frame.toString('utf8', HEAD_BYTES, textEnd), frame.subarray(textEnd), bound !== undefined);
    // A name may stand twice in JSON, and the last one counts.
    if (kind !== undefined && (message as { readonly t?: unknown } | null)?.t !== kind) {
      throw new ChannelError('GARBAGE', `a message "${kind}" says that it is another`);
    }
    return { message, bytes: total, values };
  }

  /** The kind of the frame at hand, once enough of it is there; undefined where kinds have no bounds. */
  #kind(heldText: number, jsonBytes: number): string | undefined {
    if (this.#bounds === undefined) return undefined;
    if (jsonBytes > MOST_TEXT_BYTES)
      throw new ChannelError('TOO_LARGE', `a message of ${jsonBytes} bytes of text, ${MOST_TEXT_BYTES} are allowed`);
    if (heldText < Math.min(KIND_BYTES, jsonBytes)) return undefined;
    return kindOf(this.#buffer.subarray(this.#start + HEAD_BYTES, this.#start + HEAD_BYTES + heldText));
  }
}

/** A power of two as far as it is kept: what is a little longer each time finds room in it. */
function roomFor(bytes: number): number {
  return bytes > MOST_KEPT_BYTES ? bytes : Math.max(KEPT_BYTES, 2 ** Math.ceil(Math.log2(bytes)));
}
