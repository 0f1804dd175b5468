import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import { configOf, createTestRefresher, FakeReader, fails, open, pollsOf, running } from './fake-reader.js';

const minute = 60_000;
const hour = 60 * minute;
/** Without spare capacity everybody has the resync interval. */
const plain = { pollShare: 0 };

test('a task is read in the millisecond in which it is due, and the timer is not left to chance', async () => {
  const { clock, reader, refresher, track, start } = pollsOf(plain);
  track('new', { createdAtMs: start + 250 });
  track('old', { lastReadAtMs: start - 400, createdAtMs: start - hour });
  await clock.advance(29_000);
  assert.deepEqual(
    reader.reads.map(({ ids, atMs }) => [ids[0], atMs - start]),
    [
      ['new', 1_250],
      ['old', 26_600],
      ['new', 28_250],
    ],
  );
  for (const id of ['new', 'old']) refresher.untrack(id);
  await clock.advance(2_000);
  assert.equal(clock.pending, 0, 'nothing is to be done without a task');
  refresher.wake();
  assert.equal(clock.pending, 0);
});

test('what an engine asks for, what is held no more, and what is tracked anew is read when it is due from then on', async () => {
  const { clock, reader, refresher, track, start } = pollsOf(plain);
  const idle = { createdAtMs: start - hour, lastAskedAtMs: start - 10 * minute };
  track('asked', { ...idle, lastReadAtMs: start - 400 });
  track('held', { createdAtMs: start - hour, lastReadAtMs: start });
  track('tracked', { ...idle, lastReadAtMs: start });
  refresher.hold('held');
  await clock.advance(26_100);
  assert.equal(reader.reads.length, 0);
  assert.equal(clock.pending, 1, 'there is one timer');
  refresher.asked('asked');
  await clock.advance(650);
  assert.deepEqual(
    reader.reads.map(({ ids, atMs }) => [ids[0], atMs - start]),
    [['asked', 26_600]],
  );
  assert.equal(refresher.resume('held', 27_900), true);
  track('tracked', { createdAtMs: start - hour, lastReadAtMs: start + 700 });
  await clock.advance(28_000);
  assert.deepEqual(
    reader.reads.slice(1).map(({ ids, atMs }) => [ids[0], atMs - start]),
    [
      ['tracked', 27_700],
      ['asked', 53_600],
      ['held', 54_650],
      ['tracked', 54_700],
    ],
  );
  assert.equal(refresher.resume('nobody', 0), false);
});

test('no more reads are begun than there are slots and tokens, and the next look is when there is a token', async () => {
  for (const [slotsFree, tokensNow, begun] of [
    [2, 3, 2],
    [3, 1, 1],
    [9, 9, 5],
  ] as const) {
    const { clock, reader, track } = pollsOf();
    reader.gate = { ...open, slotsFree, tokensNow };
    reader.respond = () => undefined;
    for (let i = 0; i < 5; i++) track(`t${i}`, { createdAtMs: 0 });
    await clock.advance(0);
    assert.equal(reader.reads.length, begun);
  }
  for (const [msUntilToken, lookMs] of [
    [300, 300],
    [0, 1_000],
    [5_000, 1_000],
  ] as const) {
    const { clock, reader, track } = pollsOf();
    reader.gate = { ...open, open: false, tokensNow: 0, msUntilToken };
    track('a', { createdAtMs: 0 });
    await clock.advance(0);
    reader.gate = open;
    await clock.advance(lookMs - 1);
    assert.equal(reader.reads.length, 0);
    await clock.advance(1);
    assert.equal(reader.reads.length, 1);
  }
});

