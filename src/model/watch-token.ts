import { HostError } from '../errors/index.js';
import { PARTITIONS } from './handle.js';

/** Where a reader stands in the ring of one part. */
interface Place {
  /** Of the ring, 12 hex digits. */
  readonly run: string;
  readonly sequence: number;
  /** It was still being told the current state. */
  readonly tellsCurrent: boolean;
}

const PLACE = /^([0-9a-f]{12})\.([0-9]{1,15})(c?)$/;
/** Of a token with a position for each of several parts. */
const PARTED = 'p.';
/** No ring has this run. */
const NO_RUN = '000000000000';
const RUN_BYTES = 6;

/** A position of nobody's ring: who comes with it is told that it missed something, and what stands where it asked for that. */
export const LOST_POSITION = `${NO_RUN}.1`;
/** Said of a part that its replica does not have any more, or never had. */
export const GONE_POSITION = `${NO_RUN}.2`;
/** In a token: from now on, as an empty one. */
const FRESH = `${NO_RUN}.0`;

/** Throws RESUME_TOKEN_INVALID for a token that no daemon made. */
export function readPlace(token: string): Place {
  const match = PLACE.exec(token);
  if (match === null) throw invalid(token);
  return { run: match[1] as string, sequence: Number(match[2]), tellsCurrent: match[3] === 'c' };
}

export function placeToken({ run, sequence, tellsCurrent }: Place): string {
  return `${run}.${sequence}${tellsCurrent ? 'c' : ''}`;
}

/**
 * A token with the position of each part: 15 bytes of Base64 for one of them at most times, and less than 6 KiB for 256. Empty positions are of readers
 * that begin.
 */
export function partedToken(positions: Iterable<readonly [part: number, position: string]>): string {
  const bytes: number[] = [];
  for (const [part, position] of positions) {
    const { run, sequence, tellsCurrent } = readPlace(position === '' ? FRESH : position);
    bytes.push(part, ...Buffer.from(run, 'hex'));
    let left = sequence * 2 + (tellsCurrent ? 1 : 0);
    for (; left > 0x7f; left = Math.floor(left / 128)) bytes.push((left % 128) | 0x80);
    bytes.push(left);
  }
  return PARTED + Buffer.from(bytes).toString('base64url');
}

/** The positions of a token, by part. Throws RESUME_TOKEN_INVALID for one that `partedToken` did not make of so many parts. */
export function positionsOf(token: string, parts: number): Map<number, string> {
  const positions = new Map<number, string>();
  if (!token.startsWith(PARTED)) throw invalid(token);
  const bytes = Buffer.from(token.slice(PARTED.length), 'base64url');
  let at = 0;
  while (at < bytes.length) {
    const part = bytes[at] as number;
    const run = bytes.toString('hex', at + 1, at + 1 + RUN_BYTES);
    let value = 0;
    let byte: number | undefined = 0x80;
    at += 1 + RUN_BYTES;
    for (let factor = 1; byte >= 0x80; factor *= 128) {
      byte = bytes[at++];
      if (byte === undefined) throw invalid(token);
      value += (byte & 0x7f) * factor;
      if (value > 2 * 10 ** 15) throw invalid(token);
    }
    const position = placeToken({ run, sequence: Math.floor(value / 2), tellsCurrent: value % 2 === 1 });
    if (part >= Math.min(parts, PARTITIONS) || positions.has(part)) throw invalid(token);
    positions.set(part, position === FRESH ? '' : position);
  }
  if (partedToken(positions) !== token) throw invalid(token);
  return positions;
}

function invalid(token: string): HostError {
  return new HostError(
    'RESUME_TOKEN_INVALID',
    `resume_token ${JSON.stringify(token.slice(0, 40))} is not one that Watch sent; leave it empty to start anew`,
  );
}
