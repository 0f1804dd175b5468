import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { recordForAnswer } from '../../src/store/entry.js';
import { deleteOrder } from '../../src/store/owed-deletes.js';
import { identityOf } from '../support/identity.js';
import { adoptedTask, handleOf, insertTask, liveTask, storeOf } from './make-store.js';

const failure = { code: 'X', message: 'm' };
const connection = { secrets: { key: 'hush' }, configs: {} };

test('a new task has failed and been seen by nobody yet, and only one that comes from a handle is held by an engine', () => {
  const { clock, store } = storeOf();
  const task = insertTask(store, 'a');
  const { phaseVersion, observedAtMs, consecutiveFailures, confirmed, adopted, deleted, connectionUntilMs } = task;
  assert.deepEqual(
    { phaseVersion, observedAtMs, consecutiveFailures, confirmed, adopted, deleted, connectionUntilMs },
    {
      phaseVersion: 0,
      observedAtMs: undefined,
      consecutiveFailures: 0,
      confirmed: false,
      adopted: false,
      deleted: false,
      connectionUntilMs: 0,
    },
  );
  assert.deepEqual([task.lastAskedAtMs, task.createdAtMs], [clock.now(), 1]);
  const known = adoptedTask(store, 'a');
  assert.deepEqual([known.confirmed, known.adopted], [true, true]);
  assert.notEqual(known.id, task.id, 'it goes by an id of its own');
  assert.equal(store.current('a'), task, 'and claims no key');
  assert.equal(insertTask(store, 'b', { deleted: true }).deleted, true);
});

test('a task is in the store once', () => {
  const { store } = storeOf();
  const task = insertTask(store, 'a');
  const again = () => insertTask(store, 'a');
  assert.throws(again, (error) => HostError.is(error) && error.code === 'INTERNAL');
  store.end(task, phaseState('ABORTED'));
  assert.throws(again, (error) => HostError.is(error) && error.code === 'INTERNAL');
  assert.deepEqual([store.unfinished, store.finished], [0, 1]);
});

test('one that is over when it comes is kept among the finished, found by key, id and handle', () => {
  const { store } = storeOf();
  const task = insertTask(store, 'a', { stage: 'over', state: phaseState('SUCCESS'), answeredHandle: handleOf('a') });
  insertTask(store, 'b');
  assert.deepEqual([store.byId(task.id), store.current('a'), store.byHandle(handleOf('a'))], [task, task, task]);
  assert.deepEqual([store.unfinished, store.finished], [1, 1]);
  assert.deepEqual(
    [[...store.unfinishedTasks()], [...store.listed()]].map((tasks) => tasks.map((t) => t.identity.key)),
    [['b'], ['a', 'b']],
  );
});

test('a question makes interest fresh and, unless it says otherwise, shows that the engine holds the handle', async () => {
  const { clock, store } = storeOf();
  const task = liveTask(store, 'a');
  await clock.advance(5_000);
  store.asked(task, false);
  assert.deepEqual([task.lastAskedAtMs, task.confirmed], [clock.now(), false]);
  store.asked(task);
  assert.equal(task.confirmed, true);
});

test('the first time an answer was not delivered stands, and none for a task whose handle is held', async () => {
  const { clock, store } = storeOf();
  const [task, held] = [liveTask(store, 'a'), liveTask(store, 'b')];
  const firstMs = clock.now();
  store.undelivered(task);
  await clock.advance(1_000);
  store.undelivered(task);
  assert.equal(task.undeliveredAtMs, firstMs);
  store.asked(held);
  store.undelivered(held);
  assert.equal(held.undeliveredAtMs, undefined);
});

test('the handle that was answered first stays, and the task is found by no other', () => {
  const { store } = storeOf();
  const task = liveTask(store, 'a');
  store.answered(task, Buffer.from('another'));
  assert.deepEqual([task.answeredHandle, store.byHandle(Buffer.from('another'))], [handleOf('a'), undefined]);
});

