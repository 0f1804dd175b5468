import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { type PhaseState, phaseState } from '../../src/model/phase-state.js';
import { decodePair, type Fact, type FactKind, type FactsByKind, factKey } from '../../src/state/index.js';
import { Entry, type NewTask } from '../../src/store/entry.js';
import { StoreFacts } from '../../src/store/facts.js';
import { deleteOrder } from '../../src/store/owed-deletes.js';
import { ReplayCache } from '../../src/store/replay-cache.js';
import { inOrder, RestoredFacts, restoreStore } from '../../src/store/restore.js';
import { MAX_UNSAFE_VERSIONS, type TaskStore } from '../../src/store/task-store.js';
import { identityOf } from '../support/identity.js';
import { adoptedTask, handleOf, insertTask, liveTask, storeOf } from './make-store.js';

const payload = {
  template: Buffer.from('template'),
  inputs: Buffer.from('inputs'),
  inputPrefix: 's3://in',
  metadata: {
    generatedName: 'g',
    taskExecutionId: {
      task: { project: 'p', domain: 'd', name: 't', version: 'v' },
      project: 'p',
      domain: 'd',
      execution: 'e',
      nodeId: 'n',
      retryAttempt: 1,
    },
    namespace: 'ns',
    labels: { a: 'b' },
    annotations: {},
    serviceAccount: 'sa',
    environmentVariables: {},
    maxAttempts: 3,
    interruptible: true,
  },
  maxDatasetSizeBytes: 7,
};
const connection = { url: 'https://remote', secrets: { token: 'x' } } as never;
const inline: PhaseState['outputs'] = { kind: 'inline', literalMap: Buffer.from('o'), names: ['o'] };

/** A store, the results of `do` beside it, and all that the state would hold of both. */
function kept() {
  const { clock, store } = storeOf({ maxTasks: 1_000, finished: { maxCount: 100, maxBytes: 1e6, ttlMs: 60_000 } });
  const replays = new ReplayCache({ clock, ttlMs: 60_000, max: 10, maxBytes: 1e6 });
  const source = new StoreFacts(store, replays, { buckets: new Map() });
  const facts = (): Fact[] =>
    [...new Set(source.keys())].flatMap((key) => {
      const value = source.fact(key);
      return value === undefined ? [] : [decodePair(key, value)];
    });
  const of = <K extends FactKind>(kind: K, name: string) =>
    facts().find((fact) => fact.kind === kind && fact.name === name)?.fact as FactsByKind[K] | undefined;
  return { clock, store, replays, facts, of };
}

/** Another daemon's store that has read the facts, in the order given. */
function nextStart(facts: readonly Fact[]) {
  const next = kept();
  const restored = new RestoredFacts(next.clock.now());
  for (const fact of facts) restored.add(fact);
  restoreStore(next.store, next.replays, restored);
  return next;
}

const byKey = (facts: readonly Fact[]) => new Map(facts.map((one) => [factKey(one.kind, one.name), one.fact]));

