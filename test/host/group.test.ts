import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HostError } from '../../src/errors/index.js';
import type { Group } from '../../src/host/group.js';
import { FakeGroup, type Fate } from './fake-group.js';

/** The group's plugins, as they are told. */
const states = ({ plugins }: Group) => plugins.map(({ state }) => state);

test('a process that is started ahead serves, and one that ends before it is needed costs its plugins nothing', async () => {
  const whole = new FakeGroup();
  await whole.start(() => {});
  assert.deepEqual([states(whole.group), whole.processes.length], [['serving', 'serving'], 1]);
  const lost = new FakeGroup();
  await lost.start(() => lost.processes[0]?.die());
  assert.deepEqual([states(lost.group), lost.processes.length], [['serving', 'serving'], 2]);
  assert.equal(lost.serving(), lost.processes[1]);
  for (const fake of [whole, lost]) await fake.assertEnds();
});

test('a process that cannot be started ahead is told with the start, as any', async () => {
  const fake = new FakeGroup({ launch: 'fail' });
  await fake.start(() => {});
  assert.deepEqual(states(fake.group), ['failed', 'failed']);
  assert.equal(fake.processes.length, 0);
});

test('a crash during a reload starts nothing once the reload has switched', async () => {
  const fake = await FakeGroup.started();
  fake.fate.import = 'hang';
  const reload = fake.reload();
  await fake.settle();
  fake.serving()?.die();
  await fake.settle();
  assert.deepEqual(states(fake.group), ['restarting', 'restarting']);
  fake.fate.import = 'ok';
  fake.release();
  await reload;
  assert.deepEqual(states(fake.group), ['serving', 'serving']);
  const launched = fake.processes.length;
  await fake.pass(3_600_000);
  assert.equal(fake.processes.length, launched, 'the timer of the crash is gone');
  await fake.assertEnds();
});

test('a reload while a restart is under way gives that up and ends its process', async () => {
  const fake = await FakeGroup.started();
  fake.fate.import = 'hang';
  fake.serving()?.die();
  await fake.pass(60_000);
  const trying = fake.processes.at(-1);
  assert.equal(trying?.over, false);
  fake.fate.import = 'ok';
  await fake.reload();
  await fake.settle();
  assert.equal(trying?.over, true);
  assert.deepEqual(states(fake.group), ['serving', 'serving']);
  assert.equal(fake.serving(), fake.processes.at(-1));
  await fake.assertEnds();
});

test('a reload that fails leaves a quarantine, and its end, as they were', async () => {
  const fake = await FakeGroup.started();
  fake.fate.load = 'fail';
  fake.serving()?.die();
  await fake.pass(2_000);
  assert.deepEqual(states(fake.group), ['quarantined', 'quarantined']);
  await assert.rejects(fake.reload(), { code: 'PLUGIN_LOAD_FAILED' });
  assert.deepEqual(states(fake.group), ['quarantined', 'quarantined']);
  fake.fate.load = 'ok';
  await fake.pass(60_000);
  assert.deepEqual(states(fake.group), ['serving', 'serving']);
  await fake.assertEnds();
});

test('a shortage after a quarantine is waited out as a shortage, and no plugin is out for it', async () => {
  const fake = await FakeGroup.started();
  fake.fate.load = 'die';
  fake.serving()?.die();
  await fake.pass(2_000);
  assert.deepEqual(states(fake.group), ['quarantined', 'quarantined']);
  fake.fate.launch = 'short';
  await fake.pass(70_000);
  assert.deepEqual(states(fake.group), ['restarting', 'restarting']);
  assert.equal(fake.group.plugins[0]?.stateCode, 'PLUGIN_START_STARVED');
  Object.assign(fake.fate, { launch: 'ok', load: 'ok' });
  await fake.pass(2_000);
  assert.deepEqual(states(fake.group), ['serving', 'serving']);
  await fake.assertEnds();
});

test('a stop during an import, of a start, a restart or a reload, ends it and starts nothing more', async () => {
  const begin: Record<string, () => Promise<FakeGroup>> = {
    start: async () => {
      const fake = new FakeGroup({ import: 'hang' });
      void fake.start();
      return fake;
    },
    restart: async () => {
      const fake = await FakeGroup.started();
      fake.fate.import = 'hang';
      fake.serving()?.die();
      await fake.pass(1_000);
      return fake;
    },
    reload: async () => {
      const fake = await FakeGroup.started();
      fake.fate.import = 'hang';
      void fake.reload().catch(() => undefined);
      return fake;
    },
  };
  for (const [of, start] of Object.entries(begin)) {
    const fake = await start();
    await fake.settle();
    assert.equal(fake.processes.at(-1)?.over, false, of);
    await fake.assertEnds();
  }
});

test('calls of a replaced process are waited for, and counted, until they are done or their time is over', async () => {
  const fake = await FakeGroup.started();
  const old = fake.serving();
  assert.ok(old);
  old.inFlight = 3;
  const { ended } = await fake.group.reload();
  assert.equal(fake.group.inFlight, 3);
  await fake.pass(29_000);
  assert.equal(old.over, false);
  await fake.pass(2_000);
  await ended;
  assert.equal(old.over, true);
  assert.equal(fake.group.inFlight, 0);
  await fake.assertEnds();
});