test('facts of a later call fill what is empty, and nothing empty takes the place of what is known', () => {
  const { store } = storeOf();
  const task = insertTask(store, 'a', { connection, connectionUntilMs: 5 });
  store.enrich(task, 's3://x', undefined, 9);
  assert.deepEqual([task.outputPrefix, task.connection, task.connectionUntilMs], ['s3://x', connection, 5]);
  const newer = { secrets: {}, configs: {} };
  store.enrich(task, '', newer, 9);
  store.enrich(task, 's3://y', undefined, 0);
  assert.deepEqual([task.outputPrefix, task.connection, task.connectionUntilMs], ['s3://x', newer, 9]);
});

test("requirements are kept, and the quota namespace they name is the task's from then on", () => {
  const { store } = storeOf();
  const task = insertTask(store, 'a');
  store.setRequirements(task, { quotaNamespace: 'gpu' } as never, 'gpu');
  assert.deepEqual([task.requirements, task.identity.quotaNamespace], [{ quotaNamespace: 'gpu' }, 'gpu']);
  assert.equal(task.identity.key, 'a');
});

test('the stage of a task never goes back', () => {
  const { store } = storeOf();
  const waiting = phaseState('WAITING_FOR_RESOURCES');
  const task = insertTask(store, 'a');
  store.setWaiting(task, 'creating', waiting);
  store.setWaiting(task, 'creating', waiting);
  assert.throws(() => store.setWaiting(task, 'accepted', waiting), /cannot go/);
  store.setCreated(task, Buffer.from('{}'));
  assert.throws(() => store.setWaiting(task, 'creating', waiting), /cannot go/);
  assert.equal(task.stage, 'live');
});

test('a created task keeps its meta and its time of birth, and its inputs no longer', async () => {
  const { clock, store } = storeOf();
  const task = insertTask(store, 'a', { payload: { inputs: 'large' } as never });
  await clock.advance(5_000);
  store.setCreated(task, Buffer.from('meta'));
  assert.deepEqual(
    [task.meta?.toString(), task.payload, task.liveSinceMs, task.stage, task.createdAtMs],
    ['meta', undefined, clock.now(), 'live', 1],
  );
});

test('a read that succeeded says when, whether it is over, and that failures before it are forgotten', async () => {
  const { clock, store } = storeOf();
  const task = liveTask(store, 'a');
  await clock.advance(1_000);
  store.readFailed(task, failure, 2);
  const version = task.phaseVersion;
  assert.equal(store.observed(task, phaseState('QUEUED')), false);
  assert.deepEqual(
    [task.observedAtMs, task.phaseVersion],
    [clock.now(), version + 1],
    'the end of failures is visible',
  );
  store.observed(task, phaseState('QUEUED'));
  assert.equal(task.phaseVersion, version + 1);
  store.readFailed(task, failure, 0);
  store.observed(task, phaseState('QUEUED'));
  assert.equal(task.phaseVersion, version + 2, 'one that was counted for nothing was visible as well');
  assert.equal(store.observed(task, phaseState('SUCCESS')), true);
  assert.equal(store.observed(task, phaseState('SUCCESS')), true);
});

test('a failed read changes the reason where it has one to give, and the phase stays', () => {
  const { store } = storeOf();
  const task = liveTask(store, 'a');
  const version = task.phaseVersion;
  store.readFailed(task, failure, 1);
  assert.deepEqual([task.state.reason, task.phaseVersion], ['', version]);
  store.readFailed(task, failure, 2, { reason: 'the remote does not answer' });
  assert.deepEqual(
    [task.state.phase, task.state.reason, task.phaseVersion],
    ['QUEUED', 'the remote does not answer', version + 1],
  );
});

test('pacing that nobody sees is kept though it makes no new version', () => {
  const { store } = storeOf();
  const task = liveTask(store, 'a');
  const version = task.phaseVersion;
  store.setWaiting(task, 'live' as never, phaseState('QUEUED', { nextPollAfterMs: 500 }));
  assert.deepEqual([task.state.nextPollAfterMs, task.phaseVersion], [500, version]);
});

test('secrets are gone at the very end of their time, and not before', async () => {
  for (const write of ['setWaiting', 'observed', 'readFailed'] as const) {
    const { clock, store } = storeOf();
    const task = insertTask(store, 'a', { connection, connectionUntilMs: clock.now() + 1_000 });
    const writes = {
      setWaiting: () => store.setWaiting(task, 'accepted', phaseState('WAITING_FOR_RESOURCES')),
      observed: () => store.observed(task, phaseState('WAITING_FOR_RESOURCES')),
      readFailed: () => store.readFailed(task, failure, 1),
    };
    await clock.advance(999);
    writes[write]();
    assert.equal(task.connection, connection, write);
    await clock.advance(1);
    writes[write]();
    assert.equal(task.connection, undefined, write);
  }
});