/** One of everything that a store can hold. */
function fill(store: TaskStore): void {
  insertTask(store, 'accepted', { payload, node: { nodeKey: 'n', attempt: 2 }, outputPrefix: 's3://out' });
  const sent = insertTask(store, 'sent', { payload, answeredHandle: handleOf('sent') });
  store.setRequirements(sent, { namespace: 'ml', constraints: { project: 1 } }, 'ml');
  store.setWaiting(sent, 'creating', phaseState('INITIALIZING'));
  store.sending(sent, 30_000);
  store.undelivered(sent);
  const live = liveTask(store, 'live');
  store.asked(live);
  store.readFailed(live, { code: 'X', message: 'm' }, 3);
  const constrained = insertTask(store, 'constrained', { payload, connection, connectionUntilMs: 9e15 });
  store.setRequirements(constrained, { namespace: 'ml', constraints: { project: 1 } }, 'ml');
  store.setCreated(constrained, Buffer.from('m'));
  store.observed(constrained, phaseState('RUNNING', { outputs: inline }));
  store.observed(adoptedTask(store, 'adopted'), phaseState('RUNNING'));
  store.observed(liveTask(store, 'over'), phaseState('SUCCESS', { outputs: inline }));
  store.remove(ended(store, 'deleted'));
  const failed = liveTask(store, 'failed');
  store.end(failed, phaseState('PERMANENT_FAILURE', { error: { code: 'E', message: 'why', kind: 'USER' } }));
  store.orderDelete(liveTask(store, 'owed'), 'no longer wanted', false);
  store.orderDelete(liveTask(store, 'doubted'), 'no longer wanted', false);
  store.deleteFreed('doubted-1');
  store.owed.note('doubted-1', { attempts: 4, lastError: { code: 'Y', message: 'n' } });
  const handleAlone = adoptedTask(store, 'unread', { connection, connectionUntilMs: 9e15 });
  store.markDeleted(handleAlone.identity, { order: deleteOrder(handleAlone, 'r', { readFirst: handleOf('unread') }) });
  store.unclear.add({
    ...unclear('unclear'),
    args: { ...payload, outputPrefix: 'o', idempotencyKey: 'unclear-1' } as never,
  });
  store.unclear.add({ ...unclear('left'), leftBecause: 'enough looks' });
  const next = insertTask(store, 'taken', { payload, answeredHandle: handleOf('taken') });
  store.nextIncarnation(next);
}

function ended(store: TaskStore, key: string) {
  const task = liveTask(store, key);
  store.observed(task, phaseState('SUCCESS'));
  return task;
}

function unclear(key: string) {
  return {
    id: `${key}-1`,
    identity: identityOf(key),
    node: { nodeKey: 'n', attempt: 1 },
    outputPrefix: 'o',
    sinceMs: 5,
    looks: 2,
    nextLookMs: undefined,
    leftBecause: undefined,
    lastError: { code: 'Z', message: 'o' },
    args: undefined,
    connection: undefined,
    connectionUntilMs: 0,
  };
}

/** What of a store is counted and not listed. */
function countsOf(store: TaskStore) {
  const { owed, unclear, adopted } = store;
  return {
    stages: { ...store.counts('demo') },
    held: store.unfinished,
    over: store.finished,
    owed: [owed.size, owed.unheld],
    unclear: [unclear.size, unclear.bytes],
    adopted: adopted.size,
    oldestUnread: adopted.oldestUnread,
  };
}

test('what a store holds stands in the next one as it stood, whatever order its facts come in; versions leap', async () => {
  const first = kept();
  fill(first.store);
  await first.replays.set('do', phaseState('SUCCESS', { outputs: inline }));
  const before = first.facts();
  const kinds = new Set(before.map(({ kind }) => kind));
  assert.deepEqual([...kinds].sort(), ['do', 'mark', 'outputs', 'owed', 'payload', 'task', 'unclear']);
  for (const order of [before, [...before].reverse()]) {
    const next = nextStart(order);
    const after = byKey(next.facts());
    for (const [key, fact] of byKey(before)) {
      const leap = 'phaseVersion' in fact ? { phaseVersion: fact.phaseVersion + 1_001 } : {};
      assert.deepEqual(after.get(key), { ...fact, ...leap }, key);
    }
    assert.equal(after.size, before.length);
    const listed = (store: TaskStore) => [...store.listed()].map(({ id }) => id);
    assert.deepEqual(
      listed(next.store),
      listed(first.store).filter((id) => id.startsWith('unread') === false),
    );
    for (const { id, answeredHandle } of first.store.listed()) {
      if (answeredHandle === undefined || id.startsWith('unread')) continue;
      assert.equal(next.store.byHandle(answeredHandle)?.id, id);
    }
    const counts = countsOf(first.store);
    // What nobody has read to exist is in its handle, and not in the state.
    const live = counts.stages.live - 1;
    const stood = { ...counts, stages: { ...counts.stages, live }, held: counts.held - 1, adopted: counts.adopted - 1 };
    assert.deepEqual(countsOf(next.store), { ...stood, oldestUnread: undefined });
    assert.equal(insertTask(next.store, 'later').id, 'later-1');
    assert.equal(listed(next.store).at(-1), 'later-1', 'what comes now comes after it');
    assert.deepEqual(next.replays.get('do'), phaseState('SUCCESS', { outputs: inline }));
  }
});

