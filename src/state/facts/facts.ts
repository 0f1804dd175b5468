import { HostError } from '../../errors/index.js';
import type { TaskPayload } from '../../model/task-record.js';
import { decodeValue, encodeValue, type Format } from './envelope.js';
import {
  type BirthFact,
  type BucketFact,
  birthFact,
  bucketFact,
  type DoFact,
  doFact,
  type HandleKeyFact,
  handleKeyFact,
  type MarkFact,
  markFact,
  type OwedFact,
  owedFact,
  type RoutesFact,
  routesFact,
  type UnclearFact,
  unclearFact,
} from './other-facts.js';
import { isKeyOfPart, withoutPart } from './part-keys.js';
import { type InlineOutputs, inlineOutputs } from './phase-fields.js';
import { type TaskFact, taskFact, taskPayload } from './task-facts.js';
import { taskRow } from './task-row.js';

/** What each kind of fact says. */
export interface FactsByKind {
  task: TaskFact;
  payload: TaskPayload;
  outputs: InlineOutputs;
  owed: OwedFact;
  unclear: UnclearFact;
  mark: MarkFact;
  bucket: BucketFact;
  do: DoFact;
  routes: RoutesFact;
  birth: BirthFact;
  handleKey: HandleKeyFact;
}

export type FactKind = keyof FactsByKind;

/** A kind and a name, as `task/<id>`; of `routes`, `birth` and `handleKey` there is one each, without a name. */
export type FactKey = string;

/**
 * The oldest release that reads what this one writes; undefined where none is too old. Parts of a state go to no release before it, as long
 * as there is one that is not.
 */
export const READABLE_SINCE: string | undefined = undefined;

/**
 * Raise a version with every change that the release before would misread; a key that it may pass over is none. READABLE_SINCE is the release
 * that first has the raised version.
 */
const FORMATS: { readonly [K in FactKind]: Format<FactsByKind[K]> } = {
  task: { version: 2, field: taskRow, before: [taskFact] },
  payload: { version: 1, field: taskPayload },
  outputs: { version: 1, field: inlineOutputs },
  owed: { version: 1, field: owedFact },
  unclear: { version: 1, field: unclearFact },
  mark: { version: 1, field: markFact },
  bucket: { version: 1, field: bucketFact },
  do: { version: 1, field: doFact },
  routes: { version: 1, field: routesFact },
  birth: { version: 1, field: birthFact },
  handleKey: { version: 1, field: handleKeyFact },
};

export const FACT_KINDS = Object.keys(FORMATS) as FactKind[];

/** Stands in a state while another one is copied into it: what has it is a part. */
export const COPYING: FactKey = 'copying';

export function factKey(kind: FactKind, name = ''): FactKey {
  return name === '' ? kind : `${kind}/${name}`;
}

/** The kind and name of a key, whichever part it is of; undefined for one that no release so far has written. */
export function partsOfKey(whole: FactKey): { readonly kind: FactKind; readonly name: string } | undefined {
  const key = isKeyOfPart(whole) ? withoutPart(whole) : whole;
  const slash = key.indexOf('/');
  const kind = slash === -1 ? key : key.slice(0, slash);
  if (!Object.hasOwn(FORMATS, kind)) return undefined;
  return { kind: kind as FactKind, name: slash === -1 ? '' : key.slice(slash + 1) };
}

/** Whether a fact never changes and may be large, so that an engine may keep it apart from those that do. */
export function isWrittenOnce(key: FactKey): boolean {
  const kind = partsOfKey(key)?.kind;
  return kind === 'payload' || kind === 'outputs';
}

export function encodeFact<K extends FactKind>(kind: K, name: string, fact: FactsByKind[K]): Buffer {
  return encodeValue(factKey(kind, name), FORMATS[kind], fact);
}

/** Throws STATE_DAMAGED or STATE_FORMAT_NEWER, naming the key. */
export function decodeFact<K extends FactKind>(kind: K, name: string, value: Buffer): FactsByKind[K] {
  return decodeValue(factKey(kind, name), FORMATS[kind], value);
}

/** One fact as it was read. */
export type Fact = {
  [K in FactKind]: { readonly kind: K; readonly name: string; readonly fact: FactsByKind[K] };
}[FactKind];

/** Reads a pair of key and value. Throws STATE_FORMAT_NEWER for a kind that this release does not know, STATE_DAMAGED for a part. */
export function decodePair(key: FactKey, value: Buffer): Fact {
  const parts = partsOfKey(key);
  if (key === COPYING) {
    throw new HostError('STATE_DAMAGED', 'another state was copied into this one in part; empty it, and copy again');
  }
  if (parts === undefined) {
    throw new HostError(
      'STATE_FORMAT_NEWER',
      `the state holds ${JSON.stringify(key.slice(0, 80))}, a kind of fact that this release does not know; start the release that wrote it, or a later one`,
    );
  }
  return { ...parts, fact: decodeFact(parts.kind, parts.name, value) } as Fact;
}
