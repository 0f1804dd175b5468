/** By their numbers, one after the other; what follows a hyphen, and is no release yet, comes before the release. */
export function compareVersions(a: string, b: string): number {
  const [numbersA, pre] = numbersOf(a);
  const [numbersB, preB] = numbersOf(b);
  for (let at = 0; at < Math.max(numbersA.length, numbersB.length); at++) {
    const difference = (numbersA[at] ?? 0) - (numbersB[at] ?? 0);
    if (difference !== 0) return difference;
  }
  if (pre === preB) return 0;
  if (pre === '' || preB === '') return pre === '' ? 1 : -1;
  return pre < preB ? -1 : 1;
}

function numbersOf(version: string): [numbers: readonly number[], pre: string] {
  const [numbers = '', ...pre] = version.split('-');
  return [numbers.split('.').map((text) => Number.parseInt(text, 10) || 0), pre.join('-')];
}

/** The newer of two releases, where there are two. */
export function newerOf(a: string | undefined, b: string | undefined): string | undefined {
  if (a === undefined || b === undefined) return a ?? b;
  return compareVersions(a, b) >= 0 ? a : b;
}