test('secrets are not in the state: what had some says so, and what had none does not', () => {
  const first = kept();
  fill(first.store);
  assert.deepEqual(
    ['live-1', 'constrained-1'].map((id) => first.of('task', id)?.hadConnection),
    [false, true],
  );
  const orders = first.facts().filter(({ kind }) => kind === 'owed');
  assert.deepEqual(
    orders.map(({ fact }) => (fact as FactsByKind['owed']).hadConnection),
    [false, false, true],
  );
  const { store } = nextStart(first.facts());
  const needs = new Map([...store.owed.listed()].map(({ id, needsCredentials }) => [id, needsCredentials]));
  assert.deepEqual([...needs.values()], [false, false, true]);
  const constrained = store.byId('constrained-1');
  assert.equal(constrained?.connection, undefined);
  assert.equal(constrained !== undefined && constrained.connectionUntilMs > 0, true);
});

test('a task without the outputs or the inputs that it needs is not there, and one that needs none is', () => {
  const first = kept();
  fill(first.store);
  const without = (kind: FactKind) => nextStart(first.facts().filter((fact) => fact.kind !== kind)).store;
  const ids = ['accepted-1', 'sent-1', 'live-1', 'constrained-1', 'over-1', 'failed-1'];
  const held = (store: TaskStore) => ids.filter((id) => store.byId(id) !== undefined);
  assert.deepEqual(held(without('payload')), ['live-1', 'constrained-1', 'over-1', 'failed-1']);
  assert.deepEqual(held(without('outputs')), ['accepted-1', 'sent-1', 'live-1', 'failed-1']);
  assert.equal(without('payload').unclear.get('unclear-1')?.leftBecause, 'its inputs are no longer kept');
  assert.equal(without('payload').unclear.get('left-1')?.leftBecause, 'enough looks');
});

test('a task that was deleted while its create was under way comes back as a create of unclear outcome, if it was sent', () => {
  const first = kept();
  for (const key of ['sent', 'unsent']) {
    const task = insertTask(first.store, key, { payload });
    if (key === 'sent') first.store.sending(task, 30_000);
    first.store.orderDelete(task, 'gone', true);
  }
  const { store } = nextStart(first.facts());
  assert.equal(store.byId('sent-1'), undefined);
  assert.equal(store.unclear.get('unsent-1'), undefined);
  const found = store.unclear.get('sent-1');
  assert.deepEqual([found?.sentBoundMs, found?.leftBecause, found?.lastError.code], [30_000, undefined, 'CREATE_LOST']);
  assert.deepEqual(found?.args?.inputs, payload.inputs);
  assert.equal(found?.args?.idempotencyKey, 'sent-1');
  assert.match(found?.lastError.message ?? '', /^gone; an earlier run /);
  assert.deepEqual([found?.looks, found?.nextLookMs, found?.connectionUntilMs], [0, undefined, 0]);
});

test('an unclear create whose secrets are gone says so, and one that never had any does not', () => {
  const first = kept();
  const args = { ...payload, outputPrefix: 'o', idempotencyKey: 'k' } as never;
  first.store.unclear.add({ ...unclear('secret'), args, connection, connectionUntilMs: 9e15 });
  first.store.unclear.add({ ...unclear('open'), args });
  const { store } = nextStart(first.facts());
  const had = ['secret-1', 'open-1'].map((id) => (store.unclear.get(id)?.connectionUntilMs ?? 0) > 0);
  assert.deepEqual(had, [true, false]);
});

