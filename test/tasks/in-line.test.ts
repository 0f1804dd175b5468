import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CreateArgs } from '../../src/model/plugin-call.js';
import { created, type Harness, HINTS, makeHarness, ok, running, settle } from './harness.js';

const MINUTE = 60_000;

/** A harness that notes which creates and deletes reach the plugin, in their order. */
async function world() {
  const h = await makeHarness();
  const sent: string[] = [];
  h.plugin.on.create = (args) => {
    const { generatedName } = (args as CreateArgs).metadata;
    sent.push(generatedName);
    return created(generatedName);
  };
  h.plugin.on.get = () => running();
  h.plugin.on.delete = ({ meta }) => {
    sent.push(`delete ${meta.toString()}`);
    return ok({});
  };
  const start = (name: string) => settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  return { h, sent, start };
}

const HOLDS: Record<string, { on(h: Harness): void; off(h: Harness): void }> = {
  'an operator who pauses the plugin': { on: (h) => h.runtime.gate.pause(), off: (h) => h.runtime.gate.resume() },
  'a plugin in quarantine': {
    on: ({ plugin }) => {
      plugin.state = 'quarantined';
    },
    off: ({ plugin }) => plugin.comesUp(),
  },
};

for (const [what, { on, off }] of Object.entries(HOLDS)) {
  test(`creates and deletes keep their places in line however long ${what} holds them up`, async () => {
    const { h, sent, start } = await world();
    const first = await start('first');
    const second = await start('second');
    sent.length = 0;
    on(h);
    await start('a');
    await settle(h.clock, h.tasks.delete(first.handle, 'r', HINTS));
    await h.clock.advance(14 * MINUTE + 50_000);
    const late = await start('b');
    await settle(h.clock, h.tasks.delete(second.handle, 'r', HINTS));
    await h.clock.advance(MINUTE);
    await start('c');
    assert.deepEqual(sent, []);
    assert.equal(h.runtime.gate.capacity('write').queued, 5);
    off(h);
    await h.clock.advance(1_000);
    assert.deepEqual(sent, ['delete first', 'delete second', 'a', 'b', 'c']);
    assert.equal(late.task.stage, 'live');
    await h.stop();
    assert.deepEqual([h.faults, h.clock.pending], [[], 0]);
  });
}

test('a create in line for an hour says why, leaves it by a Delete, and is kept by nothing when the daemon stops', async () => {
  const { h, sent, start } = await world();
  h.runtime.gate.pause();
  const gone = await start('gone');
  const kept = await start('kept');
  await h.clock.advance(60 * MINUTE);
  assert.match(kept.task.state.reason, /an operator paused/);
  await settle(h.clock, h.tasks.delete(gone.handle, 'r', HINTS));
  assert.equal(h.runtime.gate.capacity('write').queued, 1);
  await h.stop();
  assert.deepEqual([sent, h.faults, h.clock.pending], [[], [], 0]);
});
