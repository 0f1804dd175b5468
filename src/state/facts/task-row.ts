import type { JsonValue } from '../../lib/json.js';
import type { TaskIdentity } from '../../model/handle.js';
import { TASK_STAGES } from '../../model/task-record.js';
import {
  type Blobs,
  bytes,
  type Field,
  FieldError,
  optional,
  optionalList,
  real,
  record,
  text,
  unless,
  whole,
} from './fields.js';
import { smallState } from './phase-fields.js';
import { SharedJson } from './shared-json.js';
import { failingReads, nodeAttempt, readFailure, requirements, type TaskFact } from './task-facts.js';

/** What of an identity many tasks have in common. */
type Scope = Omit<TaskIdentity, 'key' | 'createdAtMs'>;

const scopes = new SharedJson<Scope>(
  record<Scope>({
    plugin: text,
    taskType: text,
    taskTypeVersion: unless(0, whole),
    incarnation: unless(1, whole),
    project: text,
    domain: text,
    namespace: text,
    quotaNamespace: unless('', text),
    outputNames: optionalList(text),
  }),
);

const states = new SharedJson(smallState);

type Rare = Pick<
  TaskFact,
  | 'node'
  | 'requirements'
  | 'sentBoundMs'
  | 'createFailingForMs'
  | 'waitedForMs'
  | 'lastFailure'
  | 'failing'
  | 'undeliveredAtMs'
  | 'undeliveredForMs'
  | 'cancelling'
>;

/** What most live tasks do not have. */
const rare: Field<Rare> = record<Rare>({
  node: optional(nodeAttempt),
  requirements: optional(requirements),
  sentBoundMs: optional(real),
  createFailingForMs: unless(0, real),
  waitedForMs: unless(0, real),
  lastFailure: optional(readFailure),
  failing: optional(failingReads),
  undeliveredAtMs: optional(real),
  undeliveredForMs: unless(0, real),
  cancelling: optional(text),
});

const FLAGS = ['confirmed', 'adopted', 'deleted', 'hadConnection', 'delivered'] as const;

/**
 * A task as a list, what it has in common with others (scope and state) as texts beside it: a start with half a million tasks
 * spends most of its time here, and keys cost more to read than what they name. In this order: key, time of creation, stage
 * (its place in TASK_STAGES), order, output prefix, phase version, live since, last asked, observed (or null), flags (bits, in
 * the order of FLAGS), scope, state, meta (or null), answered handle (or null), and, where there is any of it, what most do not
 * have. What stands behind these is passed over, so that one release may add what the one before does without.
 */
export const taskRow: Field<TaskFact> = {
  write(fact, blobs) {
    const { identity, meta, answeredHandle, observedAtMs } = fact;
    const row: JsonValue[] = [
      identity.key,
      identity.createdAtMs,
      TASK_STAGES.indexOf(fact.stage),
      fact.order,
      fact.outputPrefix,
      fact.phaseVersion,
      fact.liveSinceMs,
      fact.lastAskedAtMs,
      observedAtMs ?? null,
      FLAGS.reduce((bits, flag, at) => (fact[flag] ? bits | (1 << at) : bits), 0),
      blobs.push(lastScope.bytesOf(identity)) - 1,
      blobs.push(states.write(fact.state)) - 1,
      meta === undefined ? null : blobs.push(meta) - 1,
      answeredHandle === undefined ? null : blobs.push(answeredHandle) - 1,
    ];
    if (hasRare(fact)) row.push(rare.write(fact, blobs) ?? null);
    return row;
  },

  read(raw, blobs) {
    if (!Array.isArray(raw)) throw new FieldError('it is not a list');
    const { plugin, taskType, taskTypeVersion, incarnation, project, domain, namespace, quotaNamespace, outputNames } =
      scopes.read(bytes.read(raw[10], blobs, 'scope'), 'scope');
    const flags = wholeAt(raw, 9, 'flags');
    const has = raw[14] === undefined ? NOTHING_RARE : rare.read(raw[14], blobs, 'rare');
    return {
      identity: {
        plugin,
        taskType,
        taskTypeVersion,
        key: textAt(raw, 0, 'key'),
        incarnation,
        project,
        domain,
        namespace,
        quotaNamespace,
        createdAtMs: wholeAt(raw, 1, 'createdAtMs'),
        outputNames,
      },
      stage: TASK_STAGES.at(wholeAt(raw, 2, 'stage')) ?? wrong('stage', 'one that is known'),
      order: wholeAt(raw, 3, 'order'),
      meta: bytesAt(raw, 12, blobs, 'meta'),
      outputPrefix: textAt(raw, 4, 'outputPrefix'),
      node: has.node,
      requirements: has.requirements,
      sentBoundMs: has.sentBoundMs,
      createFailingForMs: has.createFailingForMs,
      waitedForMs: has.waitedForMs,
      state: states.read(bytes.read(raw[11], blobs, 'state'), 'state'),
      phaseVersion: wholeAt(raw, 5, 'phaseVersion'),
      observedAtMs: raw[8] === null ? undefined : realAt(raw, 8, 'observedAtMs'),
      lastFailure: has.lastFailure,
      failing: has.failing,
      answeredHandle: bytesAt(raw, 13, blobs, 'answeredHandle'),
      liveSinceMs: realAt(raw, 6, 'liveSinceMs'),
      lastAskedAtMs: realAt(raw, 7, 'lastAskedAtMs'),
      confirmed: (flags & 1) !== 0,
      undeliveredAtMs: has.undeliveredAtMs,
      undeliveredForMs: has.undeliveredForMs,
      adopted: (flags & 2) !== 0,
      deleted: (flags & 4) !== 0,
      cancelling: has.cancelling,
      hadConnection: (flags & 8) !== 0,
      delivered: (flags & 16) !== 0,
    };
  },
};

