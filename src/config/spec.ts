import type { JsonValue } from '../lib/json.js';
import { formatDuration, formatSize, parseDuration, parseSize } from './units.js';

/** What a leaf says about a value: the value in its compiled form, or that it is not of the type. */
export type Parsed<T> = { readonly ok: true; readonly value: T } | { readonly ok: false };

const NO: Parsed<never> = { ok: false };
const yes = <T>(value: T): Parsed<T> => ({ ok: true, value });

/**
 * One option. `T` is its compiled type, `S` the unit that is appended to its name in the compiled config (`Ms`,
 * `Bytes`, or nothing).
 */
export interface Leaf<T, S extends string = string> {
  readonly node: 'leaf';
  readonly type: string;
  readonly suffix: S;
  readonly doc: string;
  /** What is accepted, in words. */
  readonly expected: string;
  readonly presence: 'required' | 'default' | 'optional';
  /** Compiled form; undefined unless `presence` is `default`. */
  readonly fallback: T | undefined;
  /** Never printed, logged or put into an error. */
  readonly sensitive: boolean;
  /**
   * A file system path: relative ones are taken from where they are written. With `dotted` only texts that start with
   * ./ or ../ are paths.
   */
  readonly path: false | 'always' | 'dotted';
  /** Takes a value as JSON or YAML gave it. Strict: no conversion between types. */
  parse(value: unknown): Parsed<T>;
  /** Turns the text of an environment variable or flag into what a file would hold; the text itself if it is no such thing. */
  fromText(text: string): unknown;
  /** The compiled value as one would write it. */
  show(value: T): JsonValue;
}

/** A fixed set of keys. */
export interface Section<F extends Fields = Fields> {
  readonly node: 'section';
  readonly doc: string;
  readonly fields: F;
}

/** Keys that the operator chooses, all of one kind. */
export interface MapOf<V extends Node = Node> {
  readonly node: 'map';
  readonly doc: string;
  /** What a key stands for, for the reference: `<id>`. */
  readonly keyName: string;
  readonly keyPattern: RegExp;
  readonly keyExpected: string;
  readonly value: V;
  /** Where set, a list is taken too, each element carrying its key under this name. */
  readonly listKey: string | undefined;
}

/** An object whose content is another's business (a plugin's settings): any JSON, merged by key over the layers. */
export interface Free {
  readonly node: 'free';
  readonly doc: string;
}

// biome-ignore lint/suspicious/noExplicitAny: a tree of leaves of every type
export type AnyLeaf = Leaf<any, string>;
export type Node = AnyLeaf | Section | MapOf | Free;
export type Fields = { readonly [key: string]: Node };

type NameOf<K extends string, N> = N extends Leaf<infer _T, infer S> ? (K extends `${string}${S}` ? K : `${K}${S}`) : K;

/** The type of the frozen object a node compiles to. */
export type Compiled<N> =
  N extends Leaf<infer T, string>
    ? T
    : N extends Section<infer F>
      ? { readonly [K in keyof F & string as NameOf<K, F[K]>]: Compiled<F[K]> }
      : N extends MapOf<infer V>
        ? { readonly [key: string]: Compiled<V> }
        : N extends Free
          ? { readonly [key: string]: JsonValue }
          : never;

export const section = <F extends Fields>(doc: string, fields: F): Section<F> => ({ node: 'section', doc, fields });

export const free = (doc: string): Free => ({ node: 'free', doc });

/** A map; `keys` names the key in the reference and says which are allowed. */
export function mapOf<V extends Node>(
  doc: string,
  keys: { name: string; pattern?: RegExp; expected?: string; listKey?: string },
  value: V,
): MapOf<V> {
  return {
    node: 'map',
    doc,
    keyName: keys.name,
    keyPattern: keys.pattern ?? /^[^\p{Cc}]{1,200}$/u,
    keyExpected: keys.expected ?? 'a name of 1 to 200 printable characters',
    value,
    listKey: keys.listKey,
  };
}

type LeafParts<T> = Pick<AnyLeaf, 'type' | 'doc' | 'expected'> & {
  parse(value: unknown): Parsed<T>;
  fromText?(text: string): unknown;
  show?(value: T): JsonValue;
};

function leaf<T, S extends string>(suffix: S, parts: LeafParts<T>): Leaf<T, S> {
  return {
    node: 'leaf',
    suffix,
    presence: 'required',
    fallback: undefined,
    sensitive: false,
    path: false,
    fromText: (text) => text,
    show: (value) => value as JsonValue,
    ...parts,
  };
}

/** The option has a default, written as in a file. */
export function withDefault<T, S extends string>(base: Leaf<T, S>, written: JsonValue): Leaf<T, S> {
  const parsed = base.parse(written);
  if (!parsed.ok) throw new TypeError(`the default ${JSON.stringify(written)} is not ${base.expected}`);
  return { ...base, presence: 'default', fallback: parsed.value };
}

