import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import type { DeleteArgs, PluginOutcome } from '../../src/model/plugin-call.js';
import {
  created,
  fail,
  type Harness,
  type HarnessOptions,
  HINTS,
  held,
  makeHarness,
  ok,
  running,
  settle,
} from './harness.js';
import { Machine } from './machine.js';

type Deleted = PluginOutcome<Record<string, never>>;

const MINUTE = 60_000;
const FIRST = /is being cancelled first/;

/** A remote whose deletes are answered as the test says; `calls` tells creates and deletes by their incarnation. */
class Remote {
  readonly calls: string[] = [];
  deleting: (args: DeleteArgs) => Deleted | Promise<Deleted> = () => ok({});

  serve(h: Harness): void {
    h.plugin.features = { ...h.plugin.features, findsByKey: true };
    h.plugin.on.create = ({ idempotencyKey }) => {
      this.calls.push(`create ${incarnationOf(idempotencyKey)}`);
      return created(idempotencyKey);
    };
    h.plugin.on.get = () => running();
    h.plugin.on.delete = (args) => {
      this.calls.push(`delete ${incarnationOf(args.meta.toString())}`);
      return this.deleting(args);
    };
  }

  get creates(): number {
    return this.calls.filter((call) => call.startsWith('create')).length;
  }
}

const incarnationOf = (id: string): string => id.slice(id.indexOf('-') + 1);

async function world(options: HarnessOptions = {}): Promise<{ h: Harness; remote: Remote }> {
  const h = await makeHarness(options);
  const remote = new Remote();
  remote.serve(h);
  return { h, remote };
}

const create = (h: Harness, name = 'a') => settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
const remove = (h: Harness, handle: Buffer) => settle(h.clock, h.tasks.delete(handle, 'r', HINTS));

test('a key created anew waits for the delete that is owed for its last run, says so, and starts once that is done', async () => {
  const { h, remote } = await world({ config: { resourceQuotas: { default: 2 } } });
  const answer = held<Deleted>();
  remote.deleting = () => answer.promise;
  await remove(h, (await create(h)).handle);
  const { task } = await create(h);
  assert.equal(task.state.phase, 'WAITING_FOR_RESOURCES');
  assert.match(task.state.reason, FIRST);
  assert.equal(h.runtime.quotas.holds(task.id), false, 'what waits takes no token');
  assert.equal((await create(h, 'b')).task.stage, 'live', 'nor does it hold up others');
  assert.deepEqual(remote.calls, ['create 1', 'delete 1', 'create 1']);
  answer.release(ok({}));
  await h.clock.advance(1_000);
  assert.equal(task.stage, 'live');
  assert.deepEqual(remote.calls, ['create 1', 'delete 1', 'create 1', 'create 2']);
  assert.deepEqual(h.faults, []);
  await h.stop();
});

test('it waits over tries that fail, and goes on at the first answer that there is no such job', async () => {
  const { h, remote } = await world();
  let tries = 0;
  remote.deleting = () => (++tries < 4 ? fail('transient') : fail('not_found'));
  await remove(h, (await create(h)).handle);
  const { task } = await create(h);
  while (tries < 4) {
    assert.match(task.state.reason, FIRST);
    assert.equal(remote.creates, 1);
    await h.clock.advance(500);
  }
  await h.clock.advance(1_000);
  assert.equal(task.stage, 'live');
  assert.equal(h.tasks.owedDeletes.size, 1, 'which is not believed yet');
  await h.stop();
});

test('a delete that does not succeed holds up a key created anew for the create budget, and no longer', async () => {
  const { h, remote } = await world({ options: { createBudgetMs: 5 * MINUTE } });
  remote.deleting = () => fail('transient');
  await remove(h, (await create(h)).handle);
  const { task } = await create(h);
  await h.clock.advance(5 * MINUTE - 10_000);
  assert.equal(remote.creates, 1);
  await h.clock.advance(11_000);
  assert.equal(task.stage, 'live');
  await h.stop();
});

