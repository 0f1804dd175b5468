import { z } from 'zod';
import { show } from '../../lib/show.js';
import type { AnyLeaf } from '../../model/options/leaf.js';
import {
  type Compiled,
  compiledName,
  isMapKey,
  type MapOf,
  type Node,
  type Section,
} from '../../model/options/spec.js';
import { expectedOf, fallbackOf, readValue } from '../../model/options/values.js';

/** Makes the error for what is wrong, told in words: where, what was seen, what was expected. */
export type Fail = (problems: string) => Error;

/** A section as zod reads it. */
export interface OptionSchema<N extends Section> {
  readonly schema: z.ZodType;
  /** Carries the type of what is read; never set. */
  readonly compiled?: Compiled<N>;
}

/** Problems that one error tells; what a plugin defines may hold any number. */
const MAX_TOLD = 10;

/**
 * zod's schema of options that stand in code instead of a configuration: what a plugin's definition says, an entry that is
 * given to the host. It states nothing itself: what is taken, and what is in force where nothing is said, is the table's.
 */
export const optionSchema = <N extends Section>(section: N): OptionSchema<N> => ({ schema: schemaOf(section) });

/**
 * The whole section, defaults filled in, as the configuration compiles it and frozen; a key that is undefined counts as left
 * out. Throws `fail(…)` with all problems; `at` is what the section is called in them.
 */
export function readOptions<N extends Section>(
  options: OptionSchema<N>,
  raw: unknown,
  at: string,
  fail: Fail,
): Compiled<N> {
  const read = options.schema.safeParse(raw);
  if (read.success) return read.data as Compiled<N>;
  const problems = read.error.issues.flatMap((issue) => problemsOf(issue, at));
  const more = problems.length > MAX_TOLD ? `; and ${problems.length - MAX_TOLD} more` : '';
  throw fail(`${problems.slice(0, MAX_TOLD).join('; ')}${more}`);
}

function schemaOf(node: Node): z.ZodType {
  switch (node.node) {
    case 'leaf':
      return z
        .unknown()
        .optional()
        .transform((raw, context) => readLeaf(node, raw, context));
    case 'section':
      return sectionSchema(node);
    case 'map':
      return mapSchema(node);
    case 'free':
      return z.unknown().optional().transform(readObject);
    default:
      return node satisfies never;
  }
}

function readLeaf(leaf: AnyLeaf, raw: unknown, context: z.RefinementCtx): unknown {
  if (raw === undefined && leaf.presence !== 'required') return fallbackOf(leaf);
  const read = readValue(leaf, raw);
  if (read.ok) return read.value;
  const seen = leaf.sensitive ? `a hidden ${raw === null ? 'null' : typeof raw}` : show(raw);
  return flaw(context, ` is ${seen}; expected ${expectedOf(leaf)}`);
}

function sectionSchema({ fields }: Section): z.ZodType {
  const known = Object.keys(fields);
  const shape = Object.fromEntries(Object.entries(fields).map(([key, child]) => [key, schemaOf(child)]));
  return objectFirst(
    z.strictObject(shape, `: no such key; known are ${known.join(', ')}`).transform((values) => {
      const named = Object.entries(fields).map(([key, child]) => [compiledName(key, child), values[key]]);
      return Object.freeze(Object.fromEntries(named));
    }),
  );
}

function mapSchema(map: MapOf): z.ZodType {
  const checked = z.custom<Record<string, unknown>>().superRefine((raw, context) => {
    const keys = Object.keys(raw);
    if (keys.length > map.maxKeys) flaw(context, ` has ${keys.length} keys; expected at most ${map.maxKeys}`);
    for (const key of keys) {
      if (!isMapKey(map, key)) flaw(context, ` has the key ${show(key)}; expected ${map.keyExpected}`);
    }
  });
  return objectFirst(
    checked.pipe(z.record(z.string(), schemaOf(map.value)).transform((values) => Object.freeze(values))),
  );
}

/** Where nothing is said, an empty object; what is none is told before zod looks into it. */
const objectFirst = (schema: z.ZodType): z.ZodType => z.unknown().optional().transform(readObject).pipe(schema);

function readObject(raw: unknown, context: z.RefinementCtx): unknown {
  if (raw === undefined) return {};
  if (typeof raw === 'object' && raw !== null && !Array.isArray(raw)) return raw;
  return flaw(context, ` is ${show(raw)}; expected an object`);
}

function flaw(context: z.RefinementCtx, message: string): never {
  context.addIssue({ code: 'custom', message });
  return z.NEVER;
}

/** Messages go on from the place they are about; one about unknown keys stands for each of them. */
function problemsOf(issue: z.core.$ZodIssue, at: string): string[] {
  const place = [at, ...issue.path.map(String)].filter((part) => part !== '').join('.');
  if (issue.code !== 'unrecognized_keys') return [`${place}${issue.message}`];
  return issue.keys.map((key) => `${place === '' ? '' : `${place}.`}${key}${issue.message}`);
}