test('room counts tasks of creates and deletes owed together, adopted ones apart, and says when to come again', () => {
  const { store } = storeOf({ maxTasks: 3 });
  liveTask(store, 'a');
  for (const key of ['x', 'y', 'z']) adoptedTask(store, key);
  const owe = (key: string, adopted: boolean) => {
    const of = { id: key, identity: identityOf(key), meta: Buffer.from('{}'), outputPrefix: '', adopted };
    store.markDeleted(of.identity, { order: deleteOrder({ ...of, connection: undefined, connectionUntilMs: 0 }, 'r') });
  };
  owe('owed 1', false);
  store.assertRoom();
  const refused = (error: unknown) =>
    HostError.is(error) && error.code === 'STORE_FULL' && error.retryAfterMs === 30_000;
  owe('owed 2', false);
  assert.throws(() => store.assertRoom(), refused);
  store.deleteDone('owed 2');
  liveTask(store, 'b');
  assert.throws(() => store.assertRoom(), /1 deletes owed/);
  store.deleteDone('owed 1');
  store.assertRoom();
  liveTask(store, 'c');
  assert.throws(
    () => store.assertRoom(),
    (error) => error instanceof Error && !error.message.includes('owed'),
  );
  for (const key of ['h1', 'h2']) owe(key, true);
  store.assertOwable();
  owe('h3', true);
  assert.throws(() => store.assertOwable(), refused);
});

test('the next incarnation keeps what the engine knows: handle, version, delivery and where outputs go', () => {
  const { clock, store } = storeOf();
  const payload = { inputs: 'x' } as never;
  const more = { outputPrefix: 's3://x', payload, connection, connectionUntilMs: clock.now() + 9 };
  const task = insertTask(store, 'a', { ...more, answeredHandle: handleOf('a') });
  store.undelivered(task);
  store.undeliveredFor(task, 75_000);
  store.setWaiting(task, 'accepted', phaseState('WAITING_FOR_RESOURCES', { reason: 'r' }));
  const next = store.nextIncarnation(task);
  assert.equal(next.undeliveredForMs, 75_000, 'what is over of the grace stays over');
  assert.deepEqual(
    [next.outputPrefix, next.payload, next.connection, next.connectionUntilMs],
    [task.outputPrefix, payload, connection, task.connectionUntilMs],
  );
  assert.deepEqual(
    [next.phaseVersion, next.undeliveredAtMs, next.confirmed, next.state.reason, next.stage],
    [1, clock.now(), false, 'r', 'accepted'],
  );
  assert.equal(store.marks.follow('a', 1), 2);
  assert.deepEqual(Object.values(store.counts('demo')), [1, 0, 0, 0]);
  assert.equal(store.byId(task.id), undefined);
});

test('what a handle alone says of an end becomes no end of the attempt that a create made', () => {
  const { store } = storeOf();
  store.observed(adoptedTask(store, 'a'), phaseState('PERMANENT_FAILURE'));
  assert.equal(store.marks.get('a', 1), undefined);
  store.observed(liveTask(store, 'b'), phaseState('PERMANENT_FAILURE'));
  assert.equal(store.marks.get('b', 1)?.failure?.phase, 'PERMANENT_FAILURE');
  assert.equal(store.marks.get('b', 1)?.ended, true);
});

test('a removed task is marked as over only if it was, and its secrets stay for the create that still runs', () => {
  const { store } = storeOf();
  const live = liveTask(store, 'a');
  store.enrich(live, '', connection, Number.MAX_VALUE);
  store.remove(live);
  assert.deepEqual([store.marks.get('a', 1)?.ended, live.connection], [false, undefined]);
  const creating = insertTask(store, 'b', { stage: 'creating', connection });
  store.remove(creating);
  assert.equal(creating.connection, connection);
  assert.deepEqual(Object.values(store.counts('demo')), [0, 0, 0, 0]);
});

