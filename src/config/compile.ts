import convict from 'convict';
import type { AnyLeaf } from '../model/options/leaf.js';
import { compiledName, type MapOf, type Node, type Section } from '../model/options/spec.js';
import { expectedOf, fallbackOf, readValue } from '../model/options/values.js';
import { type Entry, MAP_KEY } from './check.js';
import { type ConfigProblem, keyText } from './problems.js';

/** The strongest entry of each option, by its path. */
export type Effective = ReadonlyMap<string, Entry>;

export const pathKey = (path: readonly string[]): string => JSON.stringify(path);

/**
 * Lays layers over each other, the later the stronger. Inside free-form settings a value replaces whatever the layers
 * before held below it, and the other way round.
 */
export function mergeLayers(layers: readonly (readonly Entry[])[]): Effective {
  const merged = new Map<string, Entry>();
  for (const entries of layers) {
    for (const entry of entries) {
      if (entry.leaf === undefined && entry.value !== MAP_KEY) {
        for (const [key, other] of merged) {
          if (other.leaf === undefined && other.value !== MAP_KEY && overlaps(entry.path, other.path))
            merged.delete(key);
        }
      }
      merged.set(pathKey(entry.path), entry);
    }
  }
  return merged;
}

/** Whether one path is the other, or lies below it. */
function overlaps(a: readonly string[], b: readonly string[]): boolean {
  const shorter = Math.min(a.length, b.length);
  for (let i = 0; i < shorter; i++) if (a[i] !== b[i]) return false;
  return true;
}

/** A required option without a value; thrown together with all other problems. */
export function missingOptions(schema: Section, effective: Effective): ConfigProblem[] {
  const problems: ConfigProblem[] = [];
  const visit = (node: Node, at: readonly string[], origin: string) => {
    if (node.node === 'leaf') {
      if (node.presence === 'required' && !effective.has(pathKey(at))) {
        const message = `not set, expected ${expectedOf(node)}`;
        problems.push({ code: 'CONFIG_VALUE_INVALID', origin, key: keyText(at), message });
      }
    } else if (node.node === 'section') {
      for (const [key, child] of Object.entries(node.fields)) visit(child, [...at, key], origin);
    } else if (node.node === 'map' && node.value.node === 'section') {
      for (const key of keysOf(effective, at)) {
        const own = [...at, key];
        visit(node.value, own, effective.get(pathKey(own))?.origin ?? origin);
      }
    }
  };
  visit(schema, [], '');
  return problems;
}

/** The keys directly below a path, in the order they were first written. */
export function keysOf(effective: Effective, at: readonly string[]): string[] {
  const keys = new Set<string>();
  for (const { path } of effective.values()) {
    if (path.length > at.length && overlaps(path, at)) keys.add(path[at.length] as string);
  }
  return [...keys];
}

/**
 * Builds the compiled, frozen object of a section: one strict convict schema for its fixed options, and one more per
 * entry of a map of sections, since convict does not look into maps. Values arrive here checked and in compiled form;
 * convict holds defaults, layering and the last check that nothing undeclared is in it.
 */
export function compileSection(schema: Section, effective: Effective, at: readonly string[] = []): unknown {
  // A literal dot in a key would be a path to convict; keys of the schema hold none.
  const store = convict(convictSchema(schema) as never, { env: {}, args: [] });
  const set = (path: readonly string[], value: unknown) => store.set(path.join('.') as never, value as never);
  walkFixed(schema, [], (node, path) => {
    const full = [...at, ...path];
    if (node.node === 'leaf') {
      const entry = effective.get(pathKey(full));
      if (entry !== undefined) set(path, entry.value);
    } else if (node.node === 'free') set(path, freeValue(effective, full));
    else set(path, mapValue(node as MapOf, effective, full));
  });
  store.validate({ allowed: 'strict' });
  return named(schema, store.getProperties() as Record<string, unknown>);
}

function convictSchema(node: Section): Record<string, unknown> {
  const out: Record<string, unknown> = {};
  for (const [key, child] of Object.entries(node.fields)) {
    if (child.node === 'section') out[key] = convictSchema(child);
    else if (child.node === 'leaf') out[key] = convictLeaf(child);
    // Their content was checked entry by entry and may hold keys that convict would take for its own.
    else out[key] = { doc: child.doc, default: null, nullable: true, format: opaque };
  }
  return out;
}

function convictLeaf(leaf: AnyLeaf): Record<string, unknown> {
  const format = (value: unknown) => {
    if (value === undefined && leaf.presence === 'optional') return;
    if (!readValue(leaf, value).ok) throw new TypeError(`expected ${expectedOf(leaf)}`);
  };
  return { doc: leaf.doc, default: fallbackOf(leaf), format, sensitive: leaf.sensitive };
}

/** What convict must not look into is handed to it in a box. */
class Opaque {
  readonly open: () => unknown;
  constructor(value: unknown) {
    this.open = () => value;
  }
}

function opaque(value: unknown): void {
  if (!(value instanceof Opaque)) throw new TypeError('expected a boxed value');
}

function freeValue(effective: Effective, at: readonly string[]): Opaque {
  const root: Record<string, unknown> = {};
  for (const { path, value } of effective.values()) {
    if (value === MAP_KEY || path.length < at.length || !overlaps(path, at)) continue;
    if (path.length === at.length) continue; // the empty object itself
    let target = root;
    for (const part of path.slice(at.length, -1)) {
      if (!Object.hasOwn(target, part)) target[part] = {};
      target = target[part] as Record<string, unknown>;
    }
    target[path.at(-1) as string] = structuredClone(value);
  }
  return new Opaque(root);
}

function mapValue(node: MapOf, effective: Effective, at: readonly string[]): Opaque {
  const out: Record<string, unknown> = {};
  for (const key of keysOf(effective, at)) {
    const own = [...at, key];
    out[key] =
      node.value.node === 'section' ? compileSection(node.value, effective, own) : effective.get(pathKey(own))?.value;
  }
  return new Opaque(out);
}

/** Calls `fn` for every leaf, map and free-form node that is reached through sections. */
export function walkFixed(
  node: Section,
  at: readonly string[],
  fn: (node: Node, path: readonly string[]) => void,
): void {
  for (const [key, child] of Object.entries(node.fields)) {
    if (child.node === 'section') walkFixed(child, [...at, key], fn);
    else fn(child, [...at, key]);
  }
}

function named(schema: Section, values: Record<string, unknown>): unknown {
  const out: Record<string, unknown> = {};
  for (const [key, node] of Object.entries(schema.fields)) {
    const value = values[key];
    if (node.node === 'section') out[key] = named(node, value as Record<string, unknown>);
    else out[compiledName(key, node)] = deepFreeze(value instanceof Opaque ? value.open() : value);
  }
  return Object.freeze(out);
}

function deepFreeze(value: unknown): unknown {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    for (const part of Object.values(value)) deepFreeze(part);
    Object.freeze(value);
  }
  return value;
}
