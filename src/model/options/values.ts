import type { JsonValue } from '../../lib/json.js';
import type { AnyLeaf, Domain, Leaf } from './leaf.js';
import { formatDuration, formatSize, parseDuration, parseSize } from './units.js';

/** The value in its compiled form, or that it is not what the option takes. */
export type Read<T> = { readonly ok: true; readonly value: T } | { readonly ok: false };

/** Entries that a list may hold. */
const MAX_ITEMS = 1000;

/**
 * Takes a value as JSON, YAML or a plugin's code gave it. Strict: no conversion between types, nothing is rounded or
 * clamped. Durations come out as milliseconds, sizes as bytes, lists frozen.
 */
export function readValue<T>({ takes }: Leaf<T>, raw: unknown): Read<T> {
  const value = readDomain(takes, raw);
  return value === undefined ? { ok: false } : { ok: true, value: value as T };
}

/** The compiled value; undefined where it is not in the domain, since no option takes undefined. */
function readDomain(takes: Domain, raw: unknown): unknown {
  switch (takes.type) {
    case 'duration': {
      const ms = typeof raw === 'string' ? parseDuration(raw) : raw;
      return inRange(ms, parseDuration(takes.min) as number, parseDuration(takes.max) as number);
    }
    case 'size': {
      const bytes = typeof raw === 'string' ? parseSize(raw) : raw;
      if (!Number.isSafeInteger(bytes) || (bytes as number) % stepOf(takes) !== 0) return undefined;
      return inRange(bytes, parseSize(takes.min) as number, parseSize(takes.max) as number);
    }
    case 'integer':
      return Number.isSafeInteger(raw) ? inRange(raw, takes.min, takes.max) : undefined;
    case 'number':
      return inRange(raw, takes.min, takes.max);
    case 'boolean':
      return typeof raw === 'boolean' ? raw : undefined;
    case 'text':
      return typeof raw === 'string' && takes.pattern.test(raw) ? raw : undefined;
    case 'choice':
      return takes.values.includes(raw as string) ? raw : undefined;
    case 'list of text':
      return readList(takes.item, raw);
    default:
      return takes satisfies never;
  }
}

function inRange(value: unknown, min: number, max: number): number | undefined {
  return typeof value === 'number' && value >= min && value <= max ? value : undefined;
}

function readList(item: RegExp, raw: unknown): readonly string[] | undefined {
  if (!Array.isArray(raw) || raw.length > MAX_ITEMS) return undefined;
  if (!raw.every((each) => typeof each === 'string' && item.test(each))) return undefined;
  return new Set(raw).size === raw.length ? Object.freeze([...(raw as string[])]) : undefined;
}

const stepOf = ({ multipleOf }: { readonly multipleOf?: string }): number => parseSize(multipleOf ?? '1B') as number;

/** What an option takes, in words. */
export function expectedOf({ takes }: AnyLeaf): string {
  switch (takes.type) {
    case 'duration':
      return `a duration from ${takes.min} to ${takes.max}, as text with a unit (ms, s, m, h, d) or as a number of milliseconds`;
    case 'size': {
      const steps = takes.multipleOf === undefined ? '' : ` in steps of ${takes.multipleOf}`;
      return `a size from ${takes.min} to ${takes.max}${steps}, as text with a unit (B, KiB, MiB, GiB, kB, MB, GB) or as a number of bytes`;
    }
    case 'integer':
      return `an integer from ${takes.min} to ${takes.max}`;
    case 'number':
      return `a number from ${takes.min} to ${takes.max}`;
    case 'boolean':
      return 'true or false';
    case 'text':
      return takes.expected;
    case 'choice':
      return `one of ${takes.values.join(', ')}`;
    case 'list of text':
      return `a list of ${takes.itemsExpected}, without repetition`;
    default:
      return takes satisfies never;
  }
}

/** The value of an option that is not set, in its compiled form; undefined where it stays unset. */
export const fallbackOf = <T>(leaf: Leaf<T>): T | undefined =>
  leaf.presence === 'default' ? defaultOf(leaf) : undefined;

/** The default in its compiled form, also of an option that leaves another the word first; undefined without one. */
export function defaultOf<T>(leaf: Leaf<T>): T | undefined {
  const read = readValue(leaf, leaf.written);
  return read.ok ? read.value : undefined;
}

/** The compiled value as one would write it. */
export function showValue({ takes }: AnyLeaf, value: unknown): JsonValue {
  if (takes.type === 'duration') return formatDuration(value as number);
  if (takes.type === 'size') return formatSize(value as number);
  return Array.isArray(value) ? [...(value as string[])] : (value as JsonValue);
}

const NUMERIC = /^-?\d+(\.\d+)?([eE][-+]?\d+)?$/;

/** Turns the text of an environment variable or flag into what a file would hold; the text itself if it is no such thing. */
export function valueFromText({ takes }: AnyLeaf, text: string): unknown {
  switch (takes.type) {
    case 'duration':
    case 'size':
    case 'integer':
    case 'number':
      return NUMERIC.test(text) ? Number(text) : text;
    case 'boolean':
      return text === 'true' ? true : text === 'false' ? false : text;
    case 'list of text':
      return listFromText(text);
    default:
      return text;
  }
}

/** Separated by commas, or a list written as JSON. */
function listFromText(text: string): unknown {
  if (text.trim() === '') return [];
  if (!text.trimStart().startsWith('[')) return text.split(',').map((part) => part.trim());
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
