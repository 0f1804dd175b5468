import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import type { HeldState } from '../../src/cluster/held-parts.js';
import type { RemotesSaid } from '../../src/cluster/seat.js';
import { PartNeeds, type PartNeedsOptions } from '../../src/daemon/part-needs.js';
import { ManualClock } from '../../src/lib/clock.js';
import type { PluginState } from '../../src/model/events/host.js';
import { partitionOf, partOf } from '../../src/model/handle.js';
import type { PartNeeds as Needs } from '../../src/state/index.js';

const PARTS = 4;
const NEVER = Number.NEGATIVE_INFINITY;
const MINUTE = 60_000;
const NOTHING: Needs = { plugins: [], leastVersion: undefined, hasLimits: false };

/** The parts of which nothing is written but what the tests say: none has the limits of a plugin. */
const LIMITED = partOf(partitionOf('p'), PARTS);
const FREE = [0, 1, 2, 3].filter((part) => part !== LIMITED);

class FakeSeat {
  readonly parts = PARTS;
  readonly states = new Map<number, HeldState>();
  readonly rows = new Map<number, Needs>();
  readonly written: [part: number, needs: Needs][] = [];
  said: RemotesSaid | undefined;
  fails = false;

  stateOf(part: number): HeldState | undefined {
    return this.states.get(part);
  }

  needsOf(part: number): Needs | undefined {
    return this.rows.get(part);
  }

  say(said: RemotesSaid): void {
    this.said = said;
  }

  async describe(part: number, needs: Needs): Promise<void> {
    if (this.fails) throw new Error('the database is away');
    this.written.push([part, needs]);
    this.rows.set(part, needs);
  }
}

/** One replica that has all parts, of which nothing is written, and a plugin `p` that serves. */
function begin(t: TestContext) {
  const clock = new ManualClock();
  const seat = new FakeSeat();
  for (let part = 0; part < PARTS; part++) {
    seat.states.set(part, 'owned');
    seat.rows.set(part, { ...NOTHING, hasLimits: part === LIMITED });
  }
  const plugins = [{ id: 'p', state: 'serving' as PluginState, version: '' }];
  const well = { firstFailureMs: undefined as number | undefined, answeredAtMs: NEVER };
  const reads = { tracked: 1, remote: 'up' as 'up' | 'down', ...well };
  const creates = { downSinceMs: undefined as number | undefined, ...well };
  const work = new Map<number, string[]>();
  const runtime = { plugin: { id: 'p' }, refresher: { stats: () => reads }, creates: { sight: creates } };
  const options: PartNeedsOptions = {
    seat,
    plugins: ['p'],
    host: { plugins: () => plugins },
    runtimes: { all: () => [runtime] },
    workFor: (part) => work.get(part) ?? [],
    clock,
  };
  const needs = new PartNeeds(options);
  t.after(() => {
    needs.close();
    assert.equal(clock.pending, 0);
  });
  return { clock, seat, plugins, reads, creates, work, needs };
}

test('what serves here is said before any part is taken, and what does not is not', async (t) => {
  const { seat, plugins, needs, clock } = begin(t);
  plugins.push({ id: 'broken', state: 'failed', version: '1' });
  needs.start();
  assert.deepEqual(seat.said, { plugins: ['p'], versions: {}, unreachable: [], doubted: [] });
  Object.assign(plugins[0] as object, { state: 'restarting' });
  await clock.advance(20_000);
  assert.deepEqual(seat.said?.plugins, ['p'], 'it may be back soon');
  await clock.advance(20_000);
  assert.deepEqual(seat.said?.plugins, []);
});

test('what a part needs is written when it changed, one part a second, what it needs anew first', async (t) => {
  const { seat, work, needs, clock } = begin(t);
  const [first, second, third] = FREE as [number, number, number];
  seat.rows.set(first, { ...NOTHING, hasLimits: true });
  work.set(second, ['p']);
  work.set(third, ['p', 'q']);
  needs.start();
  assert.equal(seat.written.length, 1);
  await clock.advance(60_000);
  assert.deepEqual(seat.written, [
    [second, { ...NOTHING, plugins: ['p'] }],
    [third, { ...NOTHING, plugins: ['p', 'q'] }],
    [first, NOTHING],
  ]);
  work.delete(second);
  await clock.advance(9 * MINUTE);
  assert.equal(seat.written.length, 3, 'its next task may be near');
  await clock.advance(2 * MINUTE);
  assert.deepEqual(seat.written.slice(3), [[second, NOTHING]]);
});

test('a part that its id hashes into has the limits of a plugin, and what a newer release needs stays so', async (t) => {
  const { seat, needs, clock } = begin(t);
  seat.rows.set(LIMITED, { ...NOTHING, leastVersion: '99.0.0' });
  needs.start();
  await clock.advance(5_000);
  assert.deepEqual(seat.written, [[LIMITED, { plugins: [], leastVersion: '99.0.0', hasLimits: true }]]);
});

test('a part needs the newest version that has worked on it, and an older one that works on it takes nothing back', async (t) => {
  const { seat, plugins, work, needs, clock } = begin(t);
  const [first, second, third] = FREE as [number, number, number];
  Object.assign(plugins[0] as object, { version: '2.1.0' });
  seat.rows.set(first, { ...NOTHING, plugins: ['p@2.0.0'] });
  seat.rows.set(second, { ...NOTHING, plugins: ['p@2.10.0', 'q@1.0.0'] });
  for (const part of FREE) work.set(part, ['p']);
  needs.start();
  assert.deepEqual(seat.said?.versions, { p: '2.1.0' });
  await clock.advance(5_000);
  assert.deepEqual(seat.written, [
    [first, { ...NOTHING, plugins: ['p@2.1.0'] }],
    [third, { ...NOTHING, plugins: ['p@2.1.0'] }],
  ]);
});

test('what could not be written is written by a later look, and of a part that is not worked on here nothing is', async (t) => {
  const { seat, work, needs, clock } = begin(t);
  const [first, second, third] = FREE as [number, number, number];
  for (const part of FREE) work.set(part, ['p']);
  seat.states.set(second, 'giving');
  seat.states.delete(third);
  seat.fails = true;
  needs.start();
  await clock.advance(10_000);
  assert.deepEqual(seat.written, []);
  seat.fails = false;
  await clock.advance(10_000);
  assert.deepEqual(seat.written, [[first, { ...NOTHING, plugins: ['p'] }]]);
});

test('a remote is unreachable while reads fail, or creates where there is nothing to read, and not while either is answered', async (t) => {
  const { seat, reads, creates, needs, clock } = begin(t);
  const said = async (): Promise<string | undefined> => {
    await clock.advance(12_000);
    return (['unreachable', 'doubted'] as const).find((what) => seat.said?.[what]?.includes('p'));
  };
  needs.start();
  Object.assign(creates, { firstFailureMs: clock.now(), downSinceMs: clock.now() });
  assert.equal(await said(), undefined, 'creates may fail for another reason');
  reads.tracked = 0;
  assert.equal(await said(), 'unreachable');
  Object.assign(creates, { firstFailureMs: undefined, downSinceMs: undefined, answeredAtMs: clock.now() });
  assert.equal(await said(), undefined);
  Object.assign(reads, { tracked: 1, remote: 'down', firstFailureMs: clock.now() });
  creates.answeredAtMs = clock.now() + 500;
  assert.equal(await said(), undefined, 'half a broken API is reached');
  creates.firstFailureMs = clock.now();
  assert.equal(await said(), 'unreachable');
});
