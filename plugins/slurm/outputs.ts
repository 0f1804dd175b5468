import type { DataStore, LiteralInput, OutputValues } from 'webapi-plugin-host';
import type { FoundOutputs } from './status.js';

/** Where and which outputs to look for. */
export interface OutputsQuery {
  readonly store: Pick<DataStore, 'exists' | 'get'>;
  readonly prefix: string;
  /** Names of the declared outputs. */
  readonly declared: readonly string[];
  /** Elements of an array job, each with a directory of its own; undefined for a plain job. */
  readonly indexes: readonly number[] | undefined;
  /** Whether outputs may still show up, on a network file system or in an object store. */
  readonly mayAppear: boolean;
}

/** Codes of the data store that waiting does not mend. */
const FINAL_CODES: ReadonlySet<unknown> = new Set([
  'DATA_LOCATION_UNSUPPORTED',
  'DATA_ACCESS_DENIED',
  'DATA_TOO_LARGE',
]);

/** Element directories read at a time. */
const PARALLEL = 8;

/**
 * Finds what a job that succeeded left at its output prefix: `outputs.pb` (as the field's own tools write it), else
 * `outputs.json` with an object of values by name. Of an array, each element leaves an `outputs.json` in its own
 * directory and every output becomes a list in order of the elements. A fault of the store that may pass is thrown.
 */
export async function findOutputs(query: OutputsQuery): Promise<FoundOutputs> {
  const { store, prefix, declared } = query;
  if (prefix === '') {
    return declared.length === 0
      ? { kind: 'none-declared' }
      : { kind: 'unusable', problem: 'the engine sent no output prefix to look for outputs at' };
  }
  try {
    if (declared.length > 0) {
      const found = await findDeclared(query);
      if (found !== undefined) return found;
    }
    const errorFile = join(prefix, 'error.pb');
    if (await store.exists(errorFile)) return { kind: 'error-file', uri: errorFile };
  } catch (error) {
    if (!FINAL_CODES.has((error as { code?: unknown } | null)?.code)) throw error;
    return { kind: 'unusable', problem: `its outputs cannot be read: ${(error as Error).message}` };
  }
  if (declared.length === 0) return { kind: 'none-declared' };
  if (query.mayAppear) return { kind: 'awaited' };
  const where = query.indexes === undefined ? prefix : `${prefix}/<element>`;
  return { kind: 'unusable', problem: `it left neither outputs.pb nor outputs.json at ${where}` };
}

async function findDeclared({ store, prefix, indexes, declared }: OutputsQuery): Promise<FoundOutputs | undefined> {
  if (await store.exists(join(prefix, 'outputs.pb'))) return { kind: 'at-prefix' };
  if (indexes === undefined) return readValues(store, join(prefix, 'outputs.json'));
  const rows: Record<string, LiteralInput>[] = [];
  for (let at = 0; at < indexes.length; at += PARALLEL) {
    const part = indexes.slice(at, at + PARALLEL);
    const found = await Promise.all(part.map((index) => readValues(store, join(prefix, `${index}/outputs.json`))));
    for (const one of found) {
      if (one?.kind !== 'values') return one;
      rows.push(one.values);
    }
  }
  const values: Record<string, LiteralInput> = {};
  for (const name of declared) {
    const without = rows.findIndex((row) => !Object.hasOwn(row, name));
    if (without >= 0) {
      return { kind: 'unusable', problem: `outputs.json of element ${indexes[without]} has no '${name}'` };
    }
    values[name] = rows.map((row) => row[name] as LiteralInput);
  }
  return { kind: 'values', values };
}

function join(prefix: string, name: string): string {
  return `${prefix.replace(/\/+$/, '')}/${name}`;
}

async function readValues(
  store: OutputsQuery['store'],
  uri: string,
): Promise<{ kind: 'values'; values: OutputValues } | { kind: 'unusable'; problem: string } | undefined> {
  if (!(await store.exists(uri))) return undefined;
  const text = Buffer.from(await store.get(uri)).toString('utf8');
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch (error) {
    return { kind: 'unusable', problem: `${uri} is not JSON: ${(error as Error).message}` };
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    return { kind: 'unusable', problem: `${uri} is not an object of values by output name` };
  }
  const inexact = findInexact(parsed);
  if (inexact !== undefined) {
    return { kind: 'unusable', problem: `${uri}: the integer ${inexact} is too large for JSON; write outputs.pb` };
  }
  return { kind: 'values', values: parsed as OutputValues };
}

/** An integer that JSON.parse could not hold exactly: passing on another number than the job wrote is worse than failing. */
function findInexact(value: unknown): number | undefined {
  if (typeof value === 'number') return Number.isInteger(value) && !Number.isSafeInteger(value) ? value : undefined;
  if (typeof value !== 'object' || value === null) return undefined;
  for (const inner of Object.values(value)) {
    const found = findInexact(inner);
    if (found !== undefined) return found;
  }
  return undefined;
}
