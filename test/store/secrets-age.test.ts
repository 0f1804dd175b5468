import assert from 'node:assert/strict';
import { test } from 'node:test';
import { heldBytes } from '../../src/lib/held-bytes.js';
import { phaseState } from '../../src/model/phase-state.js';
import { deleteOrder, OwedDeletes } from '../../src/store/owed-deletes.js';
import { ReplayCache } from '../../src/store/replay-cache.js';
import { UnclearCreates } from '../../src/store/unclear-creates.js';
import { identityOf } from '../support/identity.js';
import { insertTask, liveTask, storeOf, unclearCreate } from './make-store.js';

const connection = { secrets: { key: 'hush' }, configs: {} };

test('secrets of owed deletes are let go of at the end of their time, which the order says then; others keep theirs', () => {
  const owed = new OwedDeletes(() => {});
  const add = (id: string, untilMs: number) => {
    const secrets = untilMs === 0 ? undefined : connection;
    const of = { id, identity: identityOf(id), meta: Buffer.from('{}'), outputPrefix: '' };
    owed.add(deleteOrder({ ...of, connection: secrets, connectionUntilMs: untilMs }, 'r')!, 1);
  };
  add('never had any', 0);
  add('just over', 100);
  add('not yet', 101);
  owed.dropOldSecrets(100);
  const seen = [...owed.listed()].map((one) => [one.id, one.connection !== undefined, one.needsCredentials]);
  assert.deepEqual(seen, [
    ['never had any', false, false],
    ['just over', false, true],
    ['not yet', true, false],
  ]);
});

test('secrets of unclear creates are let go of at the end of their time, and no longer count; others keep theirs', () => {
  const unclear = new UnclearCreates(() => {});
  unclear.add(unclearCreate('none'));
  unclear.add(unclearCreate('over', { connection, connectionUntilMs: 100 }));
  const each = unclear.bytes;
  unclear.add(unclearCreate('not yet', { connection, connectionUntilMs: 101 }));
  assert.ok(each > 0);
  assert.equal(unclear.bytes, 2 * each);
  unclear.dropOldSecrets(100);
  assert.deepEqual(
    ['none-1', 'over-1', 'not yet-1'].map((id) => unclear.get(id)?.connection !== undefined),
    [false, false, true],
  );
  assert.equal(unclear.bytes, each);
});

test('what is past its time goes though nobody asks for it: secrets, finished tasks, marks and results of do', async () => {
  const { clock, store } = storeOf();
  const secret = { connection, connectionUntilMs: clock.now() + 5_000 };
  const task = insertTask(store, 'live', secret);
  const owed = insertTask(store, 'owed', secret);
  store.setCreated(owed, Buffer.from('{}'));
  store.orderDelete(owed, 'r', false);
  store.unclear.add(unclearCreate('unclear', secret));
  store.observed(liveTask(store, 'over'), phaseState('SUCCESS'));
  const replays = new ReplayCache({ clock, ttlMs: 60_000, max: 10, maxBytes: 1e6 });
  await replays.set('do', phaseState('SUCCESS'));
  const held = () => [
    task.connection !== undefined,
    store.owed.get(owed.id)?.connection !== undefined,
    store.unclear.get('unclear-1')?.connection !== undefined,
    store.finished,
    store.marks.size,
    replays.size,
  ];
  const dropOld = async (inMs: number) => {
    await clock.advance(inMs);
    store.dropOld();
    replays.dropOld();
    return held();
  };
  assert.deepEqual(await dropOld(4_999), [true, true, true, 1, 2, 1]);
  assert.deepEqual(await dropOld(1), [false, false, false, 1, 2, 1]);
  assert.deepEqual(await dropOld(55_001), [false, false, false, 0, 0, 0]);
});

test('an order begins without a try or a failure; what a try made of it is noted, and no call without secrets takes them away', () => {
  const owed = new OwedDeletes(() => {});
  const of = { identity: identityOf('a'), meta: Buffer.from('{}'), outputPrefix: '', connection, connectionUntilMs: 9 };
  for (const id of ['a', 'b']) owed.add(deleteOrder({ ...of, id }, 'r')!, 1);
  const begun = owed.get('a');
  assert.deepEqual([begun?.attempts, begun?.failingForMs, begun?.needsCredentials], [0, 0, false]);
  owed.note('a', { attempts: 3, failingForMs: 7 });
  owed.renew('a', undefined, 0);
  const { attempts, failingForMs, connection: kept, connectionUntilMs } = owed.get('a') ?? assert.fail();
  assert.deepEqual([attempts, failingForMs, kept, connectionUntilMs], [3, 7, connection, 9]);
  owed.delete('a');
  assert.deepEqual(
    [...owed.listed()].map(({ id }) => id),
    ['b'],
  );
});

test('results of do that an earlier run wrote are as old as they are, and none is from the future', async () => {
  const { clock } = storeOf();
  const replays = new ReplayCache({ clock, ttlMs: 1_000, max: 10, maxBytes: 1e6 });
  const state = phaseState('SUCCESS');
  replays.restore('old', { state, endedAtMs: clock.now() - 400 });
  replays.restore('future', { state, endedAtMs: clock.now() + 5_000 });
  assert.deepEqual([replays.end('old')?.endedAtMs, replays.end('future')?.endedAtMs], [clock.now() - 400, clock.now()]);
  await clock.advance(600);
  assert.notEqual(replays.get('old'), undefined);
  await clock.advance(1);
  assert.deepEqual([replays.get('old'), replays.get('future')], [undefined, state]);
  await clock.advance(400);
  assert.equal(replays.get('future'), undefined);
});

test('an unclear create that comes twice is listed once, and what it holds counts once, less with each thing that is let go of', () => {
  const unclear = new UnclearCreates(() => {});
  const args = { inputs: Buffer.alloc(1_000) } as never;
  const secret = { args, connection, connectionUntilMs: 100 };
  for (let i = 0; i < 2; i++) unclear.add(unclearCreate('a', secret));
  unclear.add(unclearCreate('b', secret));
  const listed = () => [...unclear.listed()].map(({ id }) => id);
  const each = heldBytes(args) + heldBytes(connection);
  assert.deepEqual([listed(), unclear.size, unclear.bytes], [['a-1', 'b-1'], 2, 2 * each]);
  unclear.dropOldSecrets(100);
  assert.equal(unclear.bytes, 2 * heldBytes(args));
  unclear.add(unclearCreate('c', secret));
  unclear.leave('c-1', 'why');
  assert.deepEqual([unclear.get('c-1')?.connection, unclear.bytes], [undefined, 2 * heldBytes(args)]);
  unclear.delete('a-1');
  assert.deepEqual([listed(), unclear.bytes], [['b-1', 'c-1'], heldBytes(args)]);
});
