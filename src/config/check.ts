import path from 'node:path';
import { type JsonValue, losesDigits } from '../lib/json.js';
import { nearest } from '../lib/nearest.js';
import type { AnyLeaf } from '../model/options/leaf.js';
import { type Free, isMapKey, type MapOf, type Node, type Section } from '../model/options/spec.js';
import { expectedOf, readValue } from '../model/options/values.js';
import { type ConfigProblem, keyText, seenText, shapeText } from './problems.js';

/** A value for one option, checked and in its compiled form. */
export interface Entry {
  readonly path: readonly string[];
  readonly value: unknown;
  readonly origin: string;
  /** Set for leaves; undefined for a value inside free-form settings. */
  readonly leaf: AnyLeaf | undefined;
}

/** The value of an entry that only says that a map has this key (a plugin may be configured with nothing but its id). */
export const MAP_KEY = Symbol('map key');

/** Stands for a secret in what is printed; refused as a value, or a printed configuration would pass for a whole one. */
export const MASK = '********';

const MASKED = 'seen the mask that is printed in place of a secret, expected the secret';

/** Where raw values come from, and where findings go. */
export interface CheckContext {
  /** Says where a key stands, such as `file x.yaml:12`. */
  origin(path: readonly string[]): string;
  /** Folder from which relative paths count. */
  readonly baseDir: string;
  readonly entries: Entry[];
  readonly problems: ConfigProblem[];
}

/** Deeper settings are refused: nothing meaningful is nested like this, and recursion has to end somewhere. */
const MAX_DEPTH = 40;

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/**
 * Checks a raw value (what JSON, YAML, a variable or a flag gave) against its node, at every depth: keys, types, units
 * and ranges. What is right is added to `entries`, what is wrong to `problems`; nothing is converted between types.
 */
export function check(node: Node, raw: unknown, at: readonly string[], context: CheckContext): void {
  switch (node.node) {
    case 'leaf':
      checkLeaf(node, raw, at, context);
      return;
    case 'section':
      checkSection(node, raw, at, context);
      return;
    case 'map':
      checkMap(node, raw, at, context);
      return;
    case 'free':
      if (!isObject(raw)) invalid(context, at, raw, 'an object');
      else checkFree(node, raw, at, context, 0);
      return;
    default:
      node satisfies never;
  }
}

/** Something else stands where an object belongs. Only its kind is told: secrets may be in it, misplaced. */
function invalid(context: CheckContext, at: readonly string[], raw: unknown, expected: string): void {
  const hint = raw === null ? '; give it a value or remove the key' : '';
  report(context, 'CONFIG_VALUE_INVALID', at, `seen ${shapeText(raw)}, expected ${expected}${hint}`);
}

function report(context: CheckContext, code: ConfigProblem['code'], at: readonly string[], message: string): void {
  context.problems.push({ code, origin: context.origin(at), key: keyText(at), message });
}

function checkLeaf(leaf: AnyLeaf, raw: unknown, at: readonly string[], context: CheckContext): void {
  const add = (value: unknown) => context.entries.push({ path: at, value, origin: context.origin(at), leaf });
  if (raw === null && leaf.presence === 'optional') {
    add(undefined);
    return;
  }
  if (leaf.sensitive && raw === MASK) {
    report(context, 'CONFIG_VALUE_INVALID', at, MASKED);
    return;
  }
  const parsed = readValue(leaf, raw);
  if (!parsed.ok) {
    const seen = leaf.sensitive ? `a hidden ${raw === null ? 'null' : typeof raw}` : seenText(raw);
    const missingUnit =
      (leaf.suffix === 'Ms' || leaf.suffix === 'Bytes') && typeof raw === 'string' && /^\d+(\.\d+)?$/.test(raw.trim());
    const hint = missingUnit ? '; the text lacks a unit' : '';
    report(context, 'CONFIG_VALUE_INVALID', at, `seen ${seen}, expected ${expectedOf(leaf)}${hint}`);
    return;
  }
  add(resolvePaths(leaf, parsed.value, context.baseDir));
}

function resolvePaths(leaf: AnyLeaf, value: unknown, baseDir: string): unknown {
  if (leaf.path === false) return value;
  const resolve = (written: string) =>
    leaf.path === 'dotted' && !/^\.{1,2}(\/|$)/.test(written) ? written : path.resolve(baseDir, written);
  return Array.isArray(value) ? Object.freeze(value.map(resolve)) : resolve(value as string);
}

function checkSection(node: Section, raw: unknown, at: readonly string[], context: CheckContext): void {
  if (!isObject(raw)) {
    invalid(context, at, raw, `an object with the keys ${Object.keys(node.fields).join(', ')}`);
    return;
  }
  for (const key of Object.keys(raw)) {
    const child = Object.hasOwn(node.fields, key) ? node.fields[key] : undefined;
    if (child === undefined) unknownKey(node, [...at, key], context);
    else check(child, raw[key], [...at, key], context);
  }
}

/** Reports a key that does not exist, naming the nearest that does. */
export function unknownKey(parent: Section, at: readonly string[], context: CheckContext): void {
  const known = Object.keys(parent.fields);
  const near = nearest(at.at(-1) ?? '', known);
  const hint = near === undefined ? `known here: ${known.join(', ')}` : `did you mean ${JSON.stringify(near)}?`;
  report(context, 'CONFIG_KEY_UNKNOWN', at, `there is no such key; ${hint}`);
}

