import type { Dice } from '../support/decisions.js';
import { below, mutateBytes, oneOf, randomBytes } from './bytes.js';
import { hostileText } from './values.js';

/**
 * A message in protobuf's wire format as a tree, whatever its type: bytes that read as a message are taken for one. So its
 * fields can be changed, moved and repeated with every length still right, where changed bytes seldom get past the lengths.
 */
type Field =
  | { readonly kind: 'varint'; id: number; value: bigint }
  | { readonly kind: 'fixed'; id: number; bytes: Buffer }
  | { readonly kind: 'bytes'; id: number; bytes: Buffer }
  | { readonly kind: 'message'; id: number; fields: Field[] };

const MOST_DEPTH = 12;

function varint(bytes: Buffer, at: number): readonly [value: bigint, next: number] | undefined {
  let value = 0n;
  for (let shift = 0n; shift < 70n; shift += 7n, at++) {
    const byte = bytes[at];
    if (byte === undefined) return undefined;
    value |= BigInt(byte & 0x7f) << shift;
    if (byte < 0x80) return [value, at + 1];
  }
  return undefined;
}

/** Undefined for what is no message. */
function parse(bytes: Buffer, depth = 0): Field[] | undefined {
  const fields: Field[] = [];
  for (let at = 0; at < bytes.length; ) {
    const tag = varint(bytes, at);
    if (tag === undefined || tag[0] >> 3n === 0n || tag[0] >> 3n > 0x1fff_ffffn) return undefined;
    const id = Number(tag[0] >> 3n);
    const type = Number(tag[0] & 7n);
    at = tag[1];
    if (type === 0) {
      const read = varint(bytes, at);
      if (read === undefined) return undefined;
      fields.push({ kind: 'varint', id, value: read[0] });
      at = read[1];
    } else if (type === 1 || type === 5) {
      const end = at + (type === 1 ? 8 : 4);
      if (end > bytes.length) return undefined;
      fields.push({ kind: 'fixed', id, bytes: bytes.subarray(at, end) });
      at = end;
    } else if (type === 2) {
      const length = varint(bytes, at);
      if (length === undefined || length[0] > BigInt(bytes.length - length[1])) return undefined;
      const end = length[1] + Number(length[0]);
      const part = bytes.subarray(length[1], end);
      const inner = part.length > 0 && depth < MOST_DEPTH ? parse(part, depth + 1) : undefined;
      fields.push(inner === undefined ? { kind: 'bytes', id, bytes: part } : { kind: 'message', id, fields: inner });
      at = end;
    } else return undefined;
  }
  return fields;
}

function writeVarint(value: bigint): Buffer {
  const bytes: number[] = [];
  let left = BigInt.asUintN(64, value);
  for (; left > 0x7fn; left >>= 7n) bytes.push(Number(left & 0x7fn) | 0x80);
  bytes.push(Number(left));
  return Buffer.from(bytes);
}

const TYPES = { varint: 0n, bytes: 2n, message: 2n } as const;

function write(fields: readonly Field[]): Buffer {
  const parts: Buffer[] = [];
  for (const field of fields) {
    const type = field.kind === 'fixed' ? (field.bytes.length === 8 ? 1n : 5n) : TYPES[field.kind];
    parts.push(writeVarint((BigInt(field.id) << 3n) | type));
    if (field.kind === 'varint') parts.push(writeVarint(field.value));
    else if (field.kind === 'fixed') parts.push(field.bytes);
    else {
      const body = field.kind === 'message' ? write(field.fields) : field.bytes;
      parts.push(writeVarint(BigInt(body.length)), body);
    }
  }
  return Buffer.concat(parts);
}

/** Lists that hold fields, the message's own first. A message that is repeated with all that it nests has half a million. */
function listsOf(fields: Field[], lists: Field[][] = []): Field[][] {
  lists.push(fields);
  for (const field of fields) if (field.kind === 'message') listsOf(field.fields, lists);
  return lists;
}

const VARINTS = [
  0n,
  1n,
  2n,
  3n,
  127n,
  128n,
  255n,
  2n ** 31n - 1n,
  2n ** 31n,
  2n ** 32n,
  2n ** 53n,
  2n ** 63n - 1n,
  2n ** 63n,
  -1n,
];
const MOST_NESTED = 300;

function someField(dice: Dice): Field {
  const id = 1 + below(dice, dice.chance(0.1) ? 2_000 : 20);
  const kind = below(dice, 4);
  if (kind === 0) return { kind: 'varint', id, value: oneOf(dice, VARINTS) };
  if (kind === 1) return { kind: 'fixed', id, bytes: Buffer.alloc(dice.chance(0.5) ? 8 : 4, below(dice, 256)) };
  if (kind === 2) return { kind: 'bytes', id, bytes: Buffer.from(hostileText(dice)) };
  return { kind: 'bytes', id, bytes: randomBytes(dice, 60) };
}

/** What repeats a field very often does so once in a message: a repetition of repetitions would only cost memory here. */
interface Budget {
  repeats: number;
}

function timesToRepeat(dice: Dice, budget: Budget): number {
  if (budget.repeats === 0 || !dice.chance(0.05)) return 1 + below(dice, 3);
  budget.repeats = 0;
  return 1 + below(dice, 2_000);
}

function change(dice: Dice, list: Field[], others: readonly Field[][], budget: Budget): void {
  const at = below(dice, list.length + 1);
  const field = list[at];
  const how = below(dice, 8);
  if (field === undefined || how === 0) list.splice(at, 0, someField(dice));
  else if (how === 1) list.splice(at, 1);
  else if (how === 2) list.splice(at, 0, ...Array<Field>(timesToRepeat(dice, budget)).fill(field));
  else if (how === 3) field.id = 1 + below(dice, 20);
  else if (how === 4) list[at] = { kind: 'message', id: field.id, fields: [...oneOf(dice, others)] };
  else if (how === 5) {
    let inner: Field = field;
    for (let level = below(dice, dice.chance(0.1) ? MOST_NESTED : 4); level > 0; level--) {
      inner = { kind: 'message', id: dice.chance(0.8) ? field.id : 1 + below(dice, 5), fields: [inner] };
    }
    list[at] = inner;
  } else if (field.kind === 'varint') field.value = oneOf(dice, VARINTS);
  else if (field.kind === 'bytes')
    field.bytes = dice.chance(0.5) ? Buffer.from(hostileText(dice)) : mutateBytes(dice, field.bytes);
  else list[at] = someField(dice);
}

/** The message with one to four of its fields changed; bytes that are no message come back changed as bytes. */
export function mutateMessage(dice: Dice, message: Buffer, others: readonly Buffer[] = []): Buffer {
  const fields = parse(message);
  if (fields === undefined) return mutateBytes(dice, message, others);
  const budget = { repeats: 1 };
  for (let left = 1 + below(dice, 4); left > 0; left--) {
    const lists = listsOf(fields);
    const other = others.length === 0 ? undefined : parse(oneOf(dice, others));
    change(dice, oneOf(dice, lists), other === undefined ? [[someField(dice)]] : listsOf(other), budget);
  }
  return write(fields);
}
