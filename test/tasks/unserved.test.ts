import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TasksDeps } from '../../src/tasks/deps.js';
import { tellUnserved } from '../../src/tasks/recovery.js';
import { created, HINTS, running, settle } from './harness.js';
import { Machine } from './machine.js';

test('what an earlier run left of a plugin that does not run here is told with its numbers, and no other plugin', async () => {
  const machine = new Machine();
  const first = await machine.start({ config: { resourceQuotas: { default: 2 } } });
  first.plugin.on.create = () => created();
  first.plugin.on.get = () => running();
  const handles: Buffer[] = [];
  for (const name of ['live', 'deleted', 'waits']) {
    const { handle } = await settle(first.clock, first.tasks.create(first.spec(name), first.scope()));
    handles.push(handle);
  }
  const [live, deleted, waits] = handles as [Buffer, Buffer, Buffer];
  await first.clock.advance(30_000);
  first.plugin.on.delete = () => new Promise(() => {});
  await settle(first.clock, first.tasks.delete(deleted, 'enough', HINTS, first.scope()));
  machine.kill();
  const { clock, store, tasks, runtime } = await machine.start({ plugin: (plugin) => plugin.isDown() });
  const told: [plugin: string, tasks: number, deletes: number][] = [];
  const deps = (served: boolean) =>
    ({
      store,
      runtimes: { get: () => (served ? runtime : undefined), all: () => [] },
      events: { unserved: (...said: [string, number, number]) => told.push(said) },
    }) as unknown as TasksDeps;
  tellUnserved(deps(true));
  assert.equal(told.length, 0);
  tellUnserved(deps(false));
  assert.deepEqual(told, [['fake', 2, 1]]);
  await clock.advance(1_000);
  assert.match(tasks.peek(waits)?.state.reason ?? '', /waits for plugin "fake", which does not run here/);
  assert.equal(tasks.peek(live)?.state.phase, 'RUNNING');
});