test('the version of what only a handle tells of goes by its age: no daemon before has passed it, and it is a number of the API', () => {
  const { clock, store } = storeOf();
  const aged = (ageMs: number) => {
    const identity = identityOf('a', { createdAtMs: clock.now() - ageMs });
    return adoptedTask(store, 'a', { identity, answeredHandle: handleOf(`aged ${ageMs}`) }).phaseVersion;
  };
  assert.deepEqual([0, 99, 100, 60_000, -5_000].map(aged), [0, 0, 1, 600, 0]);
  assert.equal(aged(1e15), 2 ** 31);
  assert.equal(insertTask(store, 'b', { identity: identityOf('b', { createdAtMs: 0 }) }).phaseVersion, 0);
});

test('a create that came to know its job takes over from the record of a handle, and the engine sees nothing go back', async () => {
  const { clock, store } = storeOf();
  const task = insertTask(store, 'a');
  const identity = identityOf('a', { createdAtMs: 77 });
  const adopted = adoptedTask(store, 'a', { identity });
  const { phaseVersion } = adopted;
  store.observed(adopted, phaseState('QUEUED'));
  store.observed(adopted, phaseState('RUNNING'));
  await clock.advance(500);
  store.asked(adopted);
  store.setCreated(task, Buffer.from('{}'));
  store.takeOver(task, adopted);
  assert.deepEqual([task.state.phase, task.phaseVersion, task.confirmed], ['RUNNING', phaseVersion + 3, true]);
  assert.deepEqual([task.lastAskedAtMs, task.identity.createdAtMs], [clock.now(), 77]);
  assert.deepEqual([store.byHandle(handleOf('a')), store.adopted.size, store.unfinished], [task, 0, 1]);
});

test('a create whose handle was answered keeps it when it takes over from the record of another', () => {
  const { store } = storeOf();
  const task = liveTask(store, 'a');
  const adopted = adoptedTask(store, 'a', { answeredHandle: handleOf('older') });
  store.takeOver(task, adopted);
  assert.deepEqual([task.answeredHandle, task.identity.createdAtMs], [handleOf('a'), 1]);
  assert.equal(store.byHandle(handleOf('older')), undefined);
});

test('a record stands for its task until another takes its place or it is gone, and a finished one does as well', () => {
  const { store } = storeOf();
  const task = insertTask(store, 'a');
  assert.equal(store.holds(task), true);
  const next = store.nextIncarnation(task);
  assert.deepEqual([store.holds(task), store.holds(next)], [false, true]);
  store.end(next, phaseState('ABORTED'));
  assert.equal(store.holds(next), true);
});

test('an answer that was lost is forgotten once the create is answered anew, and may be lost again', async () => {
  const { clock, store } = storeOf();
  const task = liveTask(store, 'a');
  store.answeredAnew(task);
  assert.equal(task.undeliveredAtMs, undefined);
  store.undelivered(task);
  store.answeredAnew(task);
  assert.equal(task.undeliveredAtMs, undefined);
  await clock.advance(5_000);
  store.undelivered(task);
  assert.equal(task.undeliveredAtMs, clock.now());
});

test('a clean stop notes what was answered and not lost as delivered, and nothing of what is held, noted or lost', () => {
  const { store } = storeOf();
  const [answered, held, lost, never] = ['a', 'b', 'c', 'd'].map((key) => liveTask(store, key)) as TaskRecord[];
  for (const task of [answered, held, lost]) store.answersArrived(task!, 1);
  store.asked(held!);
  store.answersArrived(lost!, -1);
  store.noteDelivered();
  const noted = [answered, held, lost, never].map((task) => store.entry(task!.id)?.delivered);
  assert.deepEqual(noted, [true, false, false, false]);
});

test('a record for an answer alone has its handle, and is in no store', () => {
  const of = { identity: identityOf('a'), stage: 'over', state: phaseState('SUCCESS'), outputPrefix: 'o' } as const;
  const record = recordForAnswer(of, 7, handleOf('a'));
  assert.deepEqual([record.id, record.answeredHandle, record.stage], ['a-1', handleOf('a'), 'over']);
});

