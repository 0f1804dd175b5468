import { show } from '../../lib/show.js';
import type { AnyLeaf } from './leaf.js';
import { type Compiled, compiledName, type MapOf, type Node, type Section } from './spec.js';
import { expectedOf, fallbackOf, readValue } from './values.js';

/** Makes the error for what is wrong, told in words: where, what was seen, what was expected. */
export type Fail = (problem: string) => Error;

/**
 * Reads options that stand in code instead of a configuration: what a plugin's definition says, an entry given to the
 * test kit. The whole section, defaults filled in, as the configuration compiles it and frozen; a key that is undefined
 * counts as left out. Throws `fail(…)` on the first problem; `at` is what the section is called in it.
 */
export function readSection<N extends Section>(schema: N, raw: unknown, at: string, fail: Fail): Compiled<N> {
  if (!isObject(raw)) throw fail(`${at} is ${show(raw)}; expected an object`);
  const known = Object.keys(schema.fields);
  for (const key of Object.keys(raw)) {
    if (!Object.hasOwn(schema.fields, key)) {
      throw fail(`${below(at, key)}: no such key; known are ${known.join(', ')}`);
    }
  }
  const read = Object.entries(schema.fields).map(([key, node]) => {
    const value = Object.hasOwn(raw, key) ? raw[key] : undefined;
    return [compiledName(key, node), readNode(node, value, below(at, key), fail)];
  });
  return Object.freeze(Object.fromEntries(read)) as Compiled<N>;
}

/** The defaults of a section, as the configuration compiles it. Throws TypeError where one of its options has none. */
export const defaultsOf = <N extends Section>(schema: N): Compiled<N> =>
  readSection(schema, {}, 'defaults', (problem) => new TypeError(problem));

function readNode(node: Node, raw: unknown, at: string, fail: Fail): unknown {
  switch (node.node) {
    case 'leaf':
      return readLeaf(node, raw, at, fail);
    case 'section':
      return readSection(node, raw ?? {}, at, fail);
    case 'map':
      return readMap(node, raw ?? {}, at, fail);
    case 'free':
      if (!isObject(raw ?? {})) throw fail(`${at} is ${show(raw)}; expected an object`);
      return raw ?? {};
    default:
      return node satisfies never;
  }
}

function readLeaf(leaf: AnyLeaf, raw: unknown, at: string, fail: Fail): unknown {
  if (raw === undefined && leaf.presence !== 'required') return fallbackOf(leaf);
  const read = readValue(leaf, raw);
  if (read.ok) return read.value;
  const seen = leaf.sensitive ? `a hidden ${raw === null ? 'null' : typeof raw}` : show(raw);
  throw fail(`${at} is ${seen}; expected ${expectedOf(leaf)}`);
}

function readMap(map: MapOf, raw: unknown, at: string, fail: Fail): unknown {
  if (!isObject(raw)) throw fail(`${at} is ${show(raw)}; expected an object`);
  const keys = Object.keys(raw);
  if (keys.length > map.maxKeys) throw fail(`${at} has ${keys.length} keys; expected at most ${map.maxKeys}`);
  const read = keys.map((key) => {
    if (!isMapKey(map, key)) throw fail(`${at} has the key ${show(key)}; expected ${map.keyExpected}`);
    return [key, readNode(map.value, raw[key], below(at, key), fail)];
  });
  return Object.freeze(Object.fromEntries(read));
}

/** Whether a map takes this key. */
export const isMapKey = (map: MapOf, key: string): boolean => key !== '__proto__' && map.keyPattern.test(key);

const below = (at: string, key: string): string => (at === '' ? key : `${at}.${key}`);

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