/** The option may be left out, or be set to null, and is undefined then. */
export const optional = <T, S extends string>(base: Leaf<T, S>): Leaf<T | undefined, S> =>
  ({ ...base, presence: 'optional' }) as Leaf<T | undefined, S>;

export const sensitive = <T, S extends string>(base: Leaf<T, S>): Leaf<T, S> => ({ ...base, sensitive: true });

/** The value is a path of the file system, or a list of them. */
export const asPath = <T, S extends string>(base: Leaf<T, S>, path: 'always' | 'dotted' = 'always'): Leaf<T, S> => ({
  ...base,
  path,
});

const NUMERIC = /^-?\d+(\.\d+)?([eE][-+]?\d+)?$/;
const numberFromText = (text: string): unknown => (NUMERIC.test(text) ? Number(text) : text);

/** Milliseconds as a number, or text with a unit. `min` and `max` are inclusive. */
export function duration(doc: string, range: { min: string; max: string }): Leaf<number, 'Ms'> {
  const [min, max] = [parseDuration(range.min), parseDuration(range.max)] as [number, number];
  return leaf('Ms', {
    type: 'duration',
    doc,
    expected: `a duration from ${range.min} to ${range.max}, as text with a unit (ms, s, m, h, d) or as a number of milliseconds`,
    parse(value) {
      const ms = typeof value === 'string' ? parseDuration(value) : value;
      return typeof ms === 'number' && ms >= min && ms <= max ? yes(ms) : NO;
    },
    fromText: numberFromText,
    show: formatDuration,
  });
}

/** Bytes as a whole number, or text with a unit. */
export function size(doc: string, range: { min: string; max: string; multipleOf?: string }): Leaf<number, 'Bytes'> {
  const [min, max] = [parseSize(range.min), parseSize(range.max)] as [number, number];
  const step = parseSize(range.multipleOf ?? '1B') as number;
  return leaf('Bytes', {
    type: 'size',
    doc,
    expected: `a size from ${range.min} to ${range.max}${step === 1 ? '' : ` in steps of ${range.multipleOf}`}, as text with a unit (B, KiB, MiB, GiB, kB, MB, GB) or as a number of bytes`,
    parse(value) {
      const bytes = typeof value === 'string' ? parseSize(value) : value;
      if (typeof bytes !== 'number' || !Number.isSafeInteger(bytes) || bytes % step !== 0) return NO;
      return bytes >= min && bytes <= max ? yes(bytes) : NO;
    },
    fromText: numberFromText,
    show: formatSize,
  });
}

export function int(doc: string, min: number, max: number): Leaf<number, ''> {
  return leaf('', {
    type: 'integer',
    doc,
    expected: `an integer from ${min} to ${max}`,
    parse: (v) => (Number.isSafeInteger(v) && (v as number) >= min && (v as number) <= max ? yes(v as number) : NO),
    fromText: numberFromText,
  });
}

export function real(doc: string, min: number, max: number): Leaf<number, ''> {
  return leaf('', {
    type: 'number',
    doc,
    expected: `a number from ${min} to ${max}`,
    parse: (v) => (typeof v === 'number' && v >= min && v <= max ? yes(v) : NO),
    fromText: numberFromText,
  });
}

export function bool(doc: string): Leaf<boolean, ''> {
  return leaf('', {
    type: 'boolean',
    doc,
    expected: 'true or false',
    parse: (v) => (typeof v === 'boolean' ? yes(v) : NO),
    fromText: (text) => (text === 'true' ? true : text === 'false' ? false : text),
  });
}

export function text(
  doc: string,
  expected = 'a text of 1 to 4096 characters',
  pattern = /^[\s\S]{1,4096}$/,
): Leaf<string, ''> {
  return leaf('', {
    type: 'text',
    doc,
    expected,
    parse: (v) => (typeof v === 'string' && pattern.test(v) ? yes(v) : NO),
  });
}

export function choice<const T extends string>(doc: string, values: readonly T[]): Leaf<T, ''> {
  return leaf('', {
    type: 'choice',
    doc,
    expected: `one of ${values.join(', ')}`,
    parse: (v) => (values.includes(v as T) ? yes(v as T) : NO),
  });
}

export function list(doc: string, itemExpected = 'texts', item = /^[\s\S]{1,4096}$/): Leaf<readonly string[], ''> {
  return leaf('', {
    type: 'list of text',
    doc,
    expected: `a list of ${itemExpected}, without repetition`,
    parse(value) {
      if (!Array.isArray(value) || value.length > 1000) return NO;
      if (!value.every((v) => typeof v === 'string' && item.test(v))) return NO;
      return new Set(value).size === value.length ? yes(Object.freeze([...value]) as readonly string[]) : NO;
    },
    fromText(written) {
      if (written.trim() === '') return [];
      if (!written.trimStart().startsWith('[')) return written.split(',').map((part) => part.trim());
      try {
        return JSON.parse(written);
      } catch {
        return written;
      }
    },
    show: (value) => [...value],
  });
}
