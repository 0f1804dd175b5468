import type { TaskId } from '../model/attempt-key.js';
import type { TaskPayload } from '../model/task-record.js';
import { decodePair, encodeCreateBody, encodeFact, type FactsByKind, factKey, type KeptOfKey } from '../state/index.js';
import { StoreFacts } from './facts.js';
import type { ReplayCache } from './replay-cache.js';
import { RestoredFacts, restoreStore } from './restore.js';
import type { TaskStore } from './task-store.js';

/** What the part of a key says of itself; either is undefined where nobody has begun it. */
export interface KeptOfPart {
  readonly birth: FactsByKind['birth'] | undefined;
  readonly handleKey: FactsByKind['handleKey'] | undefined;
}

/** Stands for the inputs of a task that is not begun here: they may be megabytes, and are not read. */
const NO_PAYLOAD: TaskPayload = {
  template: Buffer.alloc(0),
  inputs: undefined,
  inputPrefix: '',
  metadata: {
    generatedName: '',
    taskExecutionId: {
      task: { project: '', domain: '', name: '', version: '' },
      project: '',
      domain: '',
      execution: '',
      nodeId: '',
      retryAttempt: 0,
    },
    namespace: '',
    labels: {},
    annotations: {},
    serviceAccount: '',
    environmentVariables: {},
    maxAttempts: 0,
    interruptible: false,
  },
  maxDatasetSizeBytes: 0,
};

/** Fills an empty store with what is kept about one key. Throws STATE_DAMAGED or STATE_FORMAT_NEWER. */
export function restoreKept(
  store: TaskStore,
  replays: ReplayCache,
  kept: KeptOfKey['facts'],
  nowMs: number,
): KeptOfPart {
  const facts = new RestoredFacts(nowMs);
  for (const [key, value] of kept) {
    const fact = decodePair(key, value);
    facts.add(fact);
    if (fact.kind === 'task') facts.add({ kind: 'payload', name: fact.name, fact: NO_PAYLOAD });
  }
  restoreStore(store, replays, facts);
  return { birth: facts.of('birth').get(''), handleKey: facts.of('handleKey').get('') };
}

/** A task of the store as it is put into an inbox, with what its create needs; undefined where the store has none of this id. */
export function createBodyOf(
  store: TaskStore,
  replays: ReplayCache,
  id: TaskId,
  payload: TaskPayload,
): Buffer | undefined {
  const task = new StoreFacts(store, replays, { buckets: new Map() }).fact(factKey('task', id));
  return task && encodeCreateBody(id, { task, payload: encodeFact('payload', id, payload) });
}