test('times that lie before the clock of this start stay, as do the marks of what was undelivered', () => {
  const first = kept();
  const task = liveTask(first.store, 'live');
  first.store.undelivered(task);
  first.store.undeliveredFor(task, 5_000);
  const nowMs = first.clock.now();
  const earlier = { liveSinceMs: nowMs - 9_000, lastAskedAtMs: nowMs - 4_000 };
  const facts = first.facts().map((one) => (one.kind === 'task' ? { ...one, fact: { ...one.fact, ...earlier } } : one));
  const { liveSinceMs, lastAskedAtMs, undeliveredAtMs, undeliveredForMs } = nextStart(facts).store.byId('live-1')!;
  assert.deepEqual({ liveSinceMs, lastAskedAtMs }, earlier);
  assert.deepEqual([undeliveredAtMs, undeliveredForMs], [nowMs, 5_000]);
});

test('a live task is made into its record at once, whatever other facts come; all others wait for theirs', () => {
  const first = kept();
  fill(first.store);
  const restored = new RestoredFacts(first.clock.now());
  const waits = first.facts().filter((fact) => restored.add(fact));
  const ids = (facts: readonly Fact[]) => facts.filter(({ kind }) => kind === 'task').map(({ name }) => name);
  assert.deepEqual(new Set([...ids(waits), ...restored.live.map(({ id }) => id)]), new Set(ids(first.facts())));
  assert.ok(restored.live.some(({ id }) => id === 'live-1') && !ids(waits).includes('live-1'));
  assert.ok(ids(waits).includes('constrained-1'), 'its outputs are a fact of their own');
});

test('times that lie ahead of the clock of this start are taken for now', () => {
  const first = kept();
  const task = liveTask(first.store, 'live');
  first.store.asked(task);
  const facts = first
    .facts()
    .map((fact) =>
      fact.kind === 'task' ? { ...fact, fact: { ...fact.fact, liveSinceMs: 9e15, lastAskedAtMs: 9e15 } } : fact,
    );
  const next = nextStart(facts);
  const { liveSinceMs, lastAskedAtMs } = next.store.byId('live-1')!;
  assert.deepEqual([liveSinceMs, lastAskedAtMs], [next.clock.now(), next.clock.now()]);
});

test('how an incarnation ended, and which took its place, is known after a start, with its error', () => {
  const first = kept();
  fill(first.store);
  const { store } = nextStart(first.facts());
  assert.equal(store.marks.get('failed', 1)?.failure?.error?.message, 'why');
  assert.equal(store.marks.get('over', 1)?.failure, undefined);
  assert.deepEqual([store.marks.get('taken', 1)?.deleted, store.marks.get('taken', 1)?.next], [true, 2]);
});

test('a task whose reads failed and whose create was answered goes on with the counts of both', () => {
  const first = kept();
  const task = liveTask(first.store, 'live');
  const failing = { failures: 3, failingForMs: 10, notFound: 2, notFoundForMs: 5, frozenForMs: 2 };
  first.store.readFailed(task, { code: 'X', message: 'm' }, 5, { failing });
  first.store.answersArrived(task, 1);
  first.store.noteDelivered();
  liveTask(first.store, 'other');
  const { store } = nextStart(first.facts());
  const seen = ['live-1', 'other-1'].map((id) => store.entry(id)!);
  assert.deepEqual(
    seen.map((entry) => [entry.consecutiveFailures, entry.failing, entry.delivered, entry.answersArrived]),
    [
      [5, failing, true, 1],
      [0, undefined, false, 0],
    ],
  );
});

/** A record as an earlier run wrote it. */
function entryOf(key: string, more: Partial<NewTask> = {}, incarnation = 1) {
  const identity = identityOf(key, { incarnation });
  return new Entry({ identity, stage: 'live', state: phaseState('RUNNING'), outputPrefix: '', ...more }, 1);
}

