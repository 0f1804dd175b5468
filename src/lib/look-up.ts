/**
 * The value under a key that came from elsewhere, or undefined. A plain `table[key]` also finds what every object has:
 * `constructor`, `toString`, `__proto__`.
 */
export function lookUp<T>(table: Readonly<Record<string, T>>, key: string): T | undefined {
  return Object.hasOwn(table, key) ? table[key] : undefined;
}
