import convict from 'convict';
import { compiledName, type MapOf, type Node, type Section } from '../model/options/spec.js';
import { expectedOf } from '../model/options/values.js';
import { type Entry, MAP_KEY } from './check.js';
import { convictSchema, type KeyedValue } from './convict-schema.js';
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

/** The compiled, frozen object of a section. Values arrive here checked and in compiled form. */
export function compileSection(schema: Section, effective: Effective): unknown {
  return named(schema, propertiesOf(schema, effective, []));
}

/** What convict makes of a section: its defaults under what is set, and a last check that all of it is declared and right. */
function propertiesOf(schema: Section, effective: Effective, at: readonly string[]): Record<string, unknown> {
  const store = convict(convictSchema(schema) as never, { env: {}, args: [] });
  // A literal dot in a key would be a path to convict; keys of the schema hold none.
  const set = (path: readonly string[], value: unknown) => store.set(path.join('.') as never, value as never);
  walkFixed(schema, [], (node, path) => {
    const full = [...at, ...path];
    if (node.node === 'leaf') {
      const entry = effective.get(pathKey(full));
      if (entry !== undefined) set(path, entry.value);
    } else if (node.node === 'free') set(path, freeEntries(effective, full));
    else set(path, mapEntries(node as MapOf, effective, full));
  });
  store.validate({ allowed: 'strict' });
  return store.getProperties() as Record<string, unknown>;
}

function mapEntries(node: MapOf, effective: Effective, at: readonly string[]): KeyedValue[] {
  return keysOf(effective, at).map((key) => {
    const own = [...at, key];
    const { value } = node;
    return [key, value.node === 'section' ? propertiesOf(value, effective, own) : effective.get(pathKey(own))?.value];
  });
}

function freeEntries(effective: Effective, at: readonly string[]): KeyedValue[] {
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
  return Object.entries(root);
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
    out[compiledName(key, node)] = namedNode(node, values[key]);
  }
  return Object.freeze(out);
}

function namedNode(node: Node, value: unknown): unknown {
  if (node.node === 'section') return named(node, value as Record<string, unknown>);
  if (node.node === 'leaf') return deepFreeze(value);
  const inside = (value as KeyedValue[]).map(([key, inner]) => [
    key,
    node.node === 'map' ? namedNode(node.value, inner) : inner,
  ]);
  return deepFreeze(Object.fromEntries(inside));
}

function deepFreeze(value: unknown): unknown {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    for (const part of Object.values(value)) deepFreeze(part);
    Object.freeze(value);
  }
  return value;
}
