import { WIRE_LEN, WIRE_VARINT } from '../idl/wire.js';

/** Of the fields of a message, each at its number. */
export type Wires = readonly (typeof WIRE_LEN | typeof WIRE_VARINT | undefined)[];

/** What a message has of these forms: `wiresOf('-LVL')` has texts, bytes or messages at 1 and 3, and a number at 2. */
export function wiresOf(forms: string): Wires {
  return Array.from(forms, (form) => (form === 'L' ? WIRE_LEN : form === 'V' ? WIRE_VARINT : undefined));
}

/** A length beyond it exceeds any message. */
const MAX_FACTOR = 0x1000_0000;

/**
 * The wanted fields of a message (all of wire type LEN), in the order asked for, found without decoding or copying anything. Undefined where
 * the message is not laid out as encoders do it: with a field that is none of `wires`, a wanted one twice, or one that ends past the message.
 * A codec may read that all the same, and then has the word.
 */
export function peekFields(
  message: Buffer,
  wires: Wires,
  wanted: readonly number[],
): readonly (Buffer | undefined)[] | undefined {
  const found: (Buffer | undefined)[] = wanted.map(() => undefined);
  let at = 0;
  while (at < message.length) {
    const tag = message[at]!;
    // A number below 16 takes one byte, and no message here has others.
    if (tag >= 0x80 || wires[tag >> 3] !== (tag & 7)) return undefined;
    let value = 0;
    let factor = 1;
    let byte = 0x80;
    for (at += 1; byte >= 0x80; at += 1, factor *= 128) {
      if (at >= message.length || factor > MAX_FACTOR) return undefined;
      byte = message[at]!;
      value += (byte & 0x7f) * factor;
    }
    if ((tag & 7) !== WIRE_LEN) continue;
    if (at + value > message.length) return undefined;
    const place = wanted.indexOf(tag >> 3);
    if (place >= 0) {
      if (found[place] !== undefined) return undefined;
      found[place] = message.subarray(at, at + value);
    }
    at += value;
  }
  return found;
}

/** A text field as a codec reads it; empty where it is not set. */
export function textOf(field: Buffer | undefined): string {
  return field?.toString('utf8') ?? '';
}
