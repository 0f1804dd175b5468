import { rangesOf } from '../lib/ranges.js';
import type { Owners } from './owners.js';

/**
 * Which parts this replica has, for lists and figures that are about those alone: `parts 0-3, 6 of 8`, or `no part of 8`. Undefined where a state
 * is one.
 */
export function coversOf(owners: Pick<Owners, 'parts' | 'ownerOf'>): string | undefined {
  const { parts } = owners;
  if (parts === 1) return undefined;
  const own = Array.from({ length: parts }, (_, part) => part).filter((part) => owners.ownerOf(part) === 'here');
  return own.length === 0 ? `no part of ${parts}` : `parts ${rangesOf(own).join(', ')} of ${parts}`;
}
