import { wellFormed } from '../lib/text.js';

/**
 * Checks of the values in an answer of a plugin process. Each gives the value in the form that is kept, with a mark for
 * what has no UTF-8, or throws Error with what is wrong. Foreign text never stands in the message.
 */

export type Fields = Readonly<Record<string, unknown>>;

/** A plain object: one of another class is none, whatever it holds. */
export function object(value: unknown, what: string): Fields {
  if (typeof value === 'object' && value !== null) {
    const prototype: unknown = Object.getPrototypeOf(value);
    if (prototype === Object.prototype || prototype === null) return value as Fields;
  }
  throw new Error(`${what} is not an object`);
}

/** `max` in UTF-16 units. */
export function text(value: unknown, what: string, max = Number.POSITIVE_INFINITY): string {
  if (typeof value !== 'string') throw new Error(`${what} is not a text`);
  if (value.length > max) throw new Error(`${what} has ${value.length} characters, at most ${max} are taken`);
  return wellFormed(value);
}

/** Without holes. */
export function list(value: unknown, what: string, max = Number.POSITIVE_INFINITY): readonly unknown[] {
  if (!Array.isArray(value)) throw new Error(`${what} is not a list`);
  if (value.length > max) throw new Error(`${what} has ${value.length} items, at most ${max} are taken`);
  return value;
}

export function bytes(value: unknown, what: string, max = Number.POSITIVE_INFINITY): Buffer {
  if (!Buffer.isBuffer(value)) throw new Error(`${what} is not bytes`);
  if (value.length > max) throw new Error(`${what} has ${value.length} bytes, at most ${max} are taken`);
  return value;
}

export function within(value: unknown, what: string, max: number, whole: boolean): number {
  if (typeof value !== 'number') throw new Error(`${what} is not a number`);
  if (!(value >= 0 && value <= max) || (whole && !Number.isInteger(value))) throw new Error(`${what} is out of range`);
  return value;
}

export function flag(value: unknown, what: string): boolean {
  if (typeof value === 'boolean') return value;
  throw new Error(`${what} is not true or false`);
}

export function oneOf<T extends string>(value: unknown, what: string, known: readonly T[]): T {
  if (known.includes(value as T)) return value as T;
  throw new Error(`${what} is not known`);
}

/** `{ [key]: … }` for what is there, nothing for what is left out. */
export function optional<K extends string, T>(
  from: Fields,
  key: K,
  take: (value: unknown) => T,
): { [key in K]?: T } | undefined {
  const value = Object.hasOwn(from, key) ? from[key] : undefined;
  return value === undefined ? undefined : ({ [key]: take(value) } as { [key in K]: T });
}
