import { idempotencyKeyOf } from '../model/attempt-key.js';
import { type PhaseState, phaseState } from '../model/phase-state.js';
import type { TaskPayload } from '../model/task-record.js';
import type { Fact, FactsByKind } from '../state/index.js';
import { wholeState } from '../state/index.js';
import type { EndMark } from './end-marks.js';
import { Entry } from './entry.js';
import type { ReplayCache } from './replay-cache.js';
import { MAX_UNSAFE_VERSIONS, type TaskStore } from './task-store.js';

type Named<K extends keyof FactsByKind> = ReadonlyMap<string, FactsByKind[K]>;

/** Facts of one state, by kind and name, while they are gathered. `nowMs` is the time of the start. */
export class RestoredFacts {
  readonly nowMs: number;
  /** Live tasks, as the store will have them: a large state is mostly these, and their facts cost several times as much. */
  readonly live: Entry[] = [];
  readonly #kinds = new Map<string, Map<string, unknown>>();

  constructor(nowMs: number) {
    this.nowMs = nowMs;
  }

  /** False for a live task: there is nothing of its fact that the store will not have. */
  add({ kind, name, fact }: Fact): boolean {
    const live = kind === 'task' && fact.cancelling === undefined ? this.#liveOf(fact) : undefined;
    if (live?.id === name) {
      this.live.push(live);
      return false;
    }
    let named = this.#kinds.get(kind);
    if (named === undefined) {
      named = new Map();
      this.#kinds.set(kind, named);
    }
    named.set(name, fact);
    return true;
  }

  /** A live task needs no other fact, unless its state has outputs. */
  #liveOf(fact: FactsByKind['task']): Entry | undefined {
    if (fact.stage !== 'live') return undefined;
    const state = wholeState(fact.state, undefined);
    return state && entryOf(fact, state, undefined, this.nowMs);
  }

  of<K extends keyof FactsByKind>(kind: K): Named<K> {
    return (this.#kinds.get(kind) ?? new Map()) as Named<K>;
  }
}

/** Until when secrets were kept that came with calls: they are gone, and whoever needs them is told so (rule 14). */
export const GONE_MS = 1;

/** Fills an empty store with what an earlier run of the daemon knew. Nobody is told, and nothing is begun. */
export function restoreStore(store: TaskStore, replays: ReplayCache, facts: RestoredFacts): void {
  const { nowMs } = facts;
  for (const [key, mark] of facts.of('mark')) restoreMark(store, key, mark);
  const payloads = facts.of('payload');
  const outputs = facts.of('outputs');
  const entries = facts.live;
  for (const [id, task] of facts.of('task')) {
    if (task.cancelling !== undefined) restoreCancelling(store, id, task, payloads.get(id), nowMs);
    else {
      const entry = restoredTask(task, payloads.get(id), outputs.get(id), nowMs);
      if (entry !== undefined) entries.push(entry);
    }
  }
  for (const entry of inOrder(entries)) {
    // Told as over, it was being read again: its mark says so, and it is told as nothing less from here on either (rule 7).
    const unread = entry.stage === 'live' && entry.observedAtMs === undefined;
    if (unread && store.marks.get(entry.key, entry.incarnation)?.ended === true) entry.endedBefore = true;
    store.restore(entry);
  }
  for (const [id, owed] of facts.of('owed')) restoreOwed(store, id, owed);
  for (const [id, unclear] of facts.of('unclear')) restoreUnclear(store, id, unclear, payloads.get(id));
  for (const [key, { state, outputs: inline, endedAtMs }] of facts.of('do')) {
    const whole = wholeState(state, inline);
    if (whole !== undefined) replays.restore(key, { state: whole, endedAtMs });
  }
}

/** How many places there may be for each entry, for them to be laid out. */
const SPARSE = 8;

/** Tasks in the order they were accepted. Half a million are laid out by their numbers in a tenth of the time that it takes to compare them. */
export function inOrder(entries: readonly Entry[]): readonly Entry[] {
  let first = Number.POSITIVE_INFINITY;
  let last = 0;
  for (const { order } of entries) {
    if (order < first) first = order;
    if (order > last) last = order;
  }
  const places = last - first + 1;
  const byOrder = () => [...entries].sort((a, b) => a.order - b.order);
  if (entries.length === 0 || places > SPARSE * entries.length) return byOrder();
  const laidOut = new Array<Entry | undefined>(places).fill(undefined);
  for (const entry of entries) {
    // No two have one number, unless somebody put states together.
    if (laidOut[entry.order - first] !== undefined) return byOrder();
    laidOut[entry.order - first] = entry;
  }
  return laidOut.filter((entry) => entry !== undefined);
}

