import type { JsonObject, JsonValue } from '../../lib/json.js';

/** Where bytes of a value go, or come from: a JSON head refers to them by their place. */
export type Blobs = Buffer[];

/** How a value of type T is written into JSON and read back. `read` throws FieldError for what `write` could not have made. */
export interface Field<T> {
  /** Undefined where nothing is written: an optional value that is not there, or the neutral one. */
  write(value: T, blobs: Blobs): JsonValue | undefined;
  read(raw: JsonValue | undefined, blobs: Blobs, at: string): T;
}

export class FieldError extends Error {}

const check = <T extends JsonValue>(expected: string, fits: (raw: JsonValue | undefined) => boolean): Field<T> => ({
  write: (value) => value,
  read(raw, _blobs, at) {
    if (!fits(raw)) throw new FieldError(`${at} is not ${expected}`);
    return raw as T;
  },
});

export const text: Field<string> = check('a text', (raw) => typeof raw === 'string');
export const flag: Field<boolean> = check('true or false', (raw) => typeof raw === 'boolean');
/** Infinity and NaN are no JSON, and no value here is one. */
export const real: Field<number> = check('a number', (raw) => typeof raw === 'number');
export const whole: Field<number> = check(
  'a whole number from 0',
  (raw) => Number.isSafeInteger(raw) && (raw as number) >= 0,
);
export const jsonObject: Field<JsonObject> = check('an object', isObject);

export const oneOf = <const T extends string>(values: readonly T[]): Field<T> =>
  check(`one of ${values.join(', ')}`, (raw) => values.includes(raw as T));

/** Bytes, kept beside the JSON. What is read shares the memory of the whole value. */
export const bytes: Field<Buffer> = {
  write: (value, blobs) => blobs.push(value) - 1,
  read(raw, blobs, at) {
    const found = typeof raw === 'number' ? blobs[raw] : undefined;
    if (found === undefined) throw new FieldError(`${at} refers to bytes that are not there`);
    return found;
  },
};

export const optional = <T>(of: Field<T>): Field<T | undefined> => ({
  write: (value, blobs) => (value === undefined ? undefined : of.write(value, blobs)),
  read: (raw, blobs, at) => (raw === undefined ? undefined : of.read(raw, blobs, at)),
});

/** The neutral value is not written; most tasks have it. */
export const unless = <T>(neutral: T, of: Field<T>): Field<T> => ({
  write: (value, blobs) => (value === neutral ? undefined : of.write(value, blobs)),
  read: (raw, blobs, at) => (raw === undefined ? neutral : of.read(raw, blobs, at)),
});

/** An empty list is not written. */
export const list = <T>(of: Field<T>): Field<readonly T[]> => ({
  write: (values, blobs) => (values.length === 0 ? undefined : values.map((value) => of.write(value, blobs) ?? null)),
  read(raw, blobs, at) {
    if (raw === undefined) return [];
    if (!Array.isArray(raw)) throw new FieldError(`${at} is not a list`);
    return raw.map((each, i) => of.read(each, blobs, `${at}[${i}]`));
  },
});

/** A list that may also be left out: an empty one is written as such. */
export const optionalList = <T>(of: Field<T>): Field<readonly T[] | undefined> => ({
  write: (values, blobs) => values?.map((value) => of.write(value, blobs) ?? null),
  read: (raw, blobs, at) => (raw === undefined ? undefined : list(of).read(raw, blobs, at)),
});

/** Texts by name; the names are foreign, and none is taken for a property of an object (`__proto__`). */
export const texts: Field<Readonly<Record<string, string>>> = {
  write: (value) => {
    const pairs = Object.entries(value);
    return pairs.length === 0 ? undefined : pairs;
  },
  read(raw, _blobs, at) {
    if (raw === undefined) return {};
    if (!Array.isArray(raw) || !raw.every(isPair)) throw new FieldError(`${at} is not a list of pairs of texts`);
    return Object.fromEntries(raw as [string, string][]);
  },
};

type Fields<T> = { readonly [K in keyof Required<T>]: Field<T[K & keyof T]> };

/**
 * An object of known keys. Keys that this release does not know are passed over, so that one release may add what the one
 * before does without.
 */
export function record<T extends object>(fields: Fields<T>): Field<T> {
  const entries = Object.entries(fields) as [keyof T & string, Field<unknown>][];
  return {
    write(value, blobs) {
      const out: JsonObject = {};
      for (const [key, field] of entries) {
        const written = field.write(value[key], blobs);
        if (written !== undefined) out[key] = written;
      }
      return out;
    },
    read(raw, blobs, at) {
      if (!isObject(raw)) throw new FieldError(`${at} is not an object`);
      const out: Partial<Record<keyof T, unknown>> = {};
      for (const [key, field] of entries) {
        const value = field.read(raw[key], blobs, at === '' ? key : `${at}.${key}`);
        // What is left out stays out: an own property that is undefined is another object to a comparison.
        if (value !== undefined) out[key] = value;
      }
      return out as T;
    },
  };
}

function isObject(raw: JsonValue | undefined): raw is JsonObject {
  return typeof raw === 'object' && raw !== null && !Array.isArray(raw);
}

function isPair(raw: JsonValue): boolean {
  return Array.isArray(raw) && raw.length === 2 && raw.every((each) => typeof each === 'string');
}
