import { withoutCommentsAndTemplates } from './imports.js';

/**
 * Lines where a key may find what every object has (`constructor`, `__proto__`): `key in OBJECT` with a key that is no
 * literal, and `TABLE[key]` of a constant table that reckons with a miss. A table with foreign keys is a Map, or asked
 * by way of Object.hasOwn. Brands, which are symbols, and loops are no lookups.
 */
export function findOpenLookups(source: string): number[] {
  const text = withoutCommentsAndTemplates(source).replace(
    /(['"])(?:\\.|(?!\1)[^\\\n])*\1/g,
    (whole) => `'${'x'.repeat(Math.max(0, whole.length - 2))}'`,
  );
  const found = [...text.matchAll(KEY_IN), ...text.matchAll(MISS)].map(
    (match) => text.slice(0, match.index).split('\n').length,
  );
  return [...new Set(found)].sort((a, b) => a - b);
}

/** The operand before `in`: an identifier, a property or a call, and neither a string, a symbol (BRAND) nor a #field. */
const KEY_IN =
  /(?<!\[\s*)(?<!\b(?:const|let|var)\s+)(?<![\w$.#'])(?!BRAND\b)[A-Za-z_$][\w$.]*(?:\([^()\n]*\)|\[[^\]\n]*\])*\)*\s+in\s+[A-Za-z_$(]/g;
/** A constant table whose value may be missing. */
const MISS = /\b[A-Z][A-Z_]{2,}\[(?!\d)[^\]\n]+\](?:\s*(?:\?\?|\?\.|[!=]==?\s*undefined)|!)/g;