test('what calls have read and taken lately is a running mean of a tenth each, from which the intervals come', async () => {
  const batched = pollsOf({ maxBatch: 11, readQps: 1 });
  batched.reader.gate = { ...open, slotsFree: 1, tokensNow: 1 };
  for (let i = 0; i < 100; i++) batched.track(`t${i}`, { createdAtMs: 0 });
  batched.reader.respond = () => undefined;
  await batched.clock.advance(0);
  batched.reader.gate = { ...open, open: false, tokensNow: 0 };
  await batched.clock.advance(2_000);
  // 1 + (11 - 1) / 10 tasks a call, one call a second.
  const base = 100 / 0.9;
  assert.ok(Math.abs(batched.refresher.stats().longestIntervalMs - (base / 2) * 1_000) < 1);

  const slow = pollsOf({ readConcurrency: 1, readQps: 1_000, resyncIntervalMs: 1_000 });
  slow.reader.gate = { ...open, slotsFree: 1, tokensNow: 1 };
  for (let i = 0; i < 100; i++) slow.track(`t${i}`, { createdAtMs: 0 });
  slow.reader.respond = () => undefined;
  await slow.clock.advance(0);
  slow.reader.gate = { ...open, open: false, tokensNow: 0 };
  await slow.clock.advance(101);
  slow.reader.settle(slow.reader.pending[0], [running]);
  await slow.clock.advance(2_000);
  // One slot, for 1 + (101 - 1) / 10 ms a call.
  assert.ok(Math.abs(slow.refresher.stats().longestIntervalMs - base * 11) < 1);
});

/** Tasks of a remote that is down since `start`, when the third of their reads failed. */
async function away(parts: Parameters<typeof pollsOf>[0] = {}, tasks = 3) {
  const polls = pollsOf(parts);
  polls.reader.respond = () => fails('transient');
  for (let i = 0; i < tasks; i++) polls.track(`t${i}`, { createdAtMs: 0 });
  await polls.clock.advance(0);
  assert.equal(polls.refresher.stats().remote, 'down');
  return polls;
}

test('probes of a remote that is down come after a second, each after twice the time of the one before, up to the resync interval', async () => {
  for (const [resyncIntervalMs, gaps] of [
    [30_000, [1, 2, 4, 8, 16, 30, 30]],
    [10 * minute, [1, 2, 4, 8, 16, 32, 60, 60]],
    [500, [1, 1, 1]],
  ] as const) {
    const { clock, reader, start } = await away({ resyncIntervalMs, minIntervalMs: 100 });
    const before = reader.reads.length;
    await clock.advance(gaps.reduce((sum, gap) => sum + gap, 0) * 1_000);
    const at = reader.reads.slice(before).map(({ atMs }) => (atMs - start) / 1_000);
    assert.deepEqual(
      at.map((ms, i) => ms - (at[i - 1] ?? 0)),
      gaps,
    );
    assert.ok(reader.reads.slice(before).every(({ purpose, ids }) => purpose === 'probe' && ids.length === 1));
  }
});

test('a probe that comes to nothing that tells of the remote has the next one wait as well', async () => {
  const { clock, reader, start } = await away();
  const before = reader.reads.length;
  reader.respond = () => fails('throttled');
  await clock.advance(7_500);
  assert.deepEqual(
    reader.reads.slice(before).map(({ atMs }) => atMs - start),
    [1_000, 3_000, 7_000],
  );
});

test('a probe waits for the gate, and looks again after a second', async () => {
  const { clock, reader, start } = await away();
  const before = reader.reads.length;
  reader.gate = { ...open, open: false };
  await clock.advance(1_200);
  reader.gate = open;
  await clock.advance(799);
  assert.equal(reader.reads.length, before);
  await clock.advance(1);
  assert.equal(reader.reads.at(-1)?.atMs, start + 2_000);
});

test('a Get in an outage is the probe, unless one is under way: then it is told when to come again, a second at least', async () => {
  for (const [probesBefore, retryAfterMs] of [
    [0, 1_000],
    [1, 1_700],
    [3, 7_700],
  ] as const) {
    const { clock, reader, refresher } = await away();
    for (let i = 0; i < probesBefore; i++) await clock.advance(1_000 * 2 ** i);
    reader.respond = () => undefined;
    await clock.advance(300);
    const first = refresher.readNow('t0', clock.now() + minute);
    const other = await refresher.readNow('t1', clock.now() + minute);
    assert.equal(!other.ok && other.failure.code, 'REMOTE_OUTAGE');
    assert.match((!other.ok && other.failure.message) || '', /the remote is down \(transient\)/);
    assert.ok(!other.ok && Math.abs((other.failure.retryAfterMs ?? 0) - retryAfterMs) < 1, `${probesBefore}`);
    assert.deepEqual(
      reader.pending.map(({ purpose }) => purpose),
      ['get'],
    );
    reader.settle(reader.pending[0], [running]);
    assert.equal(await first, running);
  }
});

