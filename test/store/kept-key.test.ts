import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { phaseState } from '../../src/model/phase-state.js';
import { decodeCreateBody, encodeFact, factKey } from '../../src/state/index.js';
import { StoreFacts } from '../../src/store/facts.js';
import { createBodyOf, restoreKept } from '../../src/store/kept-key.js';
import { ReplayCache } from '../../src/store/replay-cache.js';
import type { TaskStore } from '../../src/store/task-store.js';
import { handleOf, insertTask, liveTask, storeOf } from './make-store.js';

const PAYLOAD = {
  template: Buffer.from('template'),
  inputs: undefined,
  inputPrefix: 'in',
  metadata: {
    generatedName: 'n',
    taskExecutionId: {
      task: { project: 'p', domain: 'd', name: 'n', version: 'v' },
      project: 'p',
      domain: 'd',
      execution: 'e',
      nodeId: 'n0',
      retryAttempt: 0,
    },
    namespace: 'ns',
    labels: {},
    annotations: {},
    serviceAccount: '',
    environmentVariables: {},
    maxAttempts: 0,
    interruptible: false,
  },
  maxDatasetSizeBytes: 7,
};

function replaysOf({ clock }: Pick<ReturnType<typeof storeOf>, 'clock'>): ReplayCache {
  return new ReplayCache({ clock, ttlMs: 60_000, max: 1, maxBytes: 1e6 });
}

/** What is kept of a store, as an inbox reads it: without payloads. */
function keptOf(store: TaskStore, replays: ReplayCache) {
  const birth = { completeSinceMs: 1, endsKnownSinceMs: undefined, id: 'state', starts: 1 };
  const facts = new StoreFacts(store, replays, { birth, handleKey: { signingKey: 'key' }, buckets: new Map() });
  return [...facts.keys()].flatMap((key) => {
    const value = key.startsWith('payload/') ? undefined : facts.fact(key);
    return value === undefined ? [] : [[key, value] as const];
  });
}

test('a store is filled with what is kept of a key, tasks that wait as well, whose inputs are not read', () => {
  const { store, clock } = storeOf();
  const replays = replaysOf({ clock });
  const waits = insertTask(store, 'k', { answeredHandle: handleOf('k'), payload: PAYLOAD });
  const live = liveTask(store, 'l');
  void replays.set('k', phaseState('SUCCESS'));
  const kept = keptOf(store, replays);
  const { store: other } = storeOf();
  const ends = replaysOf({ clock });
  const said = restoreKept(other, ends, kept, clock.now());
  assert.deepEqual([said.birth?.id, said.handleKey?.signingKey], ['state', 'key']);
  assert.deepEqual(other.current('k')?.answeredHandle, waits.answeredHandle);
  assert.equal(other.current('k')?.payload?.template.length, 0);
  assert.equal(other.current('l')?.stage, live.stage);
  assert.equal(ends.get('k')?.phase, 'SUCCESS');
  const { store: unbegun } = storeOf();
  assert.deepEqual(restoreKept(unbegun, ends, [], clock.now()), { birth: undefined, handleKey: undefined });
  const damaged = [[factKey('task', 'k-1'), encodeFact('handleKey', '', { signingKey: 'key' })]] as const;
  assert.throws(
    () => restoreKept(unbegun, ends, damaged, clock.now()),
    (error) => HostError.is(error) && error.code === 'STATE_DAMAGED',
  );
});

test('a task is put with what its caller said, and none that is not there', () => {
  const { store, clock } = storeOf();
  const replays = replaysOf({ clock });
  const { id } = insertTask(store, 'k', { answeredHandle: handleOf('k') });
  const body = createBodyOf(store, replays, id, PAYLOAD);
  assert.ok(body !== undefined);
  const { task, payload } = decodeCreateBody(id, body);
  assert.deepEqual([task.answeredHandle, task.stage], [handleOf('k'), 'accepted']);
  assert.deepEqual([String(payload.template), payload.maxDatasetSizeBytes], ['template', 7]);
  assert.equal(createBodyOf(store, replays, 'other-1', PAYLOAD), undefined);
});