test('a record that is taken back twice is there once, be it over or not', () => {
  const { store } = storeOf();
  const over = { stage: 'over', state: phaseState('SUCCESS') } as const;
  for (let i = 0; i < 2; i++) for (const entry of [entryOf('a'), entryOf('b', over)]) store.restore(entry);
  assert.deepEqual([Object.values(store.counts('demo')), store.unfinished, store.finished], [[0, 0, 1, 1], 1, 1]);
  assert.deepEqual([[...store.listed()].length, store.evictions], [2, 0]);
});

test('what is accepted after a start comes after all that was accepted before it, and later runs claim their keys', () => {
  const { store } = storeOf();
  for (const [key, order] of [
    ['a', 7],
    ['b', 9],
    ['c', 8],
  ] as const) {
    const entry = entryOf(key, {}, key === 'c' ? 3 : 1);
    entry.order = order;
    store.restore(entry);
  }
  assert.equal(store.current('c')?.identity.incarnation, 3);
  const next = store.entry(insertTask(store, 'd').id);
  assert.ok((next?.order ?? 0) > 9, `${next?.order}`);
});

test('a finished task that is taken back is kept for its time from its end: as its mark says, else its last read, else the start', async () => {
  const { clock, store } = storeOf();
  const over = { stage: 'over', state: phaseState('SUCCESS') } as const;
  const nowMs = clock.now();
  const mark = new Map([[1, { deleted: false, ended: true, failure: undefined, next: undefined }]]);
  store.marks.restore('marked', mark, nowMs - 50_000);
  const entries = ['marked', 'read', 'unknown', 'future'].map((key) => entryOf(key, over));
  entries[0]!.observedAtMs = nowMs - 10_000;
  entries[1]!.observedAtMs = nowMs - 30_000;
  entries[3]!.observedAtMs = nowMs + 500_000;
  for (const entry of entries) store.restore(entry);
  const held = () => entries.filter(({ id }) => store.byId(id) !== undefined).map(({ key }) => key);
  await clock.advance(10_000);
  assert.deepEqual(held(), ['marked', 'read', 'unknown', 'future']);
  await clock.advance(1);
  assert.deepEqual(held(), ['read', 'unknown', 'future']);
  await clock.advance(20_000);
  assert.deepEqual(held(), ['unknown', 'future']);
  await clock.advance(30_000);
  assert.deepEqual(held(), []);
});

test('no version is told ahead of what is safe by a start, which has leapt over as many', () => {
  const first = kept();
  liveTask(first.store, 'live');
  assert.equal(nextStart(first.facts()).store.entry('live-1')?.unsafeVersions, MAX_UNSAFE_VERSIONS);
});

test('that secrets came with its calls is known of a task, an order and an unclear create over any number of starts', () => {
  const first = kept();
  fill(first.store);
  const args = { ...payload, outputPrefix: 'o', idempotencyKey: 'k' } as never;
  first.store.unclear.add({ ...unclear('secret'), args, connection, connectionUntilMs: 9e15 });
  const had = (facts: readonly Fact[]) =>
    facts
      .filter(({ fact }) => (fact as { readonly hadConnection?: boolean }).hadConnection === true)
      .map(({ kind, name }) => factKey(kind, name))
      .sort();
  const before = had(first.facts());
  assert.equal(before.length, 3);
  assert.deepEqual(had(nextStart(nextStart(first.facts()).facts()).facts()), before);
});

test('tasks come in the order of their numbers, whether these are near to each other, far apart or the same', () => {
  const numbers = fc.oneof(
    fc.uniqueArray(fc.integer({ min: 1_000_000, max: 1_000_050 })),
    fc.uniqueArray(fc.integer({ min: 0, max: Number.MAX_SAFE_INTEGER })),
    fc.array(fc.integer({ min: 0, max: 5 })),
  );
  fc.assert(
    fc.property(numbers, (orders) => {
      const entries = orders.map((order, given) => ({ order, given }) as unknown as Entry);
      const sorted = [...entries].sort((a, b) => a.order - b.order);
      assert.deepEqual(inOrder(entries), sorted);
    }),
  );
});
