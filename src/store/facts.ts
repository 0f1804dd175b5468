import type { TaskId } from '../model/attempt-key.js';
import type { TaskPayload } from '../model/task-record.js';
import {
  encodeFact,
  type FactKey,
  type FactKind,
  type FactSource,
  type FactsByKind,
  factKey,
  partsOfKey,
  smallOf,
} from '../state/index.js';
import type { Entry } from './entry.js';
import type { DoEnd, ReplayCache } from './replay-cache.js';
import type { TaskStore } from './task-store.js';

type Facts = { readonly [K in FactKind]: (name: string) => FactsByKind[K] | undefined };

/** What the daemon itself keeps in the state, besides what the store knows. */
export type OtherFacts = {
  [K in 'routes' | 'birth' | 'handleKey']?: FactsByKind[K];
} & { readonly buckets: ReadonlyMap<string, FactsByKind['bucket']> };

/** The facts of the store as they stand: what the state writes. Secrets are in none of them. */
export class StoreFacts implements FactSource {
  readonly #store: TaskStore;
  readonly #replays: ReplayCache;
  readonly #others: OtherFacts;
  readonly #facts: Facts;

  constructor(store: TaskStore, replays: ReplayCache, others: OtherFacts) {
    this.#store = store;
    this.#replays = replays;
    this.#others = others;
    this.#facts = {
      task: (id) => taskFactOf(store, id),
      payload: (id) => payloadOf(store, id),
      outputs: (id) => outputsOf(store.entry(id)),
      owed: (id) => owedFactOf(store, id),
      unclear: (id) => unclearFactOf(store, id),
      mark: (key) => markFactOf(store, key),
      do: (key) => doFactOf(replays.end(key)),
      bucket: (name) => others.buckets.get(name),
      routes: () => others.routes,
      birth: () => others.birth,
      handleKey: () => others.handleKey,
    };
  }

  fact(key: FactKey): Buffer | undefined {
    const parts = partsOfKey(key);
    return parts === undefined ? undefined : this.#encoded(parts.kind, parts.name);
  }

  /** Whether there is such a fact; said without making it, of which a start with many tasks asks for each. */
  has(key: FactKey): boolean {
    const parts = partsOfKey(key);
    if (parts === undefined) return false;
    const { kind, name } = parts;
    if (kind === 'task') return isKept(this.#store.entry(name));
    if (kind === 'mark') return this.#store.marks.of(name) !== undefined;
    return this.#facts[kind](name) !== undefined;
  }

  *keys(): Iterable<FactKey> {
    for (const id of this.#store.entryIds()) {
      yield factKey('task', id);
      yield factKey('payload', id);
      yield factKey('outputs', id);
    }
    for (const { id } of this.#store.owed.listed()) yield factKey('owed', id);
    for (const { id } of this.#store.unclear.listed()) {
      yield factKey('unclear', id);
      yield factKey('payload', id);
    }
    for (const key of this.#store.marks.keys()) yield factKey('mark', key);
    for (const key of this.#replays.keys()) yield factKey('do', key);
    for (const name of this.#others.buckets.keys()) yield factKey('bucket', name);
    yield factKey('routes');
    yield factKey('birth');
    yield factKey('handleKey');
  }

  /** How many there are of each kind that may be many. */
  counts(): Readonly<Record<string, number>> {
    const { unfinished, finished, owed, unclear, marks } = this.#store;
    return {
      task: unfinished + finished,
      owed: owed.size,
      unclear: unclear.size,
      mark: marks.size,
      do: this.#replays.size,
      bucket: this.#others.buckets.size,
    };
  }

  #encoded<K extends FactKind>(kind: K, name: string): Buffer | undefined {
    const fact = this.#facts[kind](name);
    return fact === undefined ? undefined : encodeFact(kind, name, fact);
  }
}

/** What a handle alone says is in the handle; until a read has shown that there is such a job it may be made up. */
function isKept(entry: Entry | undefined): entry is Entry {
  return entry !== undefined && !(entry.adopted && entry.observedAtMs === undefined);
}

function taskFactOf(store: TaskStore, id: TaskId): FactsByKind['task'] | undefined {
  const entry = store.entry(id);
  if (!isKept(entry)) return undefined;
  // One literal, without a copy of parts: a burst of creates makes it twice for each.
  return {
    identity: entry.identity,
    stage: entry.stage,
    order: entry.order,
    meta: entry.meta,
    outputPrefix: entry.outputPrefix,
    node: entry.node,
    requirements: entry.requirements,
    sentBoundMs: entry.sentBoundMs,
    createFailingForMs: entry.createFailingForMs,
    waitedForMs: entry.waitedForMs,
    state: smallOf(entry.known),
    phaseVersion: entry.phaseVersion,
    observedAtMs: entry.observedAtMs,
    lastFailure: entry.lastFailure,
    failing: entry.failing,
    answeredHandle: entry.answeredHandle,
    liveSinceMs: entry.liveSinceMs,
    lastAskedAtMs: entry.lastAskedAtMs,
    confirmed: entry.confirmed,
    undeliveredAtMs: entry.undeliveredAtMs,
    undeliveredForMs: entry.undeliveredForMs,
    adopted: entry.adopted,
    deleted: entry.deleted,
    delivered: entry.delivered,
    cancelling: store.cancelling(id)?.reason,
    hadConnection: entry.connectionUntilMs > 0,
  };
}

function payloadOf(store: TaskStore, id: TaskId): TaskPayload | undefined {
  const args = store.unclear.get(id)?.args;
  if (args === undefined) return store.entry(id)?.payload;
  const { template, inputs, inputPrefix, metadata, maxDatasetSizeBytes } = args;
  return { template, inputs, inputPrefix, metadata, maxDatasetSizeBytes };
}

function outputsOf(entry: Entry | undefined): FactsByKind['outputs'] | undefined {
  const outputs = entry?.known.outputs;
  return outputs?.kind === 'inline' ? { literalMap: outputs.literalMap, names: outputs.names } : undefined;
}

function owedFactOf(store: TaskStore, id: TaskId): FactsByKind['owed'] | undefined {
  const owed = store.owed.get(id);
  if (owed === undefined) return undefined;
  return {
    identity: owed.identity,
    node: owed.node,
    meta: owed.meta,
    outputPrefix: owed.outputPrefix,
    reason: owed.reason,
    sinceMs: owed.sinceMs,
    attempts: owed.attempts,
    lastError: owed.lastError,
    jobOver: owed.jobOver,
    readFirst: owed.readFirst,
    fromHandle: owed.fromHandle,
    holdsToken: owed.holdsToken,
    failingForMs: owed.failingForMs,
    hadConnection: owed.connectionUntilMs > 0,
  };
}

function unclearFactOf(store: TaskStore, id: TaskId): FactsByKind['unclear'] | undefined {
  const unclear = store.unclear.get(id);
  if (unclear === undefined) return undefined;
  const { identity, node, outputPrefix, sinceMs, looks, leftBecause, lastError, sentBoundMs, lookBoundMs } = unclear;
  const hadConnection = unclear.connectionUntilMs > 0;
  const known = { identity, node, outputPrefix, sinceMs, looks, leftBecause, lastError, sentBoundMs };
  return { ...known, lookBoundMs, hadConnection };
}

function markFactOf(store: TaskStore, key: string): FactsByKind['mark'] | undefined {
  const marks = store.marks.of(key);
  if (marks === undefined) return undefined;
  const incarnations = [...marks.byIncarnation].map(([incarnation, { failure, ...mark }]) => ({
    incarnation,
    ...mark,
    failure: failure === undefined ? undefined : smallOf(failure),
  }));
  return { atMs: marks.atMs, incarnations };
}

/** How a run of `do` ended, as it is kept. */
export function doFactOf(end: DoEnd): FactsByKind['do'];
export function doFactOf(end: DoEnd | undefined): FactsByKind['do'] | undefined;
export function doFactOf(end: DoEnd | undefined): FactsByKind['do'] | undefined {
  if (end === undefined) return undefined;
  const { outputs } = end.state;
  const inline = outputs.kind === 'inline' ? { literalMap: outputs.literalMap, names: outputs.names } : undefined;
  return { state: smallOf(end.state), outputs: inline, endedAtMs: end.endedAtMs };
}