test('what conflicts with the routes of others when it comes up late is out, until it is reloaded', async () => {
  const fake = new FakeGroup({ launch: 'short' });
  await fake.start();
  assert.deepEqual(states(fake.group), ['restarting', 'restarting']);
  Object.assign(fake.fate, { launch: 'ok', routes: 'conflict' });
  await fake.pass(2_000);
  assert.deepEqual(states(fake.group), ['failed', 'failed']);
  assert.equal(fake.group.plugins[0]?.stateCode, 'ROUTE_CONFLICT');
  assert.ok(fake.processes.every(({ over }) => over));
  await assert.rejects(fake.reload(), { code: 'ROUTE_CONFLICT' });
  fake.fate.routes = 'ok';
  await fake.reload();
  assert.deepEqual(states(fake.group), ['serving', 'serving']);
  await fake.assertEnds();
});

test('what does not come up in its time at the start is tried again, told with its code, and quarantined as what crashes', async () => {
  for (const step of ['import', 'load'] as const) {
    const fake = new FakeGroup({ [step]: 'late' });
    await fake.start();
    const [first] = fake.group.plugins;
    assert.deepEqual([states(fake.group), first?.stateCode], [['restarting', 'restarting'], 'PLUGIN_IMPORT_TIMEOUT']);
    await fake.pass(5_000);
    assert.deepEqual([states(fake.group), first?.stateCode], [['quarantined', 'quarantined'], 'PLUGIN_IMPORT_TIMEOUT']);
    assert.equal(first?.restarts, 0, 'nothing of it served before');
    fake.fate[step] = 'ok';
    await fake.pass(60_000);
    assert.deepEqual(states(fake.group), ['serving', 'serving']);
    await fake.assertEnds();
  }
});

test('of what is late at the start, one that fails is out, and one that is late while another comes up is out as well', async () => {
  const fake = new FakeGroup({ import: 'fail-first', load: 'late' });
  await fake.start();
  assert.deepEqual(states(fake.group), ['failed', 'restarting']);
  fake.mend();
  await fake.pass(2_000);
  assert.deepEqual(states(fake.group), ['failed', 'serving'], 'what failed is not tried with it');
  await fake.assertEnds();
  const other = new FakeGroup({ import: 'late-first' });
  await other.start();
  assert.deepEqual(states(other.group), ['failed', 'serving']);
  await other.assertEnds();
});

test('of what starts late, one that fails is out, and is not tried with the others again', async () => {
  const fake = new FakeGroup({ load: 'fail-first' });
  await fake.start();
  assert.deepEqual(states(fake.group), ['failed', 'serving']);
  fake.fate.load = 'ok';
  fake.serving()?.die();
  await fake.pass(60_000);
  assert.deepEqual(states(fake.group), ['failed', 'serving']);
  await fake.reload();
  assert.deepEqual(states(fake.group), ['serving', 'serving']);
  await fake.assertEnds();
});

const fate = fc.record<Fate>({
  launch: fc.constantFrom('ok', 'ok', 'ok', 'short', 'fail'),
  import: fc.constantFrom('ok', 'ok', 'ok', 'hang', 'fail', 'fail-first', 'late', 'late-first', 'die', 'short'),
  load: fc.constantFrom('ok', 'ok', 'ok', 'hang', 'fail', 'fail-first', 'late', 'late-first', 'die', 'skip'),
  routes: fc.constantFrom('ok', 'ok', 'ok', 'conflict'),
});
const command = fc.oneof(
  fc.record({ do: fc.constant('fate' as const), fate }),
  fc.record({ do: fc.constant('die' as const), which: fc.nat() }),
  fc.record({ do: fc.constant('wait' as const), ms: fc.constantFrom(1, 100, 1_000, 60_000) }),
  fc.constant({ do: 'reload' as const }),
  fc.constant({ do: 'release' as const }),
);

test('whatever happens to its processes, a group has what its state needs, comes back, and ends with nothing left', async () => {
  await fc.assert(
    fc.asyncProperty(fate, fc.array(command, { maxLength: 25 }), async (first, commands) => {
      const fake = new FakeGroup(first);
      const starting = fake.start();
      await fake.settle();
      let reloads: Promise<unknown> = starting;
      for (const one of commands) {
        if (one.do === 'fate') Object.assign(fake.fate, one.fate);
        else if (one.do === 'die') fake.processes[one.which % Math.max(1, fake.processes.length)]?.die();
        else if (one.do === 'wait') await fake.clock.advance(one.ms);
        else if (one.do === 'release') fake.release();
        else
          reloads = reloads.then(() => fake.reload()).catch((error) => assert.ok(HostError.is(error), String(error)));
        await fake.settle();
        fake.assertSound();
      }
      // A machine that is well, with time, brings back what is not out; a reload brings back the rest.
      fake.mend();
      for (let turn = 0; turn < 8; turn++) {
        await fake.clock.advance(60_000);
        await fake.settle();
        fake.release();
      }
      await reloads;
      for (const { state } of fake.group.plugins) assert.ok(['serving', 'failed', 'skipped'].includes(state), state);
      if (fake.known) {
        await fake.reload();
        assert.deepEqual(states(fake.group), ['serving', 'serving']);
      }
      fake.assertSound();
      await fake.assertEnds();
    }),
    { numRuns: 100 },
  );
});
