import assert from 'node:assert/strict';
import { test } from 'node:test';
import { created, fail, type Harness, type HarnessOptions, ok, running, settle } from './harness.js';
import { Machine } from './machine.js';

const attempt = (n: number) => ({ node: { nodeKey: 'n', attempt: n } });
const MINUTE = 60_000;

type Handlers = Partial<Harness['plugin']['on']>;

const withPlugin = (on: Handlers): HarnessOptions => ({
  plugin: (plugin) => {
    Object.assign(plugin.on, { create: () => created(), get: () => running(), delete: () => ok({}), ...on });
  },
});

const create = (h: Harness, n: number) => settle(h.clock, h.tasks.create(h.spec(`n/${n}`, attempt(n)), h.scope()));
const never = () => new Promise<never>(() => undefined);

test('an attempt that waits until the orphan before it is cancelled waits on after a restart, and then starts', async () => {
  const machine = new Machine();
  const before = await machine.start(withPlugin({ delete: never }));
  (await create(before, 0)).undelivered();
  const { handle } = await create(before, 1);
  await before.clock.advance(5_000);
  assert.equal(before.plugin.count('create'), 1);
  machine.kill();
  let away = true;
  const after = await machine.start(withPlugin({ delete: () => (away ? fail('transient') : ok({})) }));
  await after.clock.advance(MINUTE);
  assert.deepEqual([after.plugin.count('create'), after.tasks.peek(handle)?.state.phase], [0, 'WAITING_FOR_RESOURCES']);
  assert.match(
    after.tasks.peek(handle)?.state.reason ?? '',
    /an earlier attempt of this node is being cancelled first/,
  );
  away = false;
  await after.clock.advance(3 * MINUTE);
  assert.deepEqual([after.plugin.count('create'), after.tasks.peek(handle)?.state.phase], [1, 'RUNNING']);
  machine.kill();
});

for (const answer of ['lost', 'perhaps delivered'] as const) {
  test(`an attempt that was accepted in the drain has the one before it, whose answer was ${answer}, cancelled after the restart`, async () => {
    const machine = new Machine();
    let h = await machine.start(withPlugin({}));
    const first = await create(h, 0);
    if (answer === 'lost') first.undelivered();
    else {
      // Whether its answer arrived is known to nobody.
      machine.kill();
      h = await machine.start(withPlugin({}));
      await h.clock.advance(1_000);
    }
    h.tasks.drain();
    await settle(h.clock, h.tasks.stop());
    const second = await create(h, 1);
    await h.clock.advance(1_000);
    machine.kill();
    const calls: string[] = [];
    const noted = (method: string) => () => {
      calls.push(method);
      return method === 'create' ? created('{"job":2}') : ok({});
    };
    const after = await machine.start(
      withPlugin({ create: noted('create') as never, delete: noted('delete') as never }),
    );
    await after.clock.advance(MINUTE);
    assert.deepEqual(calls, ['delete', 'create'], 'the delete comes first');
    assert.equal(after.tasks.peek(second.handle)?.state.phase, 'RUNNING');
    assert.deepEqual([after.store.owed.size, after.store.unfinished], [0, 1]);
    machine.kill();
  });
}

test('an attempt whose create was sent before a crash is repeated without waiting, since its job may run', async () => {
  const machine = new Machine();
  const before = await machine.start(withPlugin({ delete: never }));
  const first = await create(before, 0);
  before.plugin.on.create = never;
  void before.tasks.create(before.spec('n/1', attempt(1)), before.scope()).catch(() => undefined);
  await before.clock.advance(5_000);
  assert.equal(before.plugin.count('create'), 2);
  await settle(before.clock, before.tasks.delete(first.handle, 'r', { outputPrefix: '', connection: undefined }));
  machine.kill();
  const after = await machine.start(withPlugin({ delete: () => fail('transient') }));
  await after.clock.advance(3 * MINUTE);
  assert.equal(after.plugin.count('create'), 1);
  machine.kill();
});
