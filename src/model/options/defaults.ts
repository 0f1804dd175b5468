import type { Compiled, Node, Section } from './spec.js';
import { compiledName } from './spec.js';
import { fallbackOf } from './values.js';

/** The defaults of a section, as the configuration compiles it. Throws TypeError where one of its options has none. */
export function defaultsOf<N extends Section>(schema: N, at = 'defaults'): Compiled<N> {
  const values = Object.entries(schema.fields).map(([key, node]) => [
    compiledName(key, node),
    defaultOfNode(node, `${at}.${key}`),
  ]);
  return Object.freeze(Object.fromEntries(values)) as Compiled<N>;
}

function defaultOfNode(node: Node, at: string): unknown {
  if (node.node === 'section') return defaultsOf(node, at);
  if (node.node !== 'leaf') return Object.freeze({});
  if (node.presence === 'required') throw new TypeError(`${at} is required and has no default`);
  return fallbackOf(node);
}
