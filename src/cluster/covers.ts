import type { Owners } from './owners.js';

/**
 * Which parts this replica has, for lists and figures that are about those alone: `parts 0-3, 6 of 8`, or `no part of 8`. Undefined where a state
 * is one.
 */
export function coversOf(owners: Pick<Owners, 'parts' | 'ownerOf'>): string | undefined {
  const { parts } = owners;
  if (parts === 1) return undefined;
  const ranges: { from: number; to: number }[] = [];
  for (let part = 0; part < parts; part++) {
    if (owners.ownerOf(part) !== 'here') continue;
    const last = ranges.at(-1);
    if (last?.to === part - 1) last.to = part;
    else ranges.push({ from: part, to: part });
  }
  if (ranges.length === 0) return `no part of ${parts}`;
  const shown = ranges.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`));
  return `parts ${shown.join(', ')} of ${parts}`;
}
