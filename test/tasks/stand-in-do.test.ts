import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ErrorCode, HostError } from '../../src/errors/index.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { phaseState } from '../../src/model/phase-state.js';
import { keyOf, Part, type Replica } from './away.js';
import { fail, type Harness, literals, ok, settle, success } from './harness.js';

const SYNC = {
  plugin: (plugin: Harness['plugin']) => {
    plugin.kind = 'sync' as const;
    plugin.on.do = () => success(literals('a'));
  },
};

const is = (code: ErrorCode) => (error: unknown) => HostError.is(error) && error.code === code;

async function away() {
  const part = new Part();
  await part.takes(SYNC);
  part.dies();
  const [a, b] = [await part.replica('a', SYNC), await part.replica('b', SYNC)];
  await part.manual.advance(60_000);
  return { part, a, b };
}

const start = ({ h, standIn }: Replica, ms = 9_000) => standIn.do(h.spec('x'), h.scope(ms));
const run = (part: Part, replica: Replica, ms?: number) => settle(part.manual, start(replica, ms));
const ownerRuns = (part: Part, h: Harness, ms?: number) => settle(part.manual, h.tasks.do(h.spec('x'), h.scope(ms)));
const runs = ({ h }: Replica) => h.plugin.count('do');

/** A plugin whose runs end when the test says so. */
function held({ h }: Replica) {
  const ends = createDeferred<void>();
  h.plugin.on.do = async () => {
    await ends.promise;
    return success();
  };
  return ends;
}

test('a Do is run by who claims its key, and told again by every other and by the next owner', async () => {
  const { part, a, b } = await away();
  const first = await run(part, a);
  assert.equal(first.phase, 'SUCCESS');
  const others = [await run(part, b), await run(part, a)];
  for (const { phase, outputs } of others) assert.deepEqual([phase, outputs], [first.phase, first.outputs]);
  const next = await part.takes(SYNC);
  assert.deepEqual(part.inbox.rows, []);
  assert.deepEqual((await ownerRuns(part, next)).outputs, first.outputs);
  assert.deepEqual([runs(a), runs(b), next.plugin.count('do')], [1, 0, 0]);
  part.dies();
  assert.deepEqual((await run(part, b)).outputs, first.outputs);
  assert.equal(part.inbox.rows.length, 0);
});

test('what another replica runs is waited for within the deadline, and calls of one replica join', async () => {
  const { part, a, b } = await away();
  const ends = held(a);
  const all = [start(a), start(a), start(b)];
  await part.manual.advance(1_000);
  await assert.rejects(run(part, b, 2_000), is('DEADLINE_EXCEEDED'));
  ends.resolve();
  const told = await settle(part.manual, Promise.all(all));
  assert.deepEqual(
    told.map(({ phase }) => phase),
    ['SUCCESS', 'SUCCESS', 'SUCCESS'],
  );
  assert.deepEqual([runs(a), runs(b)], [1, 0]);
});

test('of two that claim at once one runs', async () => {
  const { part, a, b } = await away();
  const all = [start(a), start(b)];
  await settle(part.manual, Promise.all(all));
  assert.equal(runs(a) + runs(b), 1);
});

test('the claim of a dead replica is taken over, once', async () => {
  const { part, a, b } = await away();
  const c = await part.replica('c', SYNC);
  await part.manual.advance(60_000);
  held(a);
  start(a, 300_000).catch(() => {});
  await part.manual.advance(1_000);
  assert.equal(part.inbox.rows[0]?.epoch, 'a');
  part.dead.add('a');
  await settle(part.manual, Promise.all([start(b), start(c)]));
  assert.equal(runs(b) + runs(c), 1);
});

test('a run that has not ended gives its claim back, and a repeat runs it', async () => {
  const { part, a, b } = await away();
  a.h.plugin.on.do = () => fail('throttled', { retryAfterMs: 1_000 });
  await assert.rejects(run(part, a), is('PLUGIN_THREW_THROTTLED'));
  assert.deepEqual(part.inbox.rows, []);
  a.h.plugin.kind = 'async';
  await assert.rejects(run(part, a), is('PLUGIN_KIND_MISMATCH'));
  assert.deepEqual(part.inbox.rows, []);
  assert.equal((await run(part, b)).phase, 'SUCCESS');
});

test('where there is no room nothing is claimed', async () => {
  const { part } = await away();
  const full = await part.replica('c', { ...SYNC, options: { maxWaiting: 0 } });
  await part.manual.advance(60_000);
  await assert.rejects(run(part, full), is('STORE_FULL'));
  assert.deepEqual(part.inbox.rows, []);
});