test('how long the remote was away is told from when it was found to be down, and since when it fails from the first failure', async () => {
  const clock = new ManualClock();
  const reader = new FakeReader(() => clock.now());
  const told: number[] = [];
  const start = clock.now();
  const refresher = createTestRefresher({
    reader,
    config: configOf(plain),
    clock,
    random: () => 0.5,
    events: {
      remoteDown: ({ sinceMs }) => told.push(sinceMs - start),
      remoteUp: ({ downMs }) => told.push(downMs),
    },
  });
  reader.respond = () => fails('transient');
  for (const [i, createdAtMs] of [start - 900, start - 500, start].entries())
    refresher.track({ id: `t${i}`, createdAtMs });
  await clock.advance(1_000);
  assert.deepEqual([told, refresher.stats().remoteDownSinceMs], [[100], start + 100]);
  assert.equal(refresher.stats().firstFailureMs, start + 100);
  await clock.advance(1_500);
  reader.respond = () => running;
  await clock.advance(1_500);
  assert.deepEqual([told, refresher.stats().remoteDownSinceMs], [[100, 3_000], undefined]);
  const { answeredAtMs } = refresher.stats();
  assert.equal(answeredAtMs >= start + 3_100 && answeredAtMs <= clock.now(), true);
  reader.respond = () => fails('transient');
  await clock.advance(10 * minute);
  for (const id of ['t0', 't1', 't2']) refresher.untrack(id);
  assert.equal(refresher.stats().answeredAtMs, answeredAtMs, 'that the last task is gone is no answer');
  assert.equal(told.length, 4, 'the end of the outage is told once, with the last task');
  assert.equal(start + (told[2] ?? 0) + (told[3] ?? 0) <= clock.now(), true);
});

test('what is told of all polls: how many there are, are read, are late and for how long, and are not found', async () => {
  const { clock, reader, refresher, track, start } = pollsOf(plain);
  const of = () => {
    const { tracked, inFlight, oldestOverdueMs, notFound, notFoundFrozen, remote, remoteDownSinceMs } =
      refresher.stats();
    return [tracked, inFlight, oldestOverdueMs, notFound, notFoundFrozen, remote, remoteDownSinceMs];
  };
  assert.deepEqual(of(), [0, 0, 0, 0, 0, 'up', undefined]);
  track('a', { createdAtMs: start - hour, lastReadAtMs: start });
  assert.deepEqual([of(), refresher.tracked, refresher.countDue()], [[1, 0, 0, 0, 0, 'up', undefined], 1, 0]);
  reader.gate = { ...open, open: false };
  await clock.advance(30_000);
  assert.deepEqual([of(), refresher.countDue()], [[1, 0, 3_000, 0, 0, 'up', undefined], 1]);
  reader.gate = open;
  reader.respond = () => undefined;
  refresher.wake();
  await clock.advance(0);
  assert.deepEqual([of(), refresher.countDue()], [[1, 1, 0, 0, 0, 'up', undefined], 0]);
  await clock.advance(40_000);
  reader.settle(reader.pending[0], [fails('not_found')]);
  await clock.advance(0);
  assert.deepEqual(of(), [1, 0, 0, 1, 0, 'up', undefined]);
  refresher.untrack('a');
  assert.deepEqual(of(), [0, 0, 0, 0, 0, 'up', undefined]);
});

test('a read goes on under the name of the task that it turned out to be, for who waits for it and in the report', async () => {
  const { clock, reader, refresher, track } = pollsOf({ maxBatch: 2 });
  reader.respond = () => undefined;
  for (const id of ['adopted', 'other']) track(id, { createdAtMs: 0 });
  await clock.advance(0);
  const waits = [refresher.readNow('adopted', clock.now() + minute), refresher.readNow('other', clock.now() + minute)];
  refresher.untrack('adopted', 'created');
  track('created', { createdAtMs: 0 });
  const later = refresher.readNow('created', clock.now() + minute);
  await clock.advance(5_000);
  assert.equal(reader.reads.length, 1, 'there are never two reads of one resource');
  const answers = [running, fails('transient')];
  reader.settle(reader.pending[0], answers);
  assert.deepEqual(await Promise.all([...waits, later]), [...answers, running]);
  assert.deepEqual(
    reader.reports.map(({ id, outcome }) => [id, outcome.ok]),
    [
      ['created', true],
      ['other', false],
    ],
  );
  await clock.advance(minute);
  assert.deepEqual(reader.readsOf('adopted').length, 1);
});

