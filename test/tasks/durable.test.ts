import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
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
  success,
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

  it('repeats a look for the job of an unclear create once the look of a run that died can reach nobody any more, and not sooner', async () => {
    const machine = new Machine();
    const minutes = 60_000;
    const options: HarnessOptions = { gate: { callTimeoutMs: 10 * minutes }, options: { createBudgetMs: 20_000 } };
    const first = await machine.start({ ...options, warmUpMs: minutes });
    first.plugin.on.create = () => fail('transient');
    await settle(first.clock, first.tasks.create(first.spec('a'), first.scope()));
    await first.clock.advance(50_000);
    const look = held<ReturnType<typeof created>>();
    first.plugin.on.create = () => look.promise;
    const before = first.plugin.count('create');
    await first.clock.advance(2 * minutes);
    assert.equal(first.plugin.count('create'), before + 1, 'a look is under way');
    machine.kill();

    const second = await machine.start(options);
    second.plugin.on.create = () => fail('transient');
    await second.clock.advance(9 * minutes);
    assert.equal(second.plugin.count('create'), 0);
    await second.clock.advance(2 * minutes);
    assert.equal(second.plugin.count('create'), 1);
    // One that was answered is waited for by nobody.
    await second.clock.advance(1_000);
    machine.kill();
    const third = await machine.start(options);
    third.plugin.on.create = () => created('{"job":1}', undefined, true);
    third.plugin.on.delete = () => ok({});
    await third.clock.advance(6 * minutes);
    assert.deepEqual([third.plugin.count('create'), third.plugin.count('delete')], [1, 1]);
    assert.deepEqual([...first.faults, ...second.faults, ...third.faults], []);
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

  it('cancels what was never delivered after its grace of lives that were each shorter, and not before', async () => {
    const machine = new Machine();
    const options = { orphanGraceMs: 80_000 };
    let h = await machine.start({ options });
    answersAtOnce(h);
    const answer = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    answer.undelivered();
    for (let life = 1; life <= 8; life++) {
      // Each is somewhat longer than one part of the grace, which is kept.
      await h.clock.advance(10_500);
      await settle(h.clock, h.store.safe());
      assert.equal(h.plugin.count('delete'), life === 8 ? 1 : 0, `life ${life}`);
      if (life === 8) break;
      machine.kill();
      h = await machine.start({ options });
      answersAtOnce(h);
    }
    assert.deepEqual(h.faults, []);
  });

  it('starts the next incarnation of what was deleted before a crash, and a late Delete with the old handle leaves it alone', async () => {
    const machine = new Machine();
    const first = await machine.start();
    answersAtOnce(first);
    const { handle: old } = await settle(first.clock, first.tasks.create(first.spec('a'), first.scope()));
    await settle(first.clock, first.tasks.delete(old, 'enough', HINTS, first.scope()));
    await first.clock.advance(60_000);
    assert.equal(first.store.owed.size, 0, 'nothing but its end mark is left');
    machine.kill();

    const second = await machine.start();
    answersAtOnce(second);
    const { handle, task } = await settle(second.clock, second.tasks.create(second.spec('a'), second.scope()));
    assert.equal(task.identity.incarnation, 2);
    assert.notDeepEqual(handle, old);
    await settle(second.clock, second.tasks.delete(old, 'late', HINTS, second.scope()));
    await second.clock.advance(60_000);
    assert.equal(second.plugin.count('delete'), 0);
    assert.equal(second.tasks.peek(handle)?.stage, 'live');
    const told = await settle(second.clock, second.tasks.status(old, HINTS, second.scope()));
    assert.equal(told.state.error?.code, 'TASK_DELETED');
    machine.kill();

    // Both are known in the run after that one, too.
    const third = await machine.start();
    answersAtOnce(third);
    const again = await settle(third.clock, third.tasks.create(third.spec('a'), third.scope()));
    assert.deepEqual(again.handle, handle);
    assert.equal(third.plugin.count('create'), 0);
  });

  it('lets no task of a project start over its constraint while a delete is owed to another of it, over a crash', async () => {
    const machine = new Machine();
    const asks = {
      plugin: (plugin: Harness['plugin']) => {
        plugin.features.resourceRequirements = true;
        plugin.on.resourceRequirements = () => ok({ namespace: 'gpu', constraints: { project: 1 } });
      },
      config: { resourceQuotas: { gpu: 5 } },
    };
    const first = await machine.start(asks);
    answersAtOnce(first);
    const { handle } = await settle(first.clock, first.tasks.create(first.spec('a'), first.scope()));
    first.plugin.on.delete = () => fail('transient');
    await settle(first.clock, first.tasks.delete(handle, 'enough', HINTS, first.scope()));
    machine.kill();

    const second = await machine.start({ ...asks, warmUpMs: 60_000 });
    answersAtOnce(second);
    second.plugin.on.delete = () => fail('transient');
    const next = await settle(second.clock, second.tasks.create(second.spec('b'), second.scope(3_000)));
    await second.clock.advance(60_000);
    assert.equal(second.tasks.peek(next.handle)?.stage, 'accepted');
    second.plugin.on.delete = () => ok({});
    await second.clock.advance(120_000);
    assert.equal(second.tasks.peek(next.handle)?.stage, 'live');
  });

  it('makes no second job of an attempt that ended before a crash and gave way to others, and tells a failure again', async () => {
    for (const findsByKey of [true, false]) {
      const machine = new Machine();
      const options: HarnessOptions = {
        warmUpMs: 60_000,
        finished: { maxCount: 1 },
        plugin: (plugin) => {
          plugin.features.findsByKey = findsByKey;
        },
      };
      const first = await machine.start(options);
      answersAtOnce(first);
      for (const [name, phase] of [
        ['good', 'SUCCESS'],
        ['bad', 'PERMANENT_FAILURE'],
        ['last', 'SUCCESS'],
      ] as const) {
        const error = { code: 'BROKEN', message: `${name} broke`, kind: 'USER' } as const;
        first.plugin.on.get = () => ok(phaseState(phase, phase === 'SUCCESS' ? {} : { error }));
        await settle(first.clock, first.tasks.create(first.spec(name), first.scope()));
        await first.clock.advance(60_000);
      }
      machine.kill();

      const second = await machine.start(options);
      second.plugin.on.create = () => created('{"job":1}', phaseState('SUCCESS'), true);
      const bad = await settle(second.clock, second.tasks.create(second.spec('bad'), second.scope()));
      assert.deepEqual([bad.task.state.phase, bad.task.state.error?.message], ['PERMANENT_FAILURE', 'bad broke']);
      assert.equal(second.plugin.count('create'), 0);
      const good = await settle(second.clock, second.tasks.create(second.spec('good'), second.scope()));
      await second.clock.advance(1_000);
      const told = second.tasks.peek(good.handle)?.state;
      assert.deepEqual(
        [second.plugin.count('create'), told?.phase, told?.error?.code],
        findsByKey ? [1, 'SUCCESS', undefined] : [0, 'RETRYABLE_FAILURE', 'CREATE_UNCLEAR'],
      );
      assert.deepEqual(second.faults, []);
    }
  });

  it('runs no attempt twice whose end gave way to others within the replay window, and takes an earlier life for one again after it', async () => {
    const machine = new Machine();
    const options: HarnessOptions = { finished: { maxCount: 1 } };
    const HOUR = 3_600_000;
    for (const [floods, laterMs, incarnation] of [
      [false, 0, 1],
      [true, 0, 1],
      [true, 25 * HOUR, 2],
    ] as const) {
      const name = `a-${floods}-${laterMs}`;
      const first = await machine.start(options);
      answersAtOnce(first);
      // The state has been complete for longer than the window.
      await first.clock.advance(25 * HOUR);
      first.plugin.on.get = () => ok(phaseState('SUCCESS'));
      for (const each of [name, 'last']) {
        await settle(first.clock, first.tasks.create(first.spec(each), first.scope()));
        await first.clock.advance(60_000);
      }
      if (floods) for (let i = 0; i < 1_000; i++) first.store.marks.set(`other-${i}`, 1, { ended: true });
      await settle(first.clock, first.store.safe());
      await first.clock.advance(laterMs);
      machine.kill();

      const second = await machine.start(options);
      second.plugin.on.create = (args) =>
        args.idempotencyKey.endsWith('-2') ? created() : created('{"job":1}', phaseState('SUCCESS'), true);
      second.plugin.on.get = () => running();
      const { task } = await settle(second.clock, second.tasks.create(second.spec(name), second.scope()));
      assert.equal(task.identity.incarnation, incarnation, name);
      assert.deepEqual(second.faults, []);
      machine.kill();
    }
  });

  it('grants nothing anew for one interval after a state was lost, as soon as a handle of before shows that it was', async () => {
    const config = { resourceQuotas: { default: 2 } };
    const before = await new Machine().start({ config });
    answersAtOnce(before);
    before.plugin.on.create = ({ idempotencyKey }) => created(JSON.stringify({ job: idempotencyKey }));
    const handles: Buffer[] = [];
    for (const name of ['a', 'b']) {
      handles.push((await settle(before.clock, before.tasks.create(before.spec(name), before.scope()))).handle);
    }
    const [a, b] = handles as [Buffer, Buffer];
    for (const lost of [true, false]) {
      const machine = new Machine();
      if (lost) await machine.manual.advance(before.clock.now() + 1_000 - machine.manual.now());
      const h = await machine.start({ config, warmUpMs: 1_000 });
      answersAtOnce(h);
      if (lost) await settle(h.clock, h.tasks.status(a, HINTS, h.scope()));
      const { handle } = await settle(h.clock, h.tasks.create(h.spec('new'), h.scope(3_000)));
      assert.equal(h.tasks.peek(handle)?.stage, lost ? 'accepted' : 'live');
      if (!lost) continue;
      await settle(h.clock, h.tasks.status(b, HINTS, h.scope()));
      await h.clock.advance(120_000);
      assert.equal(h.tasks.peek(handle)?.stage, 'accepted', 'both tokens are held by what ran before');
      await settle(h.clock, h.tasks.delete(b, 'enough', HINTS, h.scope()));
      await h.clock.advance(10_000);
      assert.equal(h.tasks.peek(handle)?.stage, 'live');
    }
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

test('a Get whose read has raised the phase answers once that is safe, and not with the phase before', async () => {
  const machine = new Machine();
  const h = await machine.start();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  await h.clock.advance(60_000);
  h.plugin.on.get = () => success();
  machine.engine.hold();
  let phase = '';
  const get = h.tasks.get(handle, HINTS, h.scope(30_000)).then(({ state }) => {
    phase = state.phase;
  });
  await h.clock.advance(5_000);
  assert.equal(phase, '', 'it waits');
  machine.engine.release();
  await settle(h.clock, get);
  assert.equal(phase, 'SUCCESS');
  machine.kill();
});
