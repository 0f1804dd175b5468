import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Schedule } from '../../src/refresh/schedule.js';
import type { RefreshConfig } from '../../src/refresh/types.js';
import { configOf, type Facts, fails, open, pollsOf, recordOf } from './fake-reader.js';
import { System, seeded } from './system.js';

const minute = 60_000;
const hour = 60 * minute;
const now = 1_700_000_000_000;

/** A schedule that began with these tasks, of which nothing else is known. */
function startedWith(facts: readonly (Partial<Facts> & { id: string })[], parts: Partial<RefreshConfig> = {}) {
  const schedule = new Schedule({ config: configOf(parts), random: () => 0, tokenWanted: () => false });
  const records = facts.map((each) => recordOf({ createdAtMs: now - hour, ...each }, now));
  const keys = new Map(facts.map(({ id, batchKey = '' }) => [id, batchKey]));
  schedule.trackAll(records, { batchKeyOf: ({ id }) => keys.get(id) ?? '', inFlight: () => false }, now);
  const taken = (atMs: number) => schedule.takeDue(atMs).map(({ id }) => id);
  const item = (id: string) => schedule.get(id)!;
  return { schedule, taken, item };
}

test('tasks of a start are due within one interval, the young first and those that nobody asks for last, and are read before if they may', () => {
  const { schedule, taken, item } = startedWith([
    { id: 'idle', createdAtMs: now - minute, lastAskedAtMs: now - hour },
    { id: 'old', createdAtMs: now - 10 * hour },
    { id: 'young', createdAtMs: now - minute },
    { id: 'new', createdAtMs: now - 10 },
    { id: 'middle' },
  ]);
  const dueIn = (id: string) => item(id).dueMs - now;
  assert.deepEqual(['young', 'middle', 'old', 'idle'].map(dueIn), [0, 7_500, 15_000, 22_500]);
  assert.equal(dueIn('new'), 990, 'what was not there to be read before comes as it would without a start');
  assert.deepEqual(
    [0, 7_499, 7_500, 30_000].map((inMs) => schedule.countDue(now + inMs)),
    [1, 2, 3, 5],
  );
  assert.deepEqual([taken(now), taken(now), taken(now), taken(now)], [['young'], ['middle'], ['old'], ['idle']]);
  assert.deepEqual([schedule.nextReadMs(now), schedule.nextDueMs(), taken(now)], [now + 990, now + 990, []]);
});

test('what is due goes before tasks of a start that are not yet, which fill up the batch, and not with other batch keys', () => {
  const { schedule, taken } = startedWith(
    ['a', 'b', 'c', 'd', 'other'].map((id) => ({ id, batchKey: id === 'other' ? 'B' : 'A' })),
    { maxBatch: 3 },
  );
  assert.deepEqual(taken(now), ['a', 'b', 'c']);
  schedule.track(recordOf({ id: 'due', createdAtMs: 0 }, now), { batchKey: 'A', lastReadAtMs: now - hour }, now, false);
  schedule.track(recordOf({ id: 'later', createdAtMs: 0 }, now), { batchKey: 'A', lastReadAtMs: now }, now, false);
  assert.equal(schedule.nextReadMs(now), now - hour + 30_000);
  assert.deepEqual([taken(now), schedule.nextReadMs(now), taken(now)], [['due', 'd'], now, ['other']]);
  assert.equal(schedule.nextReadMs(now), now + 30_000);
});

test('a task of a start keeps its turn while engines ask, and goes on as others once it was read, held or asked for anew', () => {
  const { schedule, taken, item } = startedWith(
    ['a', 'b', 'c', 'd', 'e'].map((id) => ({ id, lastAskedAtMs: now - hour })),
  );
  assert.equal(schedule.asked('e', now), true);
  assert.equal(item('e').dueMs, now + 24_000);
  schedule.hold('a');
  schedule.untrack('b');
  assert.deepEqual(taken(now), ['c']);
  schedule.again(item('c'), now + 10, { kind: 'after', ms: 100 });
  assert.equal(item('c').dueMs, now + 110, 'a read that was not made is made soon, whenever it was due');
  assert.deepEqual([taken(now + 10), taken(now + 10), taken(now + 10)], [['d'], ['e'], []]);
  item('d').readWell(now + 10);
  schedule.again(item('d'), now + 10, { kind: 'interval' });
  assert.equal(item('d').dueMs, now + 240_010, 'as a task that nobody has asked for since an hour');
  schedule.resume('a', now + 10, 300);
  assert.deepEqual([schedule.nextReadMs(now + 10), taken(now + 110), taken(now + 310)], [now + 110, ['c'], ['a']]);
});