test('what a create asked for goes with its creation, but for constraints, which stay with the token', () => {
  const { store } = storeOf();
  const [plain, constrained] = ['a', 'b'].map((key) => insertTask(store, key)) as [TaskRecord, TaskRecord];
  const constraints = { project: 1 };
  store.setRequirements(plain, { namespace: 'gpu' }, 'gpu');
  store.setRequirements(constrained, { namespace: 'gpu', constraints }, 'gpu');
  for (const task of [plain, constrained]) store.setCreated(task, Buffer.from('{}'));
  assert.deepEqual([plain.requirements, constrained.requirements?.constraints], [undefined, constraints]);
  assert.equal(plain.identity.quotaNamespace, 'gpu');
});

test('a record says of which attempt of which node it is', () => {
  const { store } = storeOf();
  const node = { nodeKey: 'n', attempt: 2 };
  assert.deepEqual([insertTask(store, 'a', { node }).node, insertTask(store, 'b').node], [node, undefined]);
});

test('how the reads of a task fail is kept for the next run until one succeeds', () => {
  const { store } = storeOf();
  const task = liveTask(store, 'a');
  const failing = { failures: 1, failingForMs: 5, notFound: 0, notFoundForMs: 0, frozenForMs: undefined };
  store.readFailed(task, failure, 1, { failing });
  assert.equal(task.failing, failing);
  store.readFailed(task, failure, 1);
  assert.equal(task.failing, undefined, 'as the last one says');
  store.readFailed(task, failure, 1, { failing });
  store.observed(task, phaseState('QUEUED'));
  assert.equal(task.failing, undefined);
});

test('a task that ends before it has a job holds its inputs no longer', () => {
  const { store } = storeOf();
  const task = insertTask(store, 'a', { payload: { inputs: 'large' } as never });
  store.end(task, phaseState('RETRYABLE_FAILURE'));
  assert.equal(task.payload, undefined);
});

test('a create that takes over from the record of a handle is a new version though the phase is the same, and keeps its own birth', () => {
  const { clock, store } = storeOf();
  const task = liveTask(store, 'a');
  const identity = identityOf('a', { createdAtMs: clock.now() });
  const adopted = adoptedTask(store, 'a', { identity, answeredHandle: handleOf('older'), state: task.state });
  const { phaseVersion, createdAtMs } = task;
  store.takeOver(task, adopted);
  assert.deepEqual([task.phaseVersion, task.createdAtMs], [phaseVersion + 1, createdAtMs]);
});

test('of a later run that was deleted after its end nothing claims the key any more', () => {
  const { store } = storeOf();
  const later = insertTask(store, 'a', { identity: identityOf('a', { incarnation: 2 }) });
  store.end(later, phaseState('ABORTED'));
  assert.equal(store.current('a'), later);
  store.remove(later);
  assert.deepEqual([store.current('a'), store.byId(later.id)], [undefined, later]);
});

test('a handle that two records share leads to the later one, also when the other has left', () => {
  const { store } = storeOf();
  const [first, second] = ['a', 'b'].map((key) => insertTask(store, key, { answeredHandle: handleOf('same') }));
  assert.equal(store.byHandle(handleOf('same')), second);
  store.remove(first!);
  assert.equal(store.byHandle(handleOf('same')), second);
});

test('secrets that come with a call are told where there were none, or none any more, and of a task that is not over', async () => {
  const { clock, store } = storeOf();
  const told: string[] = [];
  const listener = { left: () => {}, asked: () => {}, freed: () => {} };
  store.listen('demo', { ...listener, enriched: (id) => void told.push(id) });
  const task = liveTask(store, 'a');
  const brings = (inMs: number) => store.enrich(task, '', connection, clock.now() + inMs);
  brings(5_000);
  brings(5_000);
  assert.deepEqual(told, ['a-1'], 'once while they are kept');
  await clock.advance(4_999);
  brings(1);
  assert.equal(told.length, 1);
  await clock.advance(1);
  brings(5_000);
  assert.equal(told.length, 2, 'their time was over');
  await clock.advance(5_000);
  store.dropOld();
  assert.equal(task.connection, undefined, 'what came later is let go of as well');
  store.end(task, phaseState('ABORTED'));
  brings(5_000);
  assert.equal(told.length, 2);
});
