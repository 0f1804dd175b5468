/** More than any Slurm takes (its largest MaxArraySize is 4,000,001); stops a range from filling the memory. */
const MOST = 4_000_001;

/**
 * The element indexes of Slurm's array syntax (`0-15`, `0,6,16-32`, `0-15:4`, each with an optional `%limit`), in
 * ascending order without repeats; undefined where it is not that syntax.
 */
export function parseArray(spec: string): number[] | undefined {
  const match = /^([\d,:-]+)(?:%([1-9]\d*))?$/.exec(spec);
  if (match === null) return undefined;
  const indexes = new Set<number>();
  for (const part of (match[1] ?? '').split(',')) {
    const range = /^(\d{1,7})(?:-(\d{1,7})(?::([1-9]\d{0,6}))?)?$/.exec(part);
    if (range === null) return undefined;
    const first = Number(range[1]);
    const last = range[2] === undefined ? first : Number(range[2]);
    if (last < first || last >= MOST) return undefined;
    for (let index = first; index <= last; index += Number(range[3] ?? 1)) indexes.add(index);
  }
  return [...indexes].sort((a, b) => a - b);
}

/** Indexes in Slurm's syntax, `[0, 1, 2, 7]` → `0-2,7`, cut short for messages. */
export function formatIndexes(indexes: readonly number[], mostParts = 10): string {
  const parts: string[] = [];
  for (let at = 0; at < indexes.length; ) {
    let end = at;
    while (indexes[end + 1] === (indexes[end] ?? 0) + 1) end++;
    parts.push(end === at ? `${indexes[at]}` : `${indexes[at]}-${indexes[end]}`);
    at = end + 1;
  }
  return parts.length > mostParts ? `${parts.slice(0, mostParts).join(',')},…` : parts.join(',');
}