test('an end is told once it is written, however long that takes, and never where another has the claim', async () => {
  const { part, a, b } = await away();
  let fails = 3;
  part.inbox.before = (what) => {
    if (what === 'settle' && fails-- > 0) throw new HostError('STATE_UNREACHABLE', 'gone');
  };
  const before = part.manual.now();
  assert.equal((await run(part, a)).phase, 'SUCCESS');
  assert.ok(part.manual.now() - before >= 3_000);
  assert.equal((await run(part, b)).phase, 'SUCCESS');
  assert.deepEqual([runs(a), runs(b)], [1, 0]);
  part.inbox.drop(part.inbox.rows.map(({ id }) => id));
  const ends = held(b);
  const late = start(b);
  await part.manual.advance(1_000);
  const [claim] = part.inbox.rows;
  part.inbox.alter(claim?.id ?? '', { epoch: 'a' });
  ends.resolve();
  await assert.rejects(settle(part.manual, late), is('OWNER_AWAY'));
});

test('a stand-in that stops leaves no timer behind', async () => {
  const { part, a } = await away();
  part.inbox.before = (what) => {
    if (what === 'settle') throw new HostError('STATE_UNREACHABLE', 'gone');
  };
  const timers = part.manual.pending;
  await assert.rejects(run(part, a, 2_000), is('DEADLINE_EXCEEDED'));
  const waits = start(a, 60_000);
  await part.manual.advance(5_000);
  a.standIn.stop();
  // What is not written is told to nobody.
  await assert.rejects(settle(part.manual, waits), is('OWNER_AWAY'));
  assert.equal(part.manual.pending, timers);
});

test('an owner waits for what a stand-in still runs, tells its end, and runs what is given back or was a dead one’s', async () => {
  const { part, a } = await away();
  const ends = held(a);
  const first = start(a, 300_000);
  await part.manual.advance(1_000);
  const next = await part.takes(SYNC);
  await part.manual.advance(60_000);
  const look = async () => {
    part.look();
    await part.manual.advance(1_000);
  };
  await look();
  const repeat = next.tasks.do(next.spec('x'), next.scope(30_000));
  const short = next.tasks.do(next.spec('x'), next.scope(2_000));
  short.catch(() => {});
  for (let second = 0; second < 10; second++) await look();
  await assert.rejects(short, is('DEADLINE_EXCEEDED'));
  ends.resolve();
  await part.manual.advance(0);
  await look();
  assert.deepEqual(
    [(await settle(part.manual, repeat)).phase, (await settle(part.manual, first)).phase],
    ['SUCCESS', 'SUCCESS'],
  );
  assert.deepEqual([runs(a), next.plugin.count('do')], [1, 0]);
  assert.equal(part.inbox.rows.length, 0);

  for (const [name, gone] of [
    ['y', true],
    ['z', false],
  ] as const) {
    const row = { id: name, part: 0, kind: 'do', key: keyOf(name), name: '', body: undefined, epoch: 'z' } as const;
    assert.equal(next.tasks.takeIn(row), false);
    const before = next.plugin.count('do');
    const waits = next.tasks.do(next.spec(name), next.scope(30_000));
    await part.manual.advance(1_000);
    assert.equal(next.plugin.count('do'), before);
    // One that no look shows any more was given back.
    if (gone) {
      assert.equal(next.tasks.takeIn(row, true), true);
      await part.manual.advance(1);
      assert.equal(next.plugin.count('do'), before + 1);
    }
    assert.equal((await settle(part.manual, waits)).phase, 'SUCCESS');
    assert.equal(next.plugin.count('do'), before + 1);
  }
});

test('an end that an owner knows already stays, whatever a stand-in made of it', async () => {
  const { part } = await away();
  const owner = await part.takes(SYNC);
  await part.manual.advance(60_000);
  const a = await part.replica('a', SYNC, { isGone: () => true });
  await part.manual.advance(60_000);
  const ends = held(a);
  const other = start(a, 60_000);
  // Before the owner looks.
  await part.manual.advance(1);
  assert.equal((await ownerRuns(part, owner)).phase, 'SUCCESS');
  assert.deepEqual(part.look(), []);
  await part.manual.advance(1_000);
  ends.resolve();
  await assert.rejects(settle(part.manual, other), is('OWNER_AWAY'));
  assert.equal((await ownerRuns(part, owner)).phase, 'SUCCESS');
  assert.equal(owner.plugin.count('do'), 1);

  a.h.plugin.on.do = () => ok(phaseState('PERMANENT_FAILURE', { reason: 'another end' }));
  const late = owner.tasks.do(owner.spec('y'), owner.scope());
  await settle(
    part.manual,
    a.standIn.do(a.h.spec('y'), a.h.scope()).catch(() => {}),
  );
  assert.equal((await settle(part.manual, late)).phase, 'SUCCESS');
  assert.deepEqual(part.look(), []);
  assert.equal((await settle(part.manual, owner.tasks.do(owner.spec('y'), owner.scope()))).phase, 'SUCCESS');
});
