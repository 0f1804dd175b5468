import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import {
  created,
  fail,
  type Harness,
  type HarnessOptions,
  HINTS,
  held,
  literals,
  ok,
  running,
  settle,
} from './harness.js';
import { Machine } from './machine.js';

const answersAtOnce = (h: Harness) => {
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
};

describe('a daemon with a state', () => {
  it('answers after a crash the same bytes and phase, never a lower one, and polls the job on', async () => {
    const machine = new Machine();
    const first = await machine.start();
    answersAtOnce(first);
    const { handle } = await settle(first.clock, first.tasks.create(first.spec('a'), first.scope()));
    await first.clock.advance(60_000);
    const before = first.tasks.peek(handle);
    assert.equal(before?.state.phase, 'RUNNING');
    const version = before?.phaseVersion ?? 0;
    await first.clock.advance(200);
    machine.kill();

    const second = await machine.start();
    answersAtOnce(second);
    const after = second.tasks.peek(handle);
    assert.equal(after?.state.phase, 'RUNNING', 'at once, before any read');
    assert.ok((after?.phaseVersion ?? 0) > version);
    const again = await settle(second.clock, second.tasks.create(second.spec('a'), second.scope()));
    assert.deepEqual(again.handle, handle);
    await second.clock.advance(60_000);
    assert.ok(second.plugin.count('get') > 0);
    assert.equal(second.plugin.count('create'), 0);
    assert.deepEqual(second.faults, []);
  });

  it('tells no lower version in any later run, also where a run wrote nothing before it died', async () => {
    const machine = new Machine();
    const config = { resourceQuotas: { default: 0 } };
    let h = await machine.start({ config });
    answersAtOnce(h);
    const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    await h.clock.advance(10_000);
    let told = h.tasks.peek(handle)?.phaseVersion ?? 0;
    for (let run = 0; run < 4; run++) {
      machine.kill();
      h = await machine.start({ config });
      answersAtOnce(h);
      // A change that is no rise need not be safe before it is told.
      const task = h.tasks.peek(handle);
      assert.ok(task !== undefined && task.phaseVersion >= told, `${task?.phaseVersion} after ${told}`);
      h.store.setWaiting(task, 'accepted', phaseState('WAITING_FOR_RESOURCES', { reason: `run ${run}` }));
      await h.clock.advance(20);
      told = h.tasks.peek(handle)?.phaseVersion ?? 0;
    }
  });

  it('keeps the token of a task that was deleted while its create was under way, until its job is cancelled', async () => {
    const machine = new Machine();
    const config = { resourceQuotas: { default: 1 } };
    const first = await machine.start({ config, warmUpMs: 60_000 });
    const answer = held<ReturnType<typeof created>>();
    first.plugin.on.create = () => answer.promise;
    const { handle } = await settle(first.clock, first.tasks.create(first.spec('a'), first.scope(3_000)));
    assert.equal(first.plugin.count('create'), 1);
    await settle(first.clock, first.tasks.delete(handle, 'enough', HINTS, first.scope()));
    machine.kill();

    const second = await machine.start({ config });
    second.plugin.on.create = () => created('{"job":1}', undefined, true);
    second.plugin.on.get = () => running();
    const deleting = held<ReturnType<typeof ok<Record<string, never>>>>();
    second.plugin.on.delete = () => deleting.promise;
    const next = await settle(second.clock, second.tasks.create(second.spec('b'), second.scope(3_000)));
    const used = () => second.runtime.quotas.snapshot().map((row) => [row.used, row.waiting]);
    assert.deepEqual(used(), [[1, 1]], 'its job may run, and nobody else gets its token');
    await second.clock.advance(20_000);
    assert.equal(second.plugin.count('create'), 0, 'the call of the first run may still be on its way');
    await second.clock.advance(15_000);
    assert.equal(second.plugin.count('create'), 1, 'it is looked for once that is over, and not later');
    assert.equal(second.plugin.count('delete'), 1);
    assert.deepEqual(used(), [[1, 1]]);
    deleting.release(ok({}));
    await second.clock.advance(1_000);
    assert.deepEqual(used(), [[1, 0]], 'now the next one has it');
    assert.equal(second.tasks.peek(next.handle)?.stage, 'live');
    assert.equal(second.store.unclear.size, 0);
    assert.deepEqual(second.faults, []);
  });

  it('repeats no create whose plugin turns out to find nothing by key while the call waits for its process', async () => {
    const machine = new Machine();
    const first = await machine.start({ warmUpMs: 60_000 });
    const answer = held<ReturnType<typeof created>>();
    first.plugin.on.create = () => answer.promise;
    const { handle } = await settle(first.clock, first.tasks.create(first.spec('a'), first.scope(3_000)));
    assert.equal(first.plugin.count('create'), 1);
    machine.kill();

    const second = await machine.start();
    answersAtOnce(second);
    second.runtime.gate.pause();
    await second.clock.advance(60_000);
    second.plugin.features.findsByKey = false;
    second.runtime.gate.resume();
    await second.clock.advance(60_000);
    assert.equal(second.plugin.count('create'), 0);
    assert.equal(second.tasks.peek(handle)?.state.error?.code, 'CREATE_UNCLEAR');
    assert.equal(second.store.unclear.size, 1);
  });

  it('tells the end of a Do once it is safe, and the same one after a crash', async () => {
    const machine = new Machine();
    const sync: HarnessOptions = {
      plugin: (plugin) => {
        plugin.kind = 'sync';
      },
    };
    const first = await machine.start({ ...sync, warmUpMs: 60_000 });
    first.plugin.on.do = () => ok(phaseState('SUCCESS', { outputs: literals('first') }));
    machine.engine.hold();
    let told = false;
    const doing = first.tasks.do(first.spec('a'), first.scope(60_000)).then((state) => {
      told = true;
      return state;
    });
    await first.clock.advance(1_000);
    assert.deepEqual([first.plugin.count('do'), told], [1, false]);
    machine.engine.release();
    const before = await settle(first.clock, doing);
    machine.kill();

    const second = await machine.start(sync);
    second.plugin.on.do = () => ok(phaseState('SUCCESS', { outputs: literals('second') }));
    const after = await settle(second.clock, second.tasks.do(second.spec('a'), second.scope()));
    assert.deepEqual(after.outputs, before.outputs);
    assert.equal(second.plugin.count('do'), 0);
  });

  it('keeps an end with its outputs', async () => {
    const machine = new Machine();
    const first = await machine.start();
    answersAtOnce(first);
    first.plugin.on.get = () => ok(phaseState('SUCCESS', { outputs: literals('x') }));
    const { handle } = await settle(first.clock, first.tasks.create(first.spec('a'), first.scope()));
    await first.clock.advance(60_000);
    machine.kill();
    const second = await machine.start();
    const task = second.tasks.peek(handle);
    assert.equal(task?.state.phase, 'SUCCESS');
    assert.deepEqual(task?.state.outputs, literals('x'));
    assert.equal(second.plugin.count('get'), 0);
  });

  it('tells nobody of an end that is not safe, and tells it once it is', async () => {
    const machine = new Machine();
    const h = await machine.start();
    answersAtOnce(h);
    const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    await h.clock.advance(30_000);
    h.plugin.on.get = () => ok(phaseState('SUCCESS'));
    machine.engine.hold();
    await h.clock.advance(60_000);
    assert.equal(h.tasks.peek(handle)?.state.phase, 'RUNNING');
    const reads = h.plugin.count('get');
    await h.clock.advance(60_000);
    assert.equal(h.plugin.count('get'), reads, 'it is over, and is not read again');
    machine.engine.release();
    await h.clock.advance(1_000);
    assert.equal(h.tasks.peek(handle)?.state.phase, 'SUCCESS');
  });

  it('sends no create before its mark is safe, and answers none before what it says is', async () => {
    const machine = new Machine();
    const h = await machine.start({ warmUpMs: 60_000 });
    answersAtOnce(h);
    machine.engine.hold();
    const creating = h.tasks.create(h.spec('a'), h.scope(30_000));
    await h.clock.advance(5_000);
    assert.equal(h.plugin.count('create'), 0);
    machine.engine.release();
    await h.clock.advance(1_000);
    assert.equal(h.plugin.count('create'), 1);
    const { task } = await settle(h.clock, creating);
    assert.equal(task.stage, 'live');
  });

  it('goes on after a crash with what was accepted, in its order, and drops what nobody was told of and nobody repeats', async () => {
    const machine = new Machine();
    const config = { resourceQuotas: { default: 1 } };
    const first = await machine.start({ config });
    answersAtOnce(first);
    await settle(first.clock, first.tasks.create(first.spec('holder'), first.scope()));
    const handles: Buffer[] = [];
    for (const name of ['a', 'b', 'c']) {
      const { handle } = await settle(first.clock, first.tasks.create(first.spec(name), first.scope()));
      handles.push(handle);
    }
    void first.tasks.create(first.spec('untold'), first.scope()).catch(() => undefined);
    await first.clock.advance(200);
    machine.kill();

    const second = await machine.start({ config });
    answersAtOnce(second);
    await second.clock.advance(60_000);
    assert.deepEqual(
      second.runtime.quotas.snapshot().map(({ used, waiting }) => [used, waiting]),
      [[1, 3]],
    );
    for (const expected of ['a', 'b', 'c']) {
      const ends = liveKey(second);
      second.plugin.on.get = ({ idempotencyKey }) => ok(phaseState(idempotencyKey === ends ? 'SUCCESS' : 'RUNNING'));
      await second.clock.advance(120_000);
      const last = second.plugin.calls.filter(({ method }) => method === 'create').at(-1);
      assert.equal((last?.args as { outputPrefix?: string } | undefined)?.outputPrefix, `s3://bucket/${expected}`);
    }
    assert.ok(handles.every((handle) => second.tasks.peek(handle) !== undefined));
    await second.clock.advance(11 * 60_000);
    assert.equal(second.plugin.count('create'), 3, 'and not the one that nobody was told of');
    assert.equal([...second.store.unfinishedTasks()].length, 1);
    assert.deepEqual(second.faults, []);
  });

  it('repeats a create that may have been sent, after its bound and not before, and makes no second job', async () => {
    const machine = new Machine();
    const first = await machine.start({ warmUpMs: 60_000 });
    const answer = held<ReturnType<typeof created>>();
    first.plugin.on.create = () => answer.promise;
    const creating = first.tasks.create(first.spec('a'), first.scope(3_000));
    const { handle } = await settle(first.clock, creating);
    assert.equal(first.plugin.count('create'), 1);
    machine.kill();
    const sent = machine.manual.now();

    const second = await machine.start();
    let at = 0;
    second.plugin.on.create = () => {
      at = machine.manual.now();
      return created('{"job":1}', undefined, true);
    };
    second.plugin.on.get = () => running();
    await second.clock.advance(20_000);
    assert.equal(second.plugin.count('create'), 0, 'the call of the first run may still be on its way');
    await second.clock.advance(60_000);
    assert.equal(second.plugin.count('create'), 1);
    assert.ok(at - sent >= 30_000, `${at - sent} ms later`);
    assert.equal(second.tasks.peek(handle)?.stage, 'live');
  });

  it('carries out after a crash the deletes that were acknowledged, and acknowledges none that is not safe', async () => {
    const machine = new Machine();
    const first = await machine.start();
    answersAtOnce(first);
    first.plugin.on.delete = () => fail('transient');
    const { handle } = await settle(first.clock, first.tasks.create(first.spec('a'), first.scope()));
    await first.clock.advance(10_000);
    await settle(first.clock, first.tasks.delete(handle, 'enough', HINTS, first.scope()));
    machine.kill();
    const second = await machine.start();
    answersAtOnce(second);
    assert.equal(second.store.owed.size, 1);
    const task = await settle(second.clock, second.tasks.status(handle, HINTS, second.scope()));
    assert.equal(task.state.error?.code, 'TASK_DELETED');
    await second.clock.advance(60_000);
    assert.equal(second.plugin.count('delete'), 1);
    assert.equal(second.store.owed.size, 0);

    const { handle: other } = await settle(second.clock, second.tasks.create(second.spec('b'), second.scope()));
    machine.engine.failWith = 'STATE_DISK_FULL';
    await assert.rejects(settle(second.clock, second.tasks.delete(other, 'enough', HINTS, second.scope())), {
      code: 'STATE_DISK_FULL',
      retryAfterMs: 5_000,
    });
  });

  it('refuses creates while the state cannot be written, serves reads, and goes on when it can', async () => {
    const machine = new Machine();
    const h = await machine.start({ warmUpMs: 60_000 });
    answersAtOnce(h);
    const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    machine.engine.failWith = 'STATE_READ_ONLY';
    await assert.rejects(settle(h.clock, h.tasks.create(h.spec('b'), h.scope())), { code: 'STATE_READ_ONLY' });
    await assert.rejects(settle(h.clock, h.tasks.create(h.spec('c'), h.scope())), { code: 'STATE_READ_ONLY' });
    assert.equal(h.plugin.count('create'), 1, 'nothing is sent that could not be written down');
    assert.ok(h.tasks.peek(handle) !== undefined);
    machine.engine.failWith = undefined;
    await h.clock.advance(10_000);
    await settle(h.clock, h.tasks.create(h.spec('b'), h.scope()));
    assert.equal(h.plugin.count('create'), 2);
  });

  it('keeps the bucket’s level over a clean stop and not over a crash', async () => {
    const machine = new Machine();
    const first = await machine.start({ warmUpMs: 60_000 });
    const full = first.runtime.gate.capacity('write').tokensNow;
    assert.ok(full > 10);
    await first.stop();
    const second = await machine.start();
    assert.equal(second.runtime.gate.capacity('write').tokensNow, full, 'what was there');
    machine.kill();
    const third = await machine.start();
    assert.equal(third.runtime.gate.capacity('write').tokensNow, 0);
  });
});

/** The key of the one job that is polled. */
function liveKey(h: Harness): string {
  return [...h.store.unfinishedTasks()].find(({ stage }) => stage === 'live')?.id ?? '';
}