function restoredTask(
  fact: FactsByKind['task'],
  payload: TaskPayload | undefined,
  outputs: FactsByKind['outputs'] | undefined,
  nowMs: number,
): Entry | undefined {
  const state = wholeState(fact.state, outputs);
  const needsPayload = fact.stage === 'accepted' || fact.stage === 'creating';
  // What is incomplete is not there: its handle is answered as one that no state knows.
  if (state === undefined || (needsPayload && payload === undefined)) return undefined;
  return entryOf(fact, state, needsPayload ? payload : undefined, nowMs);
}

function entryOf(fact: FactsByKind['task'], state: PhaseState, payload: TaskPayload | undefined, nowMs: number): Entry {
  const { identity, stage, meta, outputPrefix, node, answeredHandle, adopted, deleted, confirmed } = fact;
  const { phaseVersion, undeliveredAtMs } = fact;
  const seen = { phaseVersion: phaseVersion + MAX_UNSAFE_VERSIONS + 1, confirmed, undeliveredAtMs };
  const task = {
    identity,
    stage,
    state,
    outputPrefix,
    node,
    adopted,
    deleted,
    connectionUntilMs: fact.hadConnection ? GONE_MS : 0,
    seen,
    ...(answeredHandle === undefined ? {} : { answeredHandle }),
  };
  const entry = new Entry(task, nowMs);
  entry.meta = meta;
  entry.payload = payload;
  // The leap itself is not on disk: without that, a next start would leap to the same version, and tell less than this one.
  entry.unsafeVersions = MAX_UNSAFE_VERSIONS;
  entry.answeredHandle = answeredHandle;
  entry.order = fact.order;
  entry.undeliveredForMs = fact.undeliveredForMs;
  entry.delivered = fact.delivered;
  entry.answersArrived = fact.delivered ? 1 : 0;
  entry.requirements = fact.requirements;
  entry.sentBoundMs = fact.sentBoundMs;
  entry.createFailingForMs = fact.createFailingForMs;
  entry.waitedForMs = fact.waitedForMs;
  entry.observedAtMs = fact.observedAtMs;
  entry.lastFailure = fact.lastFailure;
  entry.failing = fact.failing;
  entry.consecutiveFailures = fact.failing === undefined ? 0 : fact.failing.failures + fact.failing.notFound;
  entry.liveSinceMs = Math.min(fact.liveSinceMs, nowMs);
  entry.lastAskedAtMs = Math.min(fact.lastAskedAtMs, nowMs);
  return entry;
}

/** Deleted while its create was under way: whether there is a job of it is to be found out, if the create was sent. */
function restoreCancelling(
  store: TaskStore,
  id: string,
  { identity, node, outputPrefix, sentBoundMs, cancelling, hadConnection }: FactsByKind['task'],
  payload: TaskPayload | undefined,
  nowMs: number,
): void {
  if (sentBoundMs === undefined) return;
  const lastError = {
    code: 'CREATE_LOST',
    message: `${cancelling}; an earlier run of the daemon made the create call`,
  };
  const fact = {
    identity,
    node,
    outputPrefix,
    sinceMs: nowMs,
    looks: 0,
    leftBecause: undefined,
    lastError,
    sentBoundMs,
    lookBoundMs: undefined,
    hadConnection,
  };
  restoreUnclear(store, id, fact, payload);
}

function restoreUnclear(
  store: TaskStore,
  id: string,
  fact: FactsByKind['unclear'],
  payload: TaskPayload | undefined,
): void {
  const { identity, node, outputPrefix, leftBecause, hadConnection } = fact;
  const idempotencyKey = idempotencyKeyOf(identity.key, identity.incarnation);
  const args = payload === undefined ? undefined : { ...payload, outputPrefix, idempotencyKey, connection: undefined };
  store.unclear.add({
    ...fact,
    id,
    node,
    leftBecause: args === undefined ? (leftBecause ?? 'its inputs are no longer kept') : leftBecause,
    args: leftBecause === undefined ? args : undefined,
    nextLookMs: undefined,
    connection: undefined,
    connectionUntilMs: hadConnection ? GONE_MS : 0,
  });
}

function restoreOwed(store: TaskStore, id: string, fact: FactsByKind['owed']): void {
  const { node, lastError, readFirst, hadConnection, ...order } = fact;
  store.owed.restore({
    ...order,
    id,
    node,
    lastError,
    readFirst,
    connection: undefined,
    connectionUntilMs: hadConnection ? GONE_MS : 0,
    needsCredentials: hadConnection,
    nextAttemptMs: undefined,
    notFound: undefined,
    failedAtMs: undefined,
  });
}

function restoreMark(store: TaskStore, key: string, { atMs, incarnations }: FactsByKind['mark']): void {
  const marks = new Map<number, EndMark>();
  for (const { incarnation, deleted, ended, failure, next } of incarnations) {
    const state = failure === undefined ? undefined : wholeState(failure, undefined);
    marks.set(incarnation, {
      deleted,
      ended,
      failure: state === undefined ? undefined : phaseState(state.phase, state),
      next,
    });
  }
  store.marks.restore(key, marks, atMs);
}