const NOTHING_RARE: Rare = Object.freeze(rare.read({}, [], 'rare'));

function hasRare(fact: TaskFact): boolean {
  const { node, requirements, sentBoundMs, lastFailure, failing, undeliveredAtMs, undeliveredForMs, cancelling } = fact;
  if (node !== undefined || requirements !== undefined || sentBoundMs !== undefined) return true;
  if (fact.createFailingForMs !== 0 || fact.waitedForMs !== 0) return true;
  return (
    lastFailure !== undefined ||
    failing !== undefined ||
    undeliveredAtMs !== undefined ||
    undeliveredForMs !== 0 ||
    cancelling !== undefined
  );
}

/** The scope that was written last: a burst of creates writes the same again and again. */
const lastScope = {
  scope: undefined as Scope | undefined,
  bytes: Buffer.alloc(0) as Buffer,

  bytesOf(identity: TaskIdentity): Buffer {
    if (this.scope === undefined || !isSame(this.scope, identity)) {
      const { key: _key, createdAtMs: _createdAtMs, ...scope } = identity;
      this.bytes = scopes.write(scope);
      this.scope = scope;
    }
    return this.bytes;
  },
};

/** False may be said of lists of names that are equal, too. */
function isSame(one: Scope, other: Scope): boolean {
  return (
    one.outputNames === other.outputNames &&
    one.plugin === other.plugin &&
    one.taskType === other.taskType &&
    one.taskTypeVersion === other.taskTypeVersion &&
    one.incarnation === other.incarnation &&
    one.project === other.project &&
    one.domain === other.domain &&
    one.namespace === other.namespace &&
    one.quotaNamespace === other.quotaNamespace
  );
}

type Row = readonly JsonValue[];

function textAt(row: Row, at: number, name: string): string {
  const raw = row[at];
  return typeof raw === 'string' ? raw : wrong(name, 'a text');
}

function realAt(row: Row, at: number, name: string): number {
  const raw = row[at];
  return typeof raw === 'number' ? raw : wrong(name, 'a number');
}

function wholeAt(row: Row, at: number, name: string): number {
  const raw = row[at];
  return Number.isSafeInteger(raw) && (raw as number) >= 0 ? (raw as number) : wrong(name, 'a whole number from 0');
}

function bytesAt(row: Row, at: number, blobs: Blobs, name: string): Buffer | undefined {
  const raw = row[at];
  return raw === null ? undefined : bytes.read(raw, blobs, name);
}

function wrong(name: string, expected: string): never {
  throw new FieldError(`${name} is not ${expected}`);
}
