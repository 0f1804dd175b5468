import { isWellFormed, wellFormed } from '../lib/text.js';

const MAX_DEPTH = 100;

/**
 * The first value, by its path, that does not come out of its JSON text as it went in: `after` is that text parsed.
 * Undefined where nothing is lost. The zero without a sign stands for both.
 */
export function jsonLoss(before: unknown, after: unknown, path: string): string | undefined {
  return difference(before, after, path, 0);
}

/**
 * The path of the first text or key with half a surrogate pair. JSON escapes such halves, and whoever reads them then as
 * UTF-8, or keeps them in a database, has another text.
 */
export function halfPair(value: unknown, path: string): string | undefined {
  if (typeof value === 'string') return isWellFormed(value) ? undefined : path;
  if (typeof value !== 'object' || value === null) return undefined;
  return firstOf(Object.entries(value), ([key, item]) => {
    const place = Array.isArray(value) ? `${path}[${key}]` : `${path}.${wellFormed(key)}`;
    return isWellFormed(key) ? halfPair(item, place) : place;
  });
}

function scalarLoss(before: unknown, after: unknown, path: string): string | undefined {
  if (before !== after) return path;
  // Such a number was rounded before we saw it, when the text it came from was parsed.
  if (Number.isInteger(before) && !Number.isSafeInteger(before)) {
    return `${path} (a whole number beyond 2^53; keep it as a text)`;
  }
  return undefined;
}

/** The path of the first value that JSON changes. A key with value undefined is the same as no key. */
function difference(before: unknown, after: unknown, path: string, depth: number): string | undefined {
  if (depth > MAX_DEPTH) return `${path} (nested deeper than ${MAX_DEPTH})`;
  if (typeof before !== 'object' || before === null) {
    return scalarLoss(before, after, path);
  }
  if (typeof after !== 'object' || after === null) return path;
  if (Array.isArray(before)) {
    if (!Array.isArray(after) || before.length !== after.length) return path;
    return firstOf(before.keys(), (i) => difference(before[i], after[i], `${path}[${i}]`, depth + 1));
  }
  const prototype: unknown = Object.getPrototypeOf(before);
  if (prototype !== Object.prototype && prototype !== null) return path;
  const left = before as Record<string, unknown>;
  const right = after as Record<string, unknown>;
  return firstOf(Object.keys(left), (key) =>
    left[key] === undefined ? undefined : difference(left[key], right[key], `${path}.${key}`, depth + 1),
  );
}

function firstOf<T>(items: Iterable<T>, find: (item: T) => string | undefined): string | undefined {
  for (const item of items) {
    const found = find(item);
    if (found !== undefined) return found;
  }
  return undefined;
}
