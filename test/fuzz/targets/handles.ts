import { crc32 } from 'node:zlib';
import { HostError } from '../../../src/errors/index.js';
import { decodeHandle, encodeHandle, type Handle, macOf, type ReadHandle } from '../../../src/model/handle.js';
import { HandleKeys } from '../../../src/model/handle-keys.js';
import type { Dice } from '../../support/decisions.js';
import { identityOf } from '../../support/identity.js';
import { mutateBytes, oneOf } from '../bytes.js';
import { Finding, type Target } from '../target.js';
import { mutateValue } from '../values.js';

const KEYS = new HandleKeys(['k'.repeat(40), 'o'.repeat(40)]);
const SIGNER = KEYS.signer!;
const HANDLES: readonly Handle[] = [
  { identity: identityOf('a1', { outputNames: ['x', 'y'] }), meta: Buffer.from('{"job":"j-1","cluster":"c"}') },
  { identity: identityOf('b2'), meta: undefined },
  { identity: identityOf('c3', { outputNames: undefined }), meta: Buffer.alloc(0), partition: 7 },
];
const SIGNED = HANDLES.map((handle) => encodeHandle(handle, SIGNER));
const BYTES = [...SIGNED, ...HANDLES.map((handle) => encodeHandle(handle))];
/** See `encodeHandle`. */
const CHECKED = 8;
const HEAD = 15;
const MAC_END = 31;

/** With the checksum, and where it is said to be signed the MAC, that its bytes should have. */
export function madeRight(bytes: Buffer, signer = SIGNER): Buffer {
  if (bytes.length < MAC_END) return bytes;
  const copy = Buffer.from(bytes);
  if (copy.readUInt32BE(CHECKED) !== 0) {
    copy.writeUInt32BE(signer.keyId, CHECKED);
    macOf(copy, signer).copy(copy, HEAD, 0, MAC_END - HEAD);
  }
  copy.writeUInt32BE(crc32(copy.subarray(CHECKED)), 4);
  return copy;
}

/** The list in its header changed, whatever follows from that. */
function changedHeader(dice: Dice, bytes: Buffer): Buffer {
  const end = MAC_END + bytes.readUInt16BE(CHECKED + 5);
  const header = JSON.stringify(mutateValue(dice, JSON.parse(bytes.toString('utf8', MAC_END, end)))) ?? '';
  const out = Buffer.concat([bytes.subarray(0, MAC_END), Buffer.from(header), bytes.subarray(end)]);
  out.writeUInt16BE(Buffer.byteLength(header) & 0xffff, CHECKED + 5);
  return out;
}

export function changedHandle(dice: Dice): Buffer {
  return dice.chance(0.5) ? changedHeader(dice, oneOf(dice, SIGNED)) : mutateBytes(dice, oneOf(dice, BYTES), BYTES);
}

function decoded(bytes: Buffer): ReadHandle | undefined {
  try {
    return decodeHandle(bytes);
  } catch (error) {
    if (HostError.is(error)) return undefined;
    throw error;
  }
}

export const handles: Target = {
  name: 'handles',
  summary:
    'handles with and without a right MAC: what is read is written again as the same bytes, what was altered is found',
  open: () => ({
    one(dice) {
      const changed = changedHandle(dice);
      const right = madeRight(changed);
      const handle = decoded(right);
      if (handle !== undefined && handle.signedWith !== undefined) {
        if (KEYS.check(right, handle) !== 'right')
          throw new Finding('wrong', `a right MAC is not taken: ${right.toString('hex')}`);
        if (!encodeHandle(handle, SIGNER).equals(right))
          throw new Finding('wrong', `written anew it differs: ${right.toString('hex')}`);
      }
      const other = decoded(changed);
      const known = BYTES.some((bytes) => bytes.equals(changed));
      if (
        !known &&
        other?.signedWith !== undefined &&
        KEYS.check(changed, other) === 'right' &&
        !changed.equals(right)
      ) {
        throw new Finding('wrong', `an altered handle is taken for signed: ${changed.toString('hex')}`);
      }
    },
  }),
};
