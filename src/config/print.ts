import type { JsonValue } from '../lib/json.js';
import { isSecretName } from '../lib/secrets.js';
import type { AnyLeaf } from '../model/options/leaf.js';
import { CONFIG_SCHEMA } from '../model/options/schema.js';
import type { Node, Section } from '../model/options/spec.js';
import { fallbackOf, showValue } from '../model/options/values.js';
import { MAP_KEY, MASK } from './check.js';
import { type Effective, keysOf, pathKey } from './compile.js';
import { keyText } from './problems.js';

/** One option with its value in force and where it comes from. */
export interface EffectiveOption {
  /** Dotted key. */
  readonly key: string;
  /** As one would write it; sensitive values are masked. */
  readonly value: JsonValue;
  /** `default`, or the source that won. */
  readonly origin: string;
}

/** Every option in force, in the order of the schema, masked. Options that are not set and have no default are left out. */
export function effectiveOptions(effective: Effective, schema: Section = CONFIG_SCHEMA): EffectiveOption[] {
  const out: EffectiveOption[] = [];
  visit(schema, [], effective, (path, value, origin) => out.push({ key: keyText(path), value, origin }));
  return out;
}

/** The options in force as one tree, as a config file would hold them, masked. Safe to show to an operator. */
export function effectiveTree(effective: Effective): { [key: string]: JsonValue } {
  const root: { [key: string]: JsonValue } = {};
  visit(CONFIG_SCHEMA, [], effective, (path, value) => {
    let target = root;
    for (const part of path.slice(0, -1)) {
      if (!Object.hasOwn(target, part)) target[part] = {};
      target = target[part] as { [key: string]: JsonValue };
    }
    target[path.at(-1) as string] = value;
  });
  return root;
}

/** The defaults, as config.default.json holds them. Options without a default are left out, maps are empty. */
export function defaultTree(schema: Section = CONFIG_SCHEMA): { [key: string]: JsonValue } {
  const out: { [key: string]: JsonValue } = {};
  for (const [key, node] of Object.entries(schema.fields)) {
    if (node.node === 'section') out[key] = defaultTree(node);
    else if (node.node !== 'leaf') out[key] = {};
    else if (node.presence === 'default') out[key] = showValue(node, fallbackOf(node));
  }
  return out;
}

type Visit = (path: readonly string[], value: JsonValue, origin: string) => void;

function visit(node: Node, at: readonly string[], effective: Effective, fn: Visit): void {
  switch (node.node) {
    case 'section':
      for (const [key, child] of Object.entries(node.fields)) visit(child, [...at, key], effective, fn);
      return;
    case 'map': {
      const keys = keysOf(effective, at);
      // An empty map is shown at the top only; below, it would be noise.
      if (keys.length === 0 && at.length === 1) fn(at, {}, 'default');
      for (const key of keys) visit(node.value, [...at, key], effective, fn);
      return;
    }
    case 'free':
      visitFree(at, effective, fn);
      return;
    case 'leaf':
      visitLeaf(node, at, effective, fn);
      return;
    default:
      node satisfies never;
  }
}

function visitLeaf(leaf: AnyLeaf, at: readonly string[], effective: Effective, fn: Visit): void {
  const entry = effective.get(pathKey(at));
  const value = entry === undefined ? fallbackOf(leaf) : entry.value;
  if (value === undefined) return;
  fn(at, leaf.sensitive ? MASK : maskInside(showValue(leaf, value)), entry?.origin ?? 'default');
}

function visitFree(at: readonly string[], effective: Effective, fn: Visit): void {
  for (const { path, value, origin } of effective.values()) {
    if (value === MAP_KEY || path.length < at.length || !at.every((part, i) => path[i] === part)) continue;
    const inside = path.slice(at.length);
    const hidden = inside.some((part) => isSecretName(part)) && !isEmptyObject(value);
    fn(path, hidden ? MASK : maskInside(value as JsonValue), origin);
  }
}

const isEmptyObject = (value: unknown) =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;

/** Lists may hold objects with secrets of their own, and URLs credentials. */
function maskInside(value: JsonValue): JsonValue {
  if (Array.isArray(value)) return value.map(maskInside);
  if (typeof value === 'string') return value.replace(/(\w+:\/\/[^/\s:@]*):[^/\s@]+@/g, `$1:${MASK}@`);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, inner]) => [key, isSecretName(key) ? MASK : maskInside(inner)]),
  );
}
