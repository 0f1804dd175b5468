import type { JsonValue } from '../../lib/json.js';

/**
 * What an option takes, as data: the parser, the words of an error, the reference and the default file are all made
 * from it (values.ts), so that a range or a pattern stands once. Bounds are inclusive and written with their unit.
 */
export type Domain =
  | { readonly type: 'duration'; readonly min: string; readonly max: string }
  | { readonly type: 'size'; readonly min: string; readonly max: string; readonly multipleOf?: string }
  | { readonly type: 'integer'; readonly min: number; readonly max: number }
  | { readonly type: 'number'; readonly min: number; readonly max: number }
  | { readonly type: 'boolean' }
  | { readonly type: 'text'; readonly pattern: RegExp; readonly expected: string }
  | { readonly type: 'choice'; readonly values: readonly string[] }
  /** Texts, each once. */
  | { readonly type: 'list of text'; readonly item: RegExp; readonly itemsExpected: string };

/**
 * One option. `T` is its compiled type, `S` the unit that is appended to its name in the compiled config (`Ms`,
 * `Bytes`, or nothing).
 */
export interface Leaf<T, S extends string = string> {
  readonly node: 'leaf';
  readonly suffix: S;
  readonly doc: string;
  readonly takes: Domain;
  readonly presence: 'required' | 'default' | 'optional';
  /** The default as one would write it. Of an optional one: what is in force where nobody else, such as the plugin, says. */
  readonly written: JsonValue | undefined;
  /** Never printed, logged or put into an error. */
  readonly sensitive: boolean;
  /**
   * A file system path: relative ones are taken from where they are written. With `dotted` only texts that start with
   * ./ or ../ are paths.
   */
  readonly path: false | 'always' | 'dotted';
  /** Carries the compiled type; never set. */
  readonly compiled?: T;
}

// biome-ignore lint/suspicious/noExplicitAny: leaves of every type
export type AnyLeaf = Leaf<any, string>;
