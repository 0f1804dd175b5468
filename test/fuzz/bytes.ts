import type { Dice } from '../support/decisions.js';

/** Numbers at which counts and lengths go wrong, in 1, 2, 4 and 8 bytes. */
const EDGES = [0n, 1n, 0x7fn, 0x80n, 0xffn, 0x7fffn, 0xffffn, 0x7fff_ffffn, 0x8000_0000n, 0xffff_ffffn, 2n ** 63n, -1n];
const WIDTHS = [1, 2, 4, 8];
const MOST_CHANGES = 4;
/** What grows by repetition stays below this, so that an input costs little. */
const MOST_BYTES = 64 * 1024;

export const below = (dice: Dice, end: number): number => Math.min(end - 1, Math.floor(dice.next() * end));

export function oneOf<T>(dice: Dice, values: readonly T[]): T {
  return values[below(dice, values.length)] as T;
}

export function randomBytes(dice: Dice, most: number): Buffer {
  return Buffer.from(Array.from({ length: below(dice, most + 1) }, () => below(dice, 256)));
}

type Change = (dice: Dice, bytes: Buffer, others: readonly Buffer[]) => Buffer;

const copyOf = (bytes: Buffer): Buffer => Buffer.from(bytes);

function range(dice: Dice, bytes: Buffer): [from: number, to: number] {
  const from = below(dice, bytes.length + 1);
  return [from, from + below(dice, Math.min(64, bytes.length - from) + 1)];
}

const CHANGES: readonly Change[] = [
  function flipBit(dice, bytes) {
    const copy = copyOf(bytes);
    if (copy.length > 0) copy[below(dice, copy.length)]! ^= 1 << below(dice, 8);
    return copy;
  },
  function setByte(dice, bytes) {
    const copy = copyOf(bytes);
    if (copy.length > 0) copy[below(dice, copy.length)] = below(dice, 256);
    return copy;
  },
  function writeEdge(dice, bytes) {
    const width = oneOf(dice, WIDTHS);
    if (bytes.length < width) return bytes;
    const copy = copyOf(bytes);
    const edge = Buffer.alloc(8);
    edge.writeBigUInt64BE(BigInt.asUintN(64, oneOf(dice, EDGES)));
    edge.copy(copy, below(dice, copy.length - width + 1), 8 - width);
    return copy;
  },
  function cutOut(dice, bytes) {
    const [from, to] = range(dice, bytes);
    return Buffer.concat([bytes.subarray(0, from), bytes.subarray(to)]);
  },
  function insert(dice, bytes) {
    const at = below(dice, bytes.length + 1);
    return Buffer.concat([bytes.subarray(0, at), randomBytes(dice, 16), bytes.subarray(at)]);
  },
  function repeat(dice, bytes) {
    const [from, to] = range(dice, bytes);
    const times = 1 + below(dice, dice.chance(0.05) ? 500 : 4);
    if (bytes.length + (to - from) * times > MOST_BYTES) return bytes;
    const part = bytes.subarray(from, to);
    return Buffer.concat([bytes.subarray(0, to), ...Array<Buffer>(times).fill(part), bytes.subarray(to)]);
  },
  (dice, bytes) => bytes.subarray(0, below(dice, bytes.length + 1)),
  function splice(dice, bytes, others) {
    if (others.length === 0) return bytes;
    const other = oneOf(dice, others);
    return Buffer.concat([
      bytes.subarray(0, below(dice, bytes.length + 1)),
      other.subarray(below(dice, other.length + 1)),
    ]);
  },
];

/** The bytes with one to four changes; the given ones are left as they are. `others`: of the same kind, to be crossed with. */
export function mutateBytes(dice: Dice, bytes: Buffer, others: readonly Buffer[] = []): Buffer {
  let changed = bytes;
  for (let left = 1 + below(dice, MOST_CHANGES); left > 0; left--)
    changed = oneOf(dice, CHANGES)(dice, changed, others);
  return changed;
}
