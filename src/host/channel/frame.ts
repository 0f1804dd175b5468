import { ChannelError } from './channel-error.js';
import { pack, unpack } from './pack.js';

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

/** Throws ChannelError TOO_LARGE or UNSENDABLE. */
export function encodeFrame(message: unknown, maxBytes: number): EncodedFrame {
  const { json, attachments, attachmentBytes } = pack(message);
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
  if (!inline) return { parts: [head, ...attachments], bytes };
  let offset = HEAD_BYTES + jsonBytes;
  for (const attachment of attachments) {
    head.set(attachment, offset);
    offset += attachment.byteLength;
  }
  return { parts: [head], bytes };
}

/** Cuts a byte stream into messages. Holds at most one frame (bounded) and the last chunk. */
export class FrameDecoder {
  readonly #maxBytes: number;
  #chunks: Buffer[] = [];
  #held = 0;

  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Bytes received and not yet taken as messages. */
  get heldBytes(): number {
    return this.#held;
  }

  push(chunk: Buffer): void {
    if (chunk.length === 0) return;
    this.#chunks.push(chunk);
    this.#held += chunk.length;
  }

  /** The next whole message with its size in bytes, or undefined. Throws ChannelError TOO_LARGE or GARBAGE. */
  next(): { message: unknown; bytes: number } | undefined {
    if (this.#held < HEAD_BYTES) return undefined;
    const first = this.#front(HEAD_BYTES);
    const length = first.readUInt32BE(0);
    const jsonBytes = first.readUInt32BE(LENGTH_BYTES);
    if (length > this.#maxBytes) {
      throw new ChannelError('TOO_LARGE', `a message of ${length} bytes is above the bound of ${this.#maxBytes}`);
    }
    if (length < LENGTH_BYTES || jsonBytes > length - LENGTH_BYTES) {
      throw new ChannelError('GARBAGE', `a frame of ${length} bytes claims ${jsonBytes} bytes of text`);
    }
    const total = LENGTH_BYTES + length;
    if (this.#held < total) return undefined;
    const frame = this.#take(total);
    const textEnd = HEAD_BYTES + jsonBytes;
    return { message: unpack(frame.toString('utf8', HEAD_BYTES, textEnd), frame.subarray(textEnd)), bytes: total };
  }

  /** The first chunk, made at least `size` bytes long. */
  #front(size: number): Buffer {
    const first = this.#chunks[0]!;
    if (first.length >= size) return first;
    const joined = Buffer.concat(this.#chunks);
    this.#chunks = [joined];
    return joined;
  }

  #take(size: number): Buffer {
    const front = this.#front(size);
    this.#held -= size;
    if (front.length === size) this.#chunks.shift();
    else this.#chunks[0] = front.subarray(size);
    return front.subarray(0, size);
  }
}
