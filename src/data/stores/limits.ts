import { HostError } from '../../errors/index.js';
import { Gathered } from '../../lib/gathered.js';
import { shown } from './location.js';

/** Most URIs that one listing answers. */
const MAX_LISTED = 100_000;

export function tooLarge(uri: string, seen: string, limit: number): HostError {
  return new HostError('DATA_TOO_LARGE', `${shown(uri)}: ${seen}, and at most ${limit} bytes are accepted.`);
}

/** The smaller of the store's bound and the call's. */
export function boundOf(storeBytes: number, callBytes: number | undefined): number {
  return callBytes === undefined ? storeBytes : Math.min(storeBytes, callBytes);
}

export function assertListable(uri: string, count: number): void {
  if (count <= MAX_LISTED) return;
  throw new HostError('DATA_TOO_LARGE', `${shown(uri)}: more than ${MAX_LISTED} objects; list a deeper folder.`);
}

/** Joins pieces, refusing once they exceed the bound; the source is closed then. */
export async function collect(uri: string, pieces: AsyncIterable<Uint8Array>, limit: number): Promise<Buffer> {
  const gathered = new Gathered();
  for await (const piece of bounded(uri, pieces, limit)) gathered.add(piece, limit);
  return gathered.all();
}

/** The same pieces, until they exceed the bound. Guards against sources that say nothing, or not the truth, of their size. */
export async function* bounded(
  uri: string,
  pieces: AsyncIterable<Uint8Array>,
  limit: number,
): AsyncGenerator<Uint8Array> {
  let total = 0;
  for await (const piece of pieces) {
    total += piece.length;
    if (total > limit) throw tooLarge(uri, 'the object goes on', limit);
    yield piece;
  }
}