test('a wish of the plugin brings a task of a start nearer than its turn, and none farther', () => {
  const { item } = startedWith([
    { id: 'a' },
    { id: 'b', nextPollAfterMs: 2_000 },
    { id: 'c', nextPollAfterMs: hour },
    { id: 'd' },
  ]);
  assert.deepEqual(
    ['a', 'b', 'c', 'd'].map((id) => item(id).dueMs - now),
    [0, 2_000, 15_000, 22_500],
  );
});

test('as many tasks of a start as the gate lets are read in its first moment', async () => {
  const { clock, reader, refresher, start } = pollsOf({ maxBatch: 1 });
  reader.gate = { ...open, slotsFree: 6 };
  reader.respond = () => undefined;
  refresher.trackAll(Array.from({ length: 6 }, (_, i) => ({ id: `t${i}`, createdAtMs: start - i * hour - minute })));
  await clock.advance(0);
  assert.deepEqual(
    reader.reads.map(({ ids, atMs }) => [ids[0], atMs - start]),
    [0, 1, 2, 3, 4, 5].map((i) => [`t${i}`, 0]),
  );
  assert.deepEqual([refresher.countDue(), refresher.stats().oldestOverdueMs], [0, 0]);
});

test('a remote that is away at a start is probed by tasks that are not due yet as well', async () => {
  const { clock, reader, refresher, start } = pollsOf({ resyncIntervalMs: 10 * minute });
  reader.gate = { ...open, tokensNow: 3 };
  reader.respond = () => fails('transient');
  refresher.trackAll(Array.from({ length: 60 }, (_, i) => ({ id: `t${i}`, createdAtMs: start - hour })));
  await clock.advance(10_000);
  assert.equal(refresher.remoteDown, true);
  const probed = reader.reads.filter(({ purpose }) => purpose === 'probe').map(({ ids }) => ids[0]);
  assert.ok(probed.includes('t3'), 'whose turn is in half a minute');
  await refresher.stop();
});

test('while the limit bears all tasks of a start none is read late, and tasks that come meanwhile do not wait for the others', async () => {
  const come = fc.record({ afterMs: fc.nat(40_000), ageMs: fc.nat(minute) });
  await fc.assert(
    fc.asyncProperty(
      fc.integer({ min: 1, max: 230 }),
      fc.array(come, { maxLength: 5 }),
      fc.constantFrom(1, 3),
      fc.integer(),
      async (tasks, coming, maxBatch, seed) => {
        const random = seeded(seed);
        const system = new System({
          // Without spare polls, which are promised to nobody.
          refresh: { resyncIntervalMs: minute, maxBatch, pollShare: 0 },
          gate: {},
          latencyMs: () => 20 + random() * 60,
          random,
        });
        const start = system.clock.now();
        system.refresher.trackAll(
          Array.from({ length: tasks }, (_, i) => ({ id: `t${i}`, createdAtMs: start - 10_000 - random() * hour })),
        );
        const since = new Map<string, number>();
        for (let second = 0; second < 180; second++) {
          for (const [i, { afterMs, ageMs }] of coming.entries()) {
            if (Math.floor(afterMs / 1_000) !== second) continue;
            const atMs = system.clock.now();
            since.set(`new${i}`, atMs);
            system.refresher.track({ id: `new${i}`, createdAtMs: atMs - ageMs, lastReadAtMs: atMs });
          }
          await system.clock.advance(1_000);
          for (const [id, atMs] of since) {
            const waitedMs = system.clock.now() - (system.lastReadMs.get(id) ?? atMs);
            assert.ok(waitedMs <= minute + 2_000, `${id} waited ${waitedMs} ms`);
          }
          // Five at once, five a second after that, of which those that come take their part.
          const read = [...system.lastReadMs.keys()].filter((id) => id.startsWith('t')).length;
          const could = Math.min(tasks, 4 * (second + 1) - 5 * coming.length);
          assert.ok(read >= could, `${read} of ${tasks} were read after ${second + 1} s`);
        }
        assert.equal(system.late, 0);
        system.checkWindows(5, 5);
        await system.stop();
      },
    ),
    { numRuns: 15 },
  );
});