test('a key created anew while its last create is under way waits until that job is cancelled', async () => {
  const { h, remote } = await world();
  const answer = held<ReturnType<typeof created>>();
  h.plugin.on.create = () => answer.promise;
  const first = await create(h);
  await remove(h, first.handle);
  remote.serve(h);
  const { task } = await create(h);
  await h.clock.advance(10_000);
  assert.match(task.state.reason, FIRST);
  assert.deepEqual(remote.calls, []);
  answer.release(created(first.task.id));
  await h.clock.advance(1_000);
  assert.deepEqual(remote.calls, ['delete 1', 'create 2']);
  assert.equal(task.stage, 'live');
  await h.stop();
});

test('runs that were deleted before they started hold up nobody, but what was before them does', async () => {
  const { h, remote } = await world();
  const answer = held<Deleted>();
  remote.deleting = () => answer.promise;
  await remove(h, (await create(h)).handle);
  for (let n = 2; n <= 4; n++) {
    const { handle, task } = await create(h);
    assert.equal(task.identity.incarnation, n);
    await remove(h, handle);
  }
  const { task } = await create(h);
  assert.match(task.state.reason, FIRST);
  assert.equal(remote.creates, 1);
  answer.release(ok({}));
  await h.clock.advance(1_000);
  assert.deepEqual(remote.calls, ['create 1', 'delete 1', 'create 5']);
  assert.equal(task.stage, 'live');
  assert.deepEqual(h.faults, []);
  await h.stop();
});

test('a delete by a handle of an earlier daemon holds up a key created anew as well', async () => {
  const before = await world();
  const { handle } = await create(before.h);
  await before.h.stop();
  for (const repeated of [false, true]) {
    for (const asked of [false, true]) {
      const { h, remote } = await world();
      const answer = held<Deleted>();
      remote.deleting = () => answer.promise;
      if (asked) await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
      // Its create is repeated here, before the engine asks by the old handle again.
      h.plugin.on.create = () => new Promise(() => {});
      if (repeated) await create(h);
      remote.serve(h);
      await remove(h, handle);
      const { task } = await create(h);
      assert.equal(task.identity.incarnation, 2);
      assert.match(task.state.reason, FIRST, JSON.stringify({ repeated, asked }));
      assert.equal(remote.creates, 0);
      if (!repeated) {
        answer.release(ok({}));
        await h.clock.advance(1_000);
        assert.equal(task.stage, 'live');
      }
      await Promise.race([h.stop(), h.clock.advance(60_000)]);
    }
  }
});

test('a task that the daemon ended itself, and that was deleted then, holds up its key until its job is cancelled', async () => {
  const { h, remote } = await world({ options: { notFoundMinMs: 2 * MINUTE } });
  const answer = held<Deleted>();
  remote.deleting = () => answer.promise;
  const first = await create(h);
  await h.clock.advance(2 * MINUTE);
  h.plugin.on.get = () => fail('not_found');
  for (let waited = 0; first.task.stage !== 'over' && waited < 60; waited++) await h.clock.advance(MINUTE / 2);
  assert.equal(first.task.state.error?.code, 'RESOURCE_LOST');
  await remove(h, first.handle);
  const { task } = await create(h);
  assert.equal(task.identity.incarnation, 2);
  assert.match(task.state.reason, FIRST);
  assert.equal(remote.creates, 1);
  answer.release(ok({}));
  await h.clock.advance(5_000);
  assert.equal(remote.creates, 2);
  await h.stop();
});

test('after a restart a key created anew waits on, and so does one whose last create was cut off', async () => {
  for (const cut of ['delete', 'create'] as const) {
    const machine = new Machine();
    const remote = new Remote();
    let h = await machine.start();
    remote.serve(h);
    remote.deleting = () => fail('transient');
    if (cut === 'create') h.plugin.on.create = () => new Promise(() => {});
    await remove(h, (await create(h)).handle);
    const { handle } = await create(h);
    const creates = remote.creates;
    machine.kill();
    await machine.manual.advance(60 * MINUTE);
    h = await machine.start();
    remote.serve(h);
    await h.clock.advance(2 * MINUTE);
    const waits = h.tasks.peek(handle);
    assert.match(waits?.state.reason ?? '', FIRST, cut);
    // A create that was cut off is repeated, so that its job can be found.
    assert.equal(remote.creates, cut === 'create' ? 1 : creates, cut);
    remote.deleting = () => ok({});
    await h.clock.advance(2 * MINUTE);
    assert.equal(h.tasks.peek(handle)?.stage, 'live', cut);
    assert.equal(remote.calls.at(-1), 'create 2', cut);
    assert.ok(remote.calls.includes('delete 1'), cut);
    assert.deepEqual(h.faults, []);
    machine.kill();
  }
});

