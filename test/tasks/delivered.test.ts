import assert from 'node:assert/strict';
import { test } from 'node:test';
import { created, type Harness, HINTS, ok, running, settle } from './harness.js';
import { Machine } from './machine.js';

const MINUTE = 60_000;

function serves({ plugin }: Harness): void {
  plugin.on.create = (args) => created(args.idempotencyKey);
  plugin.on.get = () => running();
  plugin.on.delete = () => ok({});
}

/** A machine whose daemon runs; `again` kills it, or stops it, and starts the next one. */
async function world() {
  const machine = new Machine();
  let h = await machine.start();
  serves(h);
  const again = async (how: 'killed' | 'stopped') => {
    if (how === 'stopped') await h.stop();
    else {
      await h.clock.advance(1_000);
      machine.kill();
    }
    h = await machine.start();
    serves(h);
    return h;
  };
  return { h, again };
}

const create = (h: Harness, attempt = 0) =>
  settle(h.clock, h.tasks.create(h.spec(`a-${attempt}`, { node: { nodeKey: 'n', attempt } }), h.scope()));

for (const how of ['killed', 'stopped'] as const) {
  test(`a create that was answered in the end is not cancelled after its grace by a daemon that was ${how} meanwhile`, async () => {
    const { h: first, again } = await world();
    (await create(first)).undelivered();
    await first.clock.advance(MINUTE);
    await create(first);
    const h = await again(how);
    await h.clock.advance(60 * MINUTE);
    assert.deepEqual(
      [h.plugin.count('delete'), h.store.unfinished, h.tasks.orphans.size],
      [0, 1, how === 'killed' ? 1 : 0],
    );
    await h.stop();
  });

  test(`a create whose last answer was lost is cancelled after what is left of its grace by a daemon that was ${how} meanwhile`, async () => {
    const { h: first, again } = await world();
    (await create(first)).undelivered();
    await first.clock.advance(5 * MINUTE);
    (await create(first)).undelivered();
    const h = await again(how);
    await h.clock.advance(3 * MINUTE);
    assert.equal(h.plugin.count('delete'), 0);
    await h.clock.advance(4 * MINUTE);
    assert.equal(h.plugin.count('delete'), 1);
    await h.stop();
  });
}

test('an answer that was lost before a crash, and one that arrives after it, leave the job alone', async () => {
  const { h: first, again } = await world();
  (await create(first)).undelivered();
  const h = await again('killed');
  await create(h);
  await h.clock.advance(60 * MINUTE);
  assert.equal(h.plugin.count('delete'), 0);
  const next = await again('killed');
  await next.clock.advance(60 * MINUTE);
  assert.equal(next.plugin.count('delete'), 0);
  await next.stop();
});

test('a later attempt deletes the one before whose delivery a crash leaves unknown, and none that a clean stop knows to be delivered', async () => {
  for (const [how, deletes] of [
    ['killed', 1],
    ['stopped', 0],
  ] as const) {
    const { h: first, again } = await world();
    await create(first);
    const h = await again(how);
    await create(h, 1);
    await h.clock.advance(MINUTE);
    assert.equal(h.plugin.count('delete'), deletes, how);
    await h.stop();
  }
});

test('what a clean stop knows to be delivered is so for the runs after the next as well, until a call confirms it or an answer is lost', async () => {
  const { h: first, again } = await world();
  const { handle } = await create(first);
  await again('stopped');
  const h = await again('killed');
  (await create(h)).undelivered();
  await h.clock.advance(60 * MINUTE);
  assert.equal(h.plugin.count('delete'), 0, 'the first answer arrived');
  await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
  await h.stop();
});
