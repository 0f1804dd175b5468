import { isUtf8 } from 'node:buffer';
import { HostError } from '../errors/index.js';
import { lenField, readFields, WIRE_LEN } from './wire.js';

/**
 * Named entries as bytes. `flyteidl.core.LiteralMap` (map<string, Literal> literals = 1) and flyteidl2's
 * `task.Inputs` / `task.Outputs` (repeated NamedLiteral literals = 1) look the same on the wire: field 1 holds entries
 * of name = 1 and value = 2. So do the variables of both interfaces. One set of functions serves them all, and what
 * else the message holds (flyteidl2's context) is kept.
 */

const ENTRIES = 1;
const ENTRY_NAME = 1;
const ENTRY_VALUE = 2;

export interface NamedBytes {
  readonly name: string;
  /** The encoded Literal (or Variable); empty for an entry without a value. */
  readonly value: Buffer;
}

function readName(bytes: Buffer): string {
  if (isUtf8(bytes)) return bytes.toString('utf8');
  throw new HostError(
    'REQUEST_UNDECODABLE',
    `The name of a literal is not UTF-8: ${bytes.subarray(0, 32).toString('hex')}.`,
  );
}

function readEntry(entry: Buffer): NamedBytes {
  let name = '';
  const parts: Buffer[] = [];
  for (const field of readFields(entry)) {
    if (field.wireType !== WIRE_LEN) continue;
    if (field.number === ENTRY_NAME) name = readName(field.value);
    else if (field.number === ENTRY_VALUE) parts.push(field.value);
  }
  return { name, value: parts.length === 1 ? parts[0]! : Buffer.concat(parts) };
}

/** The entries in the order they lie there; of a repeated name the last one counts, at the place of the first. */
export function readNamedLiterals(map: Uint8Array): NamedBytes[] {
  const byName = new Map<string, NamedBytes>();
  for (const field of readFields(map)) {
    if (field.number !== ENTRIES || field.wireType !== WIRE_LEN) continue;
    const entry = readEntry(field.value);
    byName.set(entry.name, entry);
  }
  return [...byName.values()];
}

/** The names alone, without decoding any literal. */
export function readLiteralNames(map: Uint8Array): string[] {
  return readNamedLiterals(map).map((entry) => entry.name);
}

/** A LiteralMap (or Inputs, or Outputs) of these entries. A repeated name keeps its last value. */
export function buildLiteralMap(entries: Iterable<{ readonly name: string; readonly value: Uint8Array }>): Buffer {
  const byName = new Map<string, Uint8Array>();
  for (const { name, value } of entries) byName.set(name, value);
  const fields = [...byName].map(([name, value]) =>
    lenField(ENTRIES, Buffer.concat([lenField(ENTRY_NAME, name), lenField(ENTRY_VALUE, value)])),
  );
  return Buffer.concat(fields);
}