test('what is read under its own name already is not told what a read of its double found', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  reader.respond = () => undefined;
  for (const id of ['double', 'own']) {
    track(id);
    void refresher.readNow(id, clock.now() + minute);
  }
  refresher.untrack('double', 'own');
  for (const [i, outcome] of [fails('transient'), running].entries()) reader.settle(reader.reads[i], [outcome]);
  await clock.advance(0);
  assert.deepEqual(
    reader.reports.map(({ id, outcome }) => [id, outcome.ok]),
    [['own', true]],
  );
});

test('a poll is not given up when the last Get that shares it leaves, and a Get is by the last one only', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  reader.respond = () => undefined;
  track('polled', { createdAtMs: 0 });
  await clock.advance(0);
  const stops = Array.from({ length: 3 }, () => new AbortController());
  const gets = stops.map(({ signal }, i) =>
    refresher.readNow(i === 0 ? 'polled' : 'got', clock.now() + minute, signal),
  );
  assert.equal((await gets[1])?.ok, false, 'a task that is not tracked');
  track('got');
  const shared = stops.slice(1).map(({ signal }) => refresher.readNow('got', clock.now() + minute, signal));
  for (const stop of stops.slice(0, 2)) stop.abort();
  await clock.advance(0);
  assert.deepEqual(
    reader.pending.map(({ signal }) => signal?.aborted === true),
    [false, false],
  );
  stops[2]?.abort();
  await clock.advance(0);
  assert.deepEqual(
    reader.pending.map(({ signal }) => signal?.aborted === true),
    [false, true],
  );
  for (const outcome of await Promise.all([gets[0], ...shared])) {
    assert.equal(outcome?.ok === false && outcome.failure.kind, 'cancelled');
  }
  const aborted = await refresher.readNow('got', clock.now() + minute, AbortSignal.abort());
  assert.equal(!aborted.ok && aborted.failure.kind, 'cancelled');
  assert.equal(reader.reads.length, 2);
});

test('a stop that is asked for twice is one, is over at once where nothing is read, and leaves no timer', async () => {
  const { clock, refresher, track } = pollsOf();
  track('a');
  await refresher.stop();
  await refresher.stop();
  assert.equal(clock.pending, 0);
  track('b');
  refresher.wake();
  assert.equal(clock.pending, 0);
});

test('an end that is told says how many reads over what time it took', async () => {
  const lost = pollsOf(plain);
  lost.track('healthy', { createdAtMs: 0 });
  lost.track('gone', { createdAtMs: 0 });
  lost.reader.respond = (id) => (id === 'gone' ? fails('not_found') : running);
  await lost.clock.advance(10 * minute);
  const { verdict, missing } = lost.reader.last('gone') ?? {};
  const seconds = ((lost.reader.last('gone')?.finishedAtMs ?? 0) - (missing?.sinceMs ?? 0)) / 1_000;
  assert.ok(
    verdict?.message.includes(`: ${missing?.reads} reads in a row over ${seconds} s did not find it: not_found`),
    verdict?.message,
  );
  assert.deepEqual([verdict?.faultKind, verdict?.code], ['SYSTEM', 'RESOURCE_LOST']);

  const sick = pollsOf({ ...plain, maxSystemFailures: 2 });
  sick.track('healthy', { createdAtMs: 0 });
  sick.track('sick', { createdAtMs: 0 });
  sick.reader.respond = (id) => (id === 'sick' ? fails('unknown') : running);
  await sick.clock.advance(10 * minute);
  const report = sick.reader.last('sick');
  const failingS = ((report?.finishedAtMs ?? 0) - (report?.failingSinceMs ?? 0)) / 1_000;
  const told = `reads failed for ${failingS} s in a row, ${report?.failures} of them counted; the last error: [X] unknown`;
  assert.equal(report?.verdict?.message, told);
  assert.equal(report?.failures, sick.reader.readsOf('sick').length);
});

