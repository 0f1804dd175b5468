import type { AnyLeaf } from '../model/options/leaf.js';
import { type Free, isMapKey, type MapOf, type Section } from '../model/options/spec.js';
import { expectedOf, fallbackOf, readValue } from '../model/options/values.js';

/** One key of a map with its value, as convict holds it. */
export type KeyedValue = readonly [key: string, value: unknown];

/**
 * convict's schema of a section, made from the table of options; it states nothing itself. Maps and free-form settings are lists
 * of keys with values there: a key may hold dots, which are paths to convict, and convict checks no keys that it was not told.
 */
export function convictSchema(section: Section): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, child] of Object.entries(section.fields)) {
    if (child.node === 'section') out[key] = convictSchema(child);
    else if (child.node === 'leaf') out[key] = convictLeaf(child);
    else out[key] = convictMap(child);
  }
  return out;
}

function convictLeaf(leaf: AnyLeaf): Record<string, unknown> {
  const format = (value: unknown) => assertValue(leaf, value);
  return { doc: leaf.doc, default: fallbackOf(leaf), format, sensitive: leaf.sensitive };
}

function convictMap(node: MapOf | Free): Record<string, unknown> {
  const format = (entries: unknown) => {
    if (!Array.isArray(entries)) throw new TypeError('expected a list of keys with their values');
    if (node.node === 'map') assertEntries(node, entries);
  };
  return { doc: node.doc, default: [], format };
}

/** A section in a map is the work of a convict schema of its own: the defaults of each of them are to be filled in. */
function assertEntries(map: MapOf, entries: readonly KeyedValue[]): void {
  for (const [key, value] of entries) {
    if (!isMapKey(map, key)) throw new TypeError(`expected ${map.keyExpected}`);
    if (map.value.node === 'leaf') assertValue(map.value, value);
  }
}

function assertValue(leaf: AnyLeaf, value: unknown): void {
  if (value === undefined && leaf.presence === 'optional') return;
  if (!readValue(leaf, value).ok) throw new TypeError(`expected ${expectedOf(leaf)}`);
}
