/** Above it no integer of 64 bits can have been meant. */
const MAX_WHOLE = 2 ** 64;

/**
 * Whether a number is a whole one that was rounded before we saw it, when the text or the bigint it came from became a
 * number: an id of 64 bits would be another one. Larger numbers can only be meant as floats.
 */
function isRounded(value: number): boolean {
  return Number.isInteger(value) && !Number.isSafeInteger(value) && Math.abs(value) <= MAX_WHOLE;
}

/** The path of the first such number in a tree of JSON. */
export function roundedWhole(value: unknown, path: string): string | undefined {
  if (typeof value === 'number') return isRounded(value) ? path : undefined;
  if (typeof value !== 'object' || value === null) return undefined;
  for (const [key, item] of Object.entries(value)) {
    const found = roundedWhole(item, Array.isArray(value) ? `${path}[${key}]` : `${path}.${key}`);
    if (found !== undefined) return found;
  }
  return undefined;
}