test('a create anew that had come further before a restart waits again, and ends well', async () => {
  const machine = new Machine();
  const remote = new Remote();
  let h = await machine.start({ options: { createBudgetMs: MINUTE } });
  remote.serve(h);
  remote.deleting = () => fail('transient');
  await remove(h, (await create(h)).handle);
  const { handle, task } = await create(h);
  h.runtime.gate.pause();
  await h.clock.advance(2 * MINUTE);
  assert.equal(task.stage, 'creating');
  machine.kill();
  h = await machine.start();
  remote.serve(h);
  await h.clock.advance(5_000);
  const again = h.tasks.peek(handle);
  assert.match(again?.state.reason ?? '', FIRST);
  assert.equal(again?.stage, 'creating');
  remote.deleting = () => ok({});
  await h.clock.advance(2 * MINUTE);
  assert.equal(again?.stage, 'live');
  assert.deepEqual(h.faults, []);
  machine.kill();
});

test('a delete and a create anew that come before the plugins are loaded keep that order', async () => {
  const machine = new Machine();
  const remote = new Remote();
  let h = await machine.start();
  remote.serve(h);
  const first = await create(h);
  await h.clock.advance(MINUTE);
  machine.kill();
  h = await machine.start({ starts: true });
  remote.serve(h);
  const answer = held<Deleted>();
  remote.deleting = () => answer.promise;
  await remove(h, first.handle);
  const { handle } = await create(h);
  h.load();
  await h.clock.advance(10_000);
  assert.match(h.tasks.peek(handle)?.state.reason ?? '', FIRST);
  assert.deepEqual(remote.calls, ['create 1', 'delete 1']);
  answer.release(ok({}));
  await h.clock.advance(1_000);
  assert.deepEqual(remote.calls, ['create 1', 'delete 1', 'create 2']);
  machine.kill();
});

test('a key created anew that is deleted while it waits never reaches the remote, and a stop ends its wait', async () => {
  const { h, remote } = await world();
  const answer = held<Deleted>();
  remote.deleting = () => answer.promise;
  await remove(h, (await create(h)).handle);
  await remove(h, (await create(h)).handle);
  const third = await create(h);
  assert.match(third.task.state.reason, FIRST);
  const stopping = h.stops();
  answer.release(ok({}));
  await h.clock.advance(1_000);
  await stopping;
  assert.equal(remote.creates, 1);
  assert.deepEqual(h.faults, []);
});

test('a run that takes the place of one which has waited for the delete before it waits no second time', async () => {
  const h = await makeHarness({ options: { createBudgetMs: MINUTE } });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => fail('transient');
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  const ended = phaseState('ABORTED');
  let creates = 0;
  h.plugin.on.create = () => (creates++ === 0 ? created('{"job":1}', ended, true) : created('{"job":2}'));
  const again = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(MINUTE - 10_000);
  assert.equal(creates, 0);
  await h.clock.advance(20_000);
  assert.equal(creates, 2, 'the job of the earlier life is passed over at once');
  assert.equal(h.tasks.peek(again.handle)?.stage, 'live');
  await h.stop();
});

test('a key created anew waits for what was before it within its budget over restarts, and not anew with each', async () => {
  const machine = new Machine();
  const remote = new Remote();
  remote.deleting = () => fail('transient');
  const first = await machine.start({ warmUpMs: MINUTE });
  remote.serve(first);
  await remove(first, (await create(first)).handle);
  const { handle } = await create(first);
  await first.clock.advance(4 * MINUTE);
  machine.kill();
  for (let life = 0; life < 2; life++) {
    const h = await machine.start();
    remote.serve(h);
    await h.clock.advance(4 * MINUTE);
    const { stage, state } = h.tasks.peek(handle)!;
    // Two minutes of a run that was killed are in no part of the budget that was over.
    if (life === 0) assert.match(state.reason, FIRST);
    else assert.equal(stage, 'live');
    machine.kill();
  }
  assert.equal(remote.creates, 2);
});
