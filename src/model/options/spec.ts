import type { JsonValue } from '../../lib/json.js';
import type { NameRule } from '../identity-check.js';
import type { AnyLeaf, Domain, Leaf } from './leaf.js';
import { expectedOf, readValue } from './values.js';

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
  readonly maxKeys: number;
  /** Where set, a list is taken too, each element carrying its key under this name. */
  readonly listKey: string | undefined;
}

/** An object whose content is another's business (a plugin's settings): any JSON, merged by key over the layers. */
export interface Free {
  readonly node: 'free';
  readonly doc: string;
}

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

/**
 * What one writes for a node in code: units as text or as a bare number, everything that has a default left out at will.
 */
export type Written<N> =
  N extends Leaf<infer T, infer S>
    ? T | (S extends 'Ms' | 'Bytes' ? string : never)
    : N extends Section<infer F>
      ? { readonly [K in keyof F]?: Written<F[K]> | undefined }
      : N extends MapOf<infer V>
        ? { readonly [key: string]: Written<V> }
        : N extends Free
          ? { readonly [key: string]: JsonValue }
          : never;

/** The name of an option in the compiled config: its unit appended, unless it ends in it. */
export function compiledName(key: string, node: Node): string {
  return node.node === 'leaf' && !key.endsWith(node.suffix) ? `${key}${node.suffix}` : key;
}

export const section = <F extends Fields>(doc: string, fields: F): Section<F> => ({ node: 'section', doc, fields });

export const free = (doc: string): Free => ({ node: 'free', doc });

/** Keys that a map may hold. */
const MAX_KEYS = 10_000;

/** A map; `keys` names the key in the reference and says which are allowed. */
export function mapOf<V extends Node>(
  doc: string,
  keys: { name: string; listKey?: string } & NameRule,
  value: V,
): MapOf<V> {
  return {
    node: 'map',
    doc,
    keyName: keys.name,
    keyPattern: keys.pattern,
    keyExpected: keys.expected,
    value,
    maxKeys: MAX_KEYS,
    listKey: keys.listKey,
  };
}

/** Whether a map takes this key. */
export const isMapKey = (map: MapOf, key: string): boolean => key !== '__proto__' && map.keyPattern.test(key);

function leaf<T, S extends string>(suffix: S, doc: string, takes: Domain): Leaf<T, S> {
  return { node: 'leaf', suffix, doc, takes, presence: 'required', written: undefined, sensitive: false, path: false };
}

/** The option has a default, written as in a file. */
export function withDefault<T, S extends string>(base: Leaf<T, S>, written: JsonValue): Leaf<T, S> {
  const leaf: Leaf<T, S> = { ...base, presence: 'default', written };
  if (!readValue(leaf, written).ok)
    throw new TypeError(`the default ${JSON.stringify(written)} is not ${expectedOf(leaf)}`);
  return leaf;
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

/** Milliseconds as a number, or text with a unit. `min` and `max` are inclusive. */
export const duration = (doc: string, range: { min: string; max: string }): Leaf<number, 'Ms'> =>
  leaf('Ms', doc, { type: 'duration', ...range });

/** Bytes as a whole number, or text with a unit. */
export const size = (doc: string, range: { min: string; max: string; multipleOf?: string }): Leaf<number, 'Bytes'> =>
  leaf('Bytes', doc, { type: 'size', ...range });

export const int = (doc: string, min: number, max: number): Leaf<number, ''> =>
  leaf('', doc, { type: 'integer', min, max });

export const real = (doc: string, min: number, max: number): Leaf<number, ''> =>
  leaf('', doc, { type: 'number', min, max });

export const bool = (doc: string): Leaf<boolean, ''> => leaf('', doc, { type: 'boolean' });

export const text = <T extends string = string>(
  doc: string,
  expected = 'a text of 1 to 4096 characters',
  pattern = /^[\s\S]{1,4096}$/,
): Leaf<T, ''> => leaf('', doc, { type: 'text', pattern, expected });

export const choice = <const T extends string>(doc: string, values: readonly T[]): Leaf<T, ''> =>
  leaf('', doc, { type: 'choice', values });

export const list = (doc: string, itemsExpected = 'texts', item = /^[\s\S]{1,4096}$/): Leaf<readonly string[], ''> =>
  leaf('', doc, { type: 'list of text', item, itemsExpected });