function checkMap(node: MapOf, raw: unknown, at: readonly string[], context: CheckContext): void {
  if (Array.isArray(raw) && node.listKey !== undefined) {
    checkList(node, node.listKey, raw, at, context);
    return;
  }
  if (!isObject(raw)) {
    const shape = `an object with each ${node.keyName} as a key`;
    invalid(context, at, raw, node.listKey === undefined ? shape : `${shape}, or a list`);
    return;
  }
  const keys = Object.keys(raw);
  if (keys.length > node.maxKeys) {
    report(context, 'CONFIG_VALUE_INVALID', at, `seen ${keys.length} keys, expected at most ${node.maxKeys}`);
    return;
  }
  for (const key of keys) {
    if (checkMapKey(node, key, [...at, key], context)) checkMapValue(node, raw[key], [...at, key], context);
  }
}

/** Whether a key chosen by the operator is allowed; reports it otherwise. */
export function checkMapKey(node: MapOf, key: string, at: readonly string[], context: CheckContext): boolean {
  if (isMapKey(node, key)) return true;
  report(context, 'CONFIG_KEY_UNKNOWN', at, `seen the key ${seenText(key)}, expected ${node.keyExpected}`);
  return false;
}

function checkList(node: MapOf, listKey: string, raw: unknown[], at: readonly string[], context: CheckContext): void {
  const seen = new Set<string>();
  for (const [index, element] of raw.entries()) {
    const here = [...at, String(index)];
    if (!isObject(element)) {
      invalid(context, here, element, `an object with the key ${listKey}`);
      continue;
    }
    const { [listKey]: key, ...rest } = element;
    if (typeof key !== 'string') {
      invalid(context, [...here, listKey], key, node.keyExpected);
      continue;
    }
    if (!checkMapKey(node, key, here, context)) continue;
    if (seen.has(key)) {
      report(context, 'CONFIG_CONFLICT', here, `the ${node.keyName} ${JSON.stringify(key)} is listed twice`);
      continue;
    }
    seen.add(key);
    // Findings name the element by its place in the list, as it is written; values are kept under the key.
    const inner: CheckContext = {
      ...context,
      origin: (path) => context.origin([...here, ...path.slice(at.length + 1)]),
    };
    checkMapValue(node, rest, [...at, key], inner);
  }
}

function checkMapValue(node: MapOf, raw: unknown, at: readonly string[], context: CheckContext): void {
  if (node.value.node === 'section') {
    context.entries.push({ path: at, value: MAP_KEY, origin: context.origin(at), leaf: undefined });
  }
  check(node.value, raw, at, context);
}

function checkFree(node: Free, raw: unknown, at: readonly string[], context: CheckContext, depth: number): void {
  const add = (value: unknown) =>
    context.entries.push({ path: at, value, origin: context.origin(at), leaf: undefined });
  if (depth > MAX_DEPTH) {
    report(context, 'CONFIG_VALUE_INVALID', at, `seen more than ${MAX_DEPTH} levels of nesting, expected fewer`);
    return;
  }
  if (!isObject(raw)) {
    const flaw = jsonFlaw(raw, depth);
    if (raw === MASK) report(context, 'CONFIG_VALUE_INVALID', at, MASKED);
    else if (flaw === undefined) add(raw);
    else report(context, 'CONFIG_VALUE_INVALID', at, `seen ${flaw}, expected a JSON value`);
    return;
  }
  const keys = Object.keys(raw);
  if (keys.length === 0) add({});
  for (const key of keys) {
    if (key === '__proto__') report(context, 'CONFIG_KEY_UNKNOWN', [...at, key], 'this name cannot be used as a key');
    else checkFree(node, raw[key], [...at, key], context, depth + 1);
  }
}

/** Checks one value inside free-form settings, for flags that address it. */
export function checkInsideFree(node: Free, raw: unknown, at: readonly string[], context: CheckContext): void {
  checkFree(node, raw, at, context, 1);
}

function numberFlaw(value: number): string | undefined {
  if (!Number.isFinite(value)) return `the number ${value}`;
  return losesDigits(value) ? `about ${value}, with more digits than a number keeps (write a text)` : undefined;
}

/** What keeps a scalar or list from being JSON; undefined where nothing does. */
function jsonFlaw(value: unknown, depth: number): string | undefined {
  if (depth > MAX_DEPTH) return `more than ${MAX_DEPTH} levels of nesting`;
  if (value === null || typeof value === 'string' || typeof value === 'boolean') return undefined;
  if (typeof value === 'number') return numberFlaw(value);
  if (Array.isArray(value)) {
    for (const item of value as JsonValue[]) {
      const flaw = jsonFlaw(item, depth + 1);
      if (flaw !== undefined) return flaw;
    }
    return undefined;
  }
  if (!isObject(value)) return `a ${typeof value}`;
  if (Object.hasOwn(value, '__proto__')) return 'the key __proto__';
  return jsonFlaw(Object.values(value), depth + 1);
}
