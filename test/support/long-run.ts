/** What the programs of chaos, fuzz and soak share: flags that are numbers, and the line that ends a run. */

/** The value of a flag. Throws an Error with the usage where it is no number from `least` on, or no integer that has to be one. */
export function numberFlag(
  name: string,
  text: string,
  { least, whole = false, usage }: { least: number; whole?: boolean; usage: string },
): number {
  const value = Number(text);
  if (text.trim() !== '' && value >= least && (Number.isSafeInteger(value) || (!whole && Number.isFinite(value)))) {
    return value;
  }
  throw new Error(`--${name} ${text}: expected ${whole ? 'an integer' : 'a number'} from ${least} on\n${usage}`);
}

/** One JSON object, or the same as words. */
export function resultLine(result: object, json: boolean): string {
  if (json) return JSON.stringify(result);
  return Object.entries(result)
    .map(([name, value]) => `${name} ${value}`)
    .join(', ');
}