test('after a batch that failed as a whole the next ones carry half as many, rounded up; after one of which an item failed none is smaller', async () => {
  const sizesOf = async (respond: FakeReader['respond']) => {
    const { clock, reader, track } = pollsOf({ ...plain, maxBatch: 5, minFailingMs: hour });
    for (let i = 0; i < 5; i++) track(`t${i}`, { createdAtMs: 0 });
    reader.respond = respond;
    await clock.advance(40_000);
    return reader.reads.map(({ ids }) => ids.length);
  };
  assert.deepEqual(await sizesOf(() => fails('process_died')), [5, 3, 2]);
  assert.deepEqual(await sizesOf((id) => fails(id === 't3' ? 'process_died' : 'transient')), [5, 5]);
});

test('a task that leaves while it is read with others takes nothing of them along', async () => {
  const { clock, reader, refresher, track, told } = pollsOf({ maxBatch: 3 });
  reader.respond = () => undefined;
  for (const id of ['a', 'b', 'c']) track(id, { createdAtMs: 0 });
  await clock.advance(0);
  refresher.untrack('a');
  reader.settle(reader.pending[0], [running, running, fails('transient')]);
  await clock.advance(0);
  assert.deepEqual([reader.reports.map(({ id }) => id).sort(), told], [['b', 'c'], []]);
});

test('a remote that is found to be down by reads of tasks that have left meanwhile is not down for who comes next', async () => {
  const { clock, reader, refresher, track, told } = pollsOf();
  reader.respond = () => undefined;
  for (const id of ['a', 'b', 'c']) track(id, { createdAtMs: 0 });
  await clock.advance(0);
  for (const id of ['a', 'b', 'c']) refresher.untrack(id);
  for (const read of [...reader.pending]) reader.settle(read, [fails('transient')]);
  await clock.advance(0);
  assert.equal(refresher.remoteDown, false);
  assert.deepEqual(told, ['down', 'up after 0']);
});

test('a Get that was not made holds up no probe', async () => {
  const { clock, reader, refresher, start } = await away();
  const before = reader.reads.length;
  reader.gate = { ...open, open: false };
  await clock.advance(1_200);
  reader.respond = () => fails('not_admitted');
  await refresher.readNow('t0', clock.now() + minute);
  await clock.advance(100);
  reader.gate = open;
  await clock.advance(900);
  assert.deepEqual(
    reader.reads.slice(before).map(({ purpose, atMs }) => [purpose, atMs - start]),
    [
      ['get', 1_200],
      ['probe', 2_200],
    ],
  );
});

test('new settings are looked at at once, and hold for an outage that lasts', async () => {
  const { clock, reader, refresher, track, start } = pollsOf(plain);
  track('a', { createdAtMs: start - hour, lastReadAtMs: start });
  await clock.advance(10_100);
  refresher.reconfigure(configOf({ ...plain, resyncIntervalMs: 10_000 }));
  await clock.advance(0);
  assert.equal(reader.reads.length, 1);
  const down = await away();
  down.refresher.reconfigure(configOf({ outageGraceMs: 2_000 }));
  await down.clock.advance(1_999);
  assert.equal(down.reader.reads.at(-1)?.purpose, 'probe');
  await down.clock.advance(60_000);
  assert.equal(down.reader.reads.at(-1)?.purpose, 'poll', 'past the grace all are read as ever');
});

test('a look that finds the gate closed is made again when it has a token, be that a millisecond away, and after a second where nobody knows', async () => {
  for (const [msUntilToken, atMs] of [
    [1, 1],
    [40, 40],
    [0, 1_000],
  ] as const) {
    const { clock, reader, track, start, refresher } = pollsOf(plain);
    reader.gate = { ...open, open: false, msUntilToken };
    track('a', { createdAtMs: start - hour });
    await clock.advance(0);
    reader.gate = open;
    await clock.advance(2_000);
    assert.deepEqual(
      reader.reads.map((read) => read.atMs - start),
      [atMs],
    );
    await refresher.stop();
  }
});

test('what is due and found no room is looked at again a millisecond later', async () => {
  const { clock, reader, track, start, refresher } = pollsOf(plain);
  reader.gate = { ...open, tokensNow: 1 };
  for (const id of ['a', 'b', 'c']) track(id, { createdAtMs: start - hour });
  reader.respond = () => undefined;
  await clock.advance(2);
  assert.deepEqual(
    reader.reads.map((read) => read.atMs - start),
    [0, 1, 2],
  );
  for (const read of reader.pending) reader.settle(read, [running]);
  await refresher.stop();
});

