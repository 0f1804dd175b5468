import { HostError } from '../errors/index.js';
import { isWellFormed } from '../lib/text.js';
import { WIRE_LEN, WIRE_VARINT } from './wire.js';

/** More than an answer of the hot path takes; it grows where one takes more. */
const INITIAL_BYTES = 4_096;
/** Of a varint of 53 bits. */
const MAX_VARINT_BYTES = 8;

/**
 * Writes a message from its last field to its first, so that what is embedded is written before its length has to be. For the few
 * fields of an answer on the hot path: a codec, which goes by the plan of a type, takes ten times as long. Proto3: what is empty is left
 * out. One writer serves all messages that are written one after the other; from `begin` to `finish` it is one message's.
 */
export class BackWriter {
  #bytes = Buffer.allocUnsafeSlow(INITIAL_BYTES);
  /** Where the first byte that is written stands. */
  #at = 0;

  begin(): void {
    this.#at = this.#bytes.length;
  }

  /** Bytes written so far. */
  get size(): number {
    return this.#bytes.length - this.#at;
  }

  /** Fields that are encoded already. */
  fields(encoded: Buffer): void {
    this.#room(encoded.length);
    this.#at -= encoded.length;
    encoded.copy(this.#bytes, this.#at);
  }

  /** A non-negative safe integer, of whatever type takes one: uint32, uint64, int64, and so on. */
  number(field: number, value: number): void {
    if (value === 0) return;
    this.#room(2 * MAX_VARINT_BYTES);
    this.#varint(value);
    this.#varint(field * 8 + WIRE_VARINT);
  }

  /** Throws ENCODE_INVALID for half a surrogate pair, which has no UTF-8. */
  text(field: number, text: string): void {
    if (text === '') return;
    if (!isWellFormed(text)) {
      throw new HostError('ENCODE_INVALID', `field ${field}: expected well-formed text without lone surrogates`);
    }
    const length = Buffer.byteLength(text);
    this.#room(length + 2 * MAX_VARINT_BYTES);
    this.#at -= length;
    this.#bytes.write(text, this.#at, length, 'utf8');
    this.#head(field, length);
  }

  /** Makes what was written since the size was `before` the content of this field. */
  embed(field: number, before: number): void {
    this.#room(2 * MAX_VARINT_BYTES);
    this.#head(field, this.size - before);
  }

  /** The message, in memory that is its own or a piece of Node's pool. */
  finish(): Buffer {
    const message = Buffer.allocUnsafe(this.size);
    this.#bytes.copy(message, 0, this.#at);
    return message;
  }

  #head(field: number, length: number): void {
    this.#varint(length);
    this.#varint(field * 8 + WIRE_LEN);
  }

  #varint(value: number): void {
    const bytes = this.#bytes;
    if (value < 0x80) {
      bytes[--this.#at] = value;
      return;
    }
    let length = 1;
    for (let left = Math.floor(value / 128); left > 0; left = Math.floor(left / 128)) length += 1;
    this.#at -= length;
    let left = value;
    for (let index = 0; index < length; index++, left = Math.floor(left / 128)) {
      bytes[this.#at + index] = index < length - 1 ? (left % 128) | 0x80 : left;
    }
  }

  #room(bytes: number): void {
    if (this.#at >= bytes) return;
    const { size } = this;
    const larger = Buffer.allocUnsafeSlow(2 * (size + bytes));
    this.#bytes.copy(larger, larger.length - size, this.#at);
    this.#bytes = larger;
    this.#at = larger.length - size;
  }
}
