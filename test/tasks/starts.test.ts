import assert from 'node:assert/strict';
import { test } from 'node:test';
import { created, fail, type Harness, HINTS, held, ok, running, settle } from './harness.js';
import { Machine } from './machine.js';

/** What a start finds in the state, and what is promised while that cannot be written. */

const MINUTE = 60_000;

function answers(h: Harness): void {
  h.plugin.on.create = ({ idempotencyKey }) => created(JSON.stringify({ job: idempotencyKey }));
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
}

/** A handle that another daemon gave, of a quota of one. */
async function foreignHandle(config: object): Promise<Buffer> {
  const h = await new Machine().start({ config });
  answers(h);
  return (await settle(h.clock, h.tasks.create(h.spec('theirs'), h.scope()))).handle;
}

for (const deleted of [false, true]) {
  test(`a task that its handle told of has its token after a restart as before, before anybody is granted one${deleted ? ', also while its delete fails' : ''}`, async () => {
    const config = { resourceQuotas: { default: 1 } };
    const handle = await foreignHandle(config);
    const machine = new Machine();
    const first = await machine.start({ config });
    answers(first);
    const adopted = await settle(first.clock, first.tasks.status(handle, HINTS, first.scope()));
    await first.clock.advance(MINUTE);
    assert.equal(first.runtime.quotas.holds(adopted.id), true);
    const waiting = await settle(first.clock, first.tasks.create(first.spec('mine'), first.scope(3_000)));
    if (deleted) {
      first.plugin.on.delete = () => fail('transient');
      await settle(first.clock, first.tasks.delete(handle, 'r', HINTS));
    }
    await first.clock.advance(1_000);
    machine.kill();

    const second = await machine.start({ config });
    answers(second);
    second.plugin.on.delete = () => fail('transient');
    await second.clock.advance(5_000);
    assert.equal(second.runtime.quotas.holds(adopted.id), true);
    assert.equal(second.plugin.count('create'), 0);
    assert.equal(second.tasks.peek(waiting.handle)?.stage, 'accepted');
    second.plugin.on.delete = () => ok({});
    await settle(second.clock, second.tasks.delete(handle, 'r', HINTS));
    await second.clock.advance(2 * MINUTE);
    assert.equal(second.tasks.peek(waiting.handle)?.stage, 'live');
    assert.deepEqual([first.faults, second.faults], [[], []]);
  });
}

test('a Delete is acknowledged once its order is safe, also the repeated one: of a task that waits, that runs, that is being created, and that is over', async () => {
  for (const stage of ['accepted', 'creating', 'live', 'over'] as const) {
    const machine = new Machine();
    const config = { resourceQuotas: { default: stage === 'accepted' ? 0 : 5 } };
    const h = await machine.start({ config, warmUpMs: MINUTE });
    answers(h);
    const creating = held<ReturnType<typeof created>>();
    if (stage === 'creating') h.plugin.on.create = () => creating.promise;
    if (stage === 'over') h.plugin.on.create = () => fail('permanent');
    const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope(3_000)));
    assert.equal(task.stage, stage);
    await h.clock.advance(1_000);
    machine.engine.failWith = 'STATE_DISK_FULL';
    const refused = { code: 'STATE_DISK_FULL' };
    for (const time of ['first', 'second', 'third']) {
      await assert.rejects(
        settle(h.clock, h.tasks.delete(handle, 'r', HINTS, h.scope(2_000))),
        refused,
        `${stage}, the ${time} time`,
      );
    }
    machine.engine.failWith = undefined;
    await h.clock.advance(MINUTE);
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS, h.scope(2_000)));
    machine.kill();
  }
});

test('where a state was lost nothing is granted for one interval from when the plugin serves, however long that took, and for an hour of starts', async () => {
  const config = { resourceQuotas: { default: 2 } };
  const handle = await foreignHandle(config);
  for (const [awayMs, closed] of [
    [2 * MINUTE, true],
    [58 * MINUTE, true],
    [61 * MINUTE, false],
  ] as const) {
    const machine = new Machine();
    await machine.manual.advance(10 * MINUTE);
    // The state is born by this start, in which nobody asks for what ran before.
    await machine.start({ config });
    await machine.manual.advance(awayMs);
    machine.kill();
    const h = await machine.start({ config, warmUpMs: 1_000 });
    answers(h);
    await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()));
    const mine = await settle(h.clock, h.tasks.create(h.spec('mine'), h.scope(3_000)));
    assert.equal(h.tasks.peek(mine.handle)?.stage, closed ? 'accepted' : 'live', `${awayMs}`);
    await h.clock.advance(35_000);
    assert.equal(h.tasks.peek(mine.handle)?.stage, 'live');
    machine.kill();
  }
});