test('a task that waits for an engine to ask is not read until one does', async () => {
  const { clock, reader, refresher, track, start } = pollsOf(plain);
  for (const id of ['a', 'b']) track(id, { createdAtMs: start - hour });
  refresher.awaitAsked('a');
  await clock.advance(5 * minute);
  assert.equal(reader.readsOf('a').length, 0);
  assert.ok(reader.readsOf('b').length > 5);
  refresher.asked('a');
  await clock.advance(1_000);
  assert.equal(reader.readsOf('a').length, 1);
  await refresher.stop();
});

test('times between probes that are no whole milliseconds are waited for to their end', async () => {
  const { clock, reader, refresher, track } = pollsOf(plain, 0.123);
  reader.respond = () => fails('transient');
  for (const id of ['a', 'b']) track(id, { createdAtMs: 0 });
  await clock.advance(5 * minute);
  assert.equal(refresher.remoteDown, true);
  const probes = reader.reads.filter(({ purpose }) => purpose === 'probe');
  assert.ok(probes.length > 3 && probes.length < 40, `${probes.length}`);
  await refresher.stop();
});

test('where the event loop is busy young tasks are read no more often than old ones', async () => {
  const readsOf = async (loopShare: () => number | undefined) => {
    const clock = new ManualClock();
    const reader = new FakeReader(() => clock.now());
    const refresher = createTestRefresher({ reader, config: configOf(), clock, random: () => 0.5, loopShare });
    refresher.track({ id: 'young', createdAtMs: clock.now() });
    await clock.advance(5 * minute);
    await refresher.stop();
    return reader.reads.length;
  };
  const [busy, free] = [await readsOf(() => 0.9), await readsOf(() => undefined)];
  assert.ok(busy < 16 && free > 3 * busy, `${busy} and ${free} reads`);
});

test('what is known of the remote of a batch key is forgotten with its last task', async () => {
  const { clock, reader, refresher, track } = pollsOf({ maxSystemFailures: 2, minFailingMs: minute });
  const away = (id: string) => id.startsWith('a');
  reader.respond = (id) => (away(id) ? fails('transient') : running);
  for (const id of ['a1', 'a2']) track(id, { createdAtMs: 0, batchKey: 'A' });
  for (const id of ['b1', 'b2']) track(id, { createdAtMs: 0, batchKey: 'B' });
  await clock.advance(3 * minute);
  assert.equal(
    reader.reports.some(({ verdict }) => verdict !== undefined),
    false,
    'the key is away',
  );
  for (const id of ['a1', 'a2']) refresher.untrack(id);
  reader.respond = (id) => (away(id) ? fails('unknown') : running);
  track('a3', { createdAtMs: 0, batchKey: 'A' });
  await clock.advance(10 * minute);
  assert.equal(reader.reports.find(({ verdict }) => verdict !== undefined)?.verdict?.code, 'READS_FAILING');
  await refresher.stop();
});

test('a held task is not read until it is resumed, and then when its owner says, though nothing else is to be done', async () => {
  const { clock, reader, refresher, track, start } = pollsOf(plain);
  track('a', { createdAtMs: start - hour, lastReadAtMs: start });
  refresher.hold('a');
  await clock.advance(5 * minute);
  assert.equal(reader.reads.length, 0);
  refresher.resume('a', 500);
  await clock.advance(499);
  assert.equal(reader.reads.length, 0);
  await clock.advance(1);
  assert.equal(reader.reads.length, 1);
  await refresher.stop();
});

test('a task that is taken on with others while a read of it is under way is not read a second time meanwhile', async () => {
  const { clock, reader, refresher, track, start } = pollsOf(plain);
  reader.respond = () => undefined;
  const facts = { id: 'a', createdAtMs: start - hour };
  track('a', facts);
  await clock.advance(0);
  refresher.untrack('a');
  refresher.trackAll([facts]);
  await clock.advance(5_000);
  assert.equal(reader.reads.length, 1);
  reader.settle(reader.pending[0], [running]);
  await clock.advance(minute);
  assert.equal(reader.reads.length, 2, 'and goes on after it');
  for (const read of reader.pending) reader.settle(read, [running]);
  await refresher.stop();
});
