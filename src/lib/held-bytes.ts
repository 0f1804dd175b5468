/** What a value takes beside its text or bytes: the value itself, and its place in what holds it. */
const EACH_BYTES = 32;

/**
 * About what plain data holds in memory, in bytes: texts at a byte a character, Buffers, and what each value takes by itself. For
 * bounds, so that many small parts count as well as one large one.
 */
export function heldBytes(value: unknown): number {
  if (typeof value === 'string') return EACH_BYTES + value.length;
  if (typeof value !== 'object' || value === null) return value === undefined ? 0 : EACH_BYTES;
  if (value instanceof Uint8Array) return EACH_BYTES + value.length;
  let bytes = EACH_BYTES;
  if (Array.isArray(value)) for (const item of value) bytes += heldBytes(item);
  else {
    const record = value as Readonly<Record<string, unknown>>;
    // Each create is counted, so no list of its keys is made. What is not there counts the same whether it is named or not.
    for (const key in record) {
      if (!Object.hasOwn(record, key)) continue;
      const item = record[key];
      if (item !== undefined) bytes += key.length + heldBytes(item);
    }
  }
  return bytes;
}
