import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import { configOf, createTestRefresher, FakeReader, fails, open, pollsOf, running } from './fake-reader.js';

const minute = 60_000;
const hour = 60 * minute;

test('an adopted task is read at once, a new one after the least interval, and both again and again', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  track('adopted', { createdAtMs: clock.now() - hour });
  track('new');
  await clock.advance(0);
  assert.deepEqual(
    reader.reads.map((r) => r.ids),
    [['adopted']],
  );
  await clock.advance(1_000);
  assert.deepEqual(
    reader.reads.map((r) => r.ids),
    [['adopted'], ['new']],
  );
  await clock.advance(10 * minute);
  assert.ok(reader.readsOf('new').length > 20);
  await refresher.stop();
  assert.equal(clock.pending, 0);
});

test('no asked task waits longer than the resync interval, and young ones are read more often', async () => {
  const { clock, reader, track } = pollsOf();
  for (let i = 0; i < 50; i++) track(`old-${i}`, { createdAtMs: clock.now() - 48 * hour, lastReadAtMs: clock.now() });
  track('young');
  for (let m = 0; m < 9; m++) {
    await clock.advance(minute);
  }
  for (let i = 0; i < 50; i++) {
    const times = [clock.now() - 9 * minute, ...reader.readsOf(`old-${i}`).map((r) => r.atMs), clock.now()];
    for (let j = 1; j < times.length; j++) assert.ok(times[j]! - times[j - 1]! <= 30_001);
  }
  assert.ok(reader.readsOf('young').length > 2 * reader.readsOf('old-0').length);
});

test('at most one read of a resource is in flight: a Get shares the poll that is under way', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  reader.respond = () => undefined;
  track('a', { createdAtMs: 0 });
  await clock.advance(0);
  const gets = [refresher.readNow('a', clock.now() + 5_000), refresher.readNow('a', clock.now() + 5_000)];
  await clock.advance(10);
  assert.equal(reader.reads.length, 1);
  reader.settle(reader.pending[0], [running]);
  for (const get of gets) assert.equal(await get, running);
  assert.equal(reader.reports.length, 1, 'one read is reported once');
});

test('reads that are due and may not be started are told as so many calls, and no more once they are', async () => {
  const { clock, reader, refresher, track } = pollsOf({ maxBatch: 4 });
  reader.gate = { ...open, open: false, tokensNow: 0, msUntilToken: 50 };
  for (let i = 0; i < 10; i++) track(`t${i}`, { createdAtMs: clock.now() - hour });
  await clock.advance(0);
  assert.equal(reader.calls, 3);
  reader.gate = { ...open, tokensNow: 1 };
  refresher.wake();
  await clock.advance(0);
  assert.deepEqual([reader.reads.length > 0, reader.calls < 3], [true, true]);
  reader.gate = open;
  refresher.wake();
  await clock.advance(0);
  assert.equal(reader.calls, 0);
  reader.gate = { ...open, open: false };
  await clock.advance(minute);
  assert.ok(reader.calls > 0);
  await refresher.stop();
  assert.equal(reader.calls, 0);
});

test('a poll does not start while a Get reads, and Gets of one resource share one call', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  reader.respond = () => undefined;
  track('a');
  const first = refresher.readNow('a', clock.now() + 9_000);
  const second = refresher.readNow('a', clock.now() + 5_000);
  await clock.advance(4_000);
  assert.deepEqual(
    reader.reads.map((r) => r.purpose),
    ['get'],
  );
  await clock.advance(1_000);
  const late = await second;
  assert.equal(!late.ok && late.failure.kind, 'deadline');
  assert.equal(reader.pending.length, 1, 'the read goes on for the one who still waits');
  reader.settle(reader.pending[0], [running]);
  assert.equal(await first, running);
});

test('a Get whose last caller leaves is given up, and neither counts nor keeps the task from being polled', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  reader.respond = (_id, request) => (request.purpose === 'get' ? undefined : running);
  track('a');
  const stop = new AbortController();
  const get = refresher.readNow('a', clock.now() + 9_000, stop.signal);
  stop.abort();
  const outcome = await get;
  assert.equal(!outcome.ok && outcome.failure.kind, 'cancelled');
  assert.equal(reader.pending[0]?.signal?.aborted, true);
  reader.settle(reader.pending[0], [fails('cancelled')]);
  await clock.advance(2_000);
  assert.equal(reader.last('a')?.outcome, running);
  assert.equal(reader.reports[0]?.failures, 0);
});

test("a Get that joined a read which another caller's deadline ended reads for itself", async () => {
  const { clock, reader, refresher, track } = pollsOf();
  reader.respond = () => undefined;
  track('a');
  void refresher.readNow('a', clock.now() + 1_000);
  const patient = refresher.readNow('a', clock.now() + 9_000);
  await clock.advance(500);
  reader.settle(reader.pending[0], [fails('not_admitted')]);
  await clock.advance(1);
  reader.settle(reader.pending[0], [running]);
  assert.equal(await patient, running);
  assert.deepEqual(
    reader.reads.map((r) => r.deadlineMs),
    [clock.now() + 499, clock.now() + 8_499],
  );
});

test('a Get of a task that is not polled, or after the stop, is not made', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  const stranger = await refresher.readNow('x', clock.now() + 1_000);
  assert.equal(!stranger.ok && stranger.failure.code, 'TASK_UNKNOWN');
  track('a');
  const late = await refresher.readNow('a', clock.now());
  assert.equal(!late.ok && late.failure.kind, 'deadline');
  await refresher.stop();
  const stopped = await refresher.readNow('a', clock.now() + 1_000);
  assert.equal(!stopped.ok && stopped.failure.code, 'DAEMON_DRAINING');
  assert.equal(reader.reads.length, 0);
});

test('stopping waits for the reads in flight, reports them, and starts no more', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  reader.respond = () => undefined;
  track('a', { createdAtMs: 0 });
  track('b');
  await clock.advance(0);
  let stopped = false;
  const stopping = refresher.stop().then(() => (stopped = true));
  await clock.advance(10_000);
  assert.equal(stopped, false);
  reader.settle(reader.pending[0], [running]);
  await stopping;
  assert.deepEqual(
    reader.reports.map((r) => r.id),
    ['a'],
  );
  assert.equal(reader.reads.length, 1);
  assert.equal(clock.pending, 0);
});

test('failures count in a row, reset on success, and end the task only past the count and the least time', async () => {
  const { clock, reader, refresher, track } = pollsOf({ maxSystemFailures: 2, minFailingMs: 120_000 });
  track('healthy');
  reader.respond = (id) => (id === 'sick' ? fails('unknown') : running);
  track('sick');
  await clock.advance(minute);
  assert.ok((reader.last('sick')?.failures ?? 0) > 2);
  assert.equal(reader.last('sick')?.verdict, undefined, 'the count alone does not end it');
  reader.respond = () => running;
  await clock.advance(3 * minute);
  assert.equal(reader.last('sick')?.failures, 0);
  reader.respond = (id) => (id === 'sick' ? fails('unknown') : running);
  await clock.advance(10 * minute);
  const end = reader.last('sick');
  assert.equal(end?.verdict?.code, 'READS_FAILING');
  assert.equal(end?.verdict?.phase, 'RETRYABLE_FAILURE');
  assert.equal(end?.verdict?.oweDelete, true);
  assert.match(end?.verdict?.message ?? '', /\[X\] unknown/);
  assert.ok((end?.finishedAtMs ?? 0) - (end?.failingSinceMs ?? 0) >= 120_000);
  assert.equal(refresher.stats().tracked, 1);
  const readsOfSick = reader.readsOf('sick').length;
  await clock.advance(minute);
  assert.equal(reader.readsOf('sick').length, readsOfSick, 'what ended is read no more');
});

test('a failing task is read ever less often', async () => {
  const { clock, reader, track } = pollsOf({ minFailingMs: 10 * hour, outageGraceMs: 10 * hour });
  track('healthy');
  track('sick');
  reader.respond = (id) => (id === 'sick' ? fails('unknown') : running);
  await clock.advance(10 * minute);
  const times = reader.readsOf('sick').map((r) => r.atMs);
  const gaps = times.slice(1).map((t, i) => t - times[i]!);
  assert.ok(gaps.every((gap, i) => i === 0 || gap >= gaps[i - 1]! - 1));
  assert.deepEqual(gaps.slice(0, 5), [2_000, 4_000, 8_000, 16_000, 32_000]);
  assert.ok(Math.max(...gaps) <= 120_000);
});

test('throttles, reads that were not admitted, and cancelled ones move no count, however many', async () => {
  const { clock, reader, track } = pollsOf({ maxSystemFailures: 0, minFailingMs: 0, outageGraceMs: minute });
  track('a');
  for (const kind of ['throttled', 'not_admitted', 'cancelled'] as const) {
    reader.respond = () => fails(kind);
    await clock.advance(3 * minute);
    assert.ok(reader.reports.length > 10);
    assert.ok(
      reader.reports.every((r) => r.failures === 0 && r.verdict === undefined && r.failingSinceMs === undefined),
    );
  }
});

test('a crash of the plugin moves no count, and ends a task only when nothing else came for the outage grace', async () => {
  const { clock, reader, track } = pollsOf({ maxSystemFailures: 0, minFailingMs: 0 });
  track('a');
  track('b');
  reader.respond = () => fails('process_died');
  await clock.advance(50 * minute);
  assert.ok(reader.reports.every((r) => r.failures === 0 && r.verdict === undefined));
  await clock.advance(20 * minute);
  const { code, message } = reader.last('a')!.verdict!;
  assert.equal(code, 'READS_FAILING');
  const seconds = Number(message.match(/^reads failed for (\d+) s in a row, 0 of them counted/)?.[1]);
  assert.ok(seconds >= 3_600 && seconds <= 4_200, message);
});

test('one crash before and one after a long pause of the plugin end no task', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  reader.respond = () => fails('process_died');
  track('a', { createdAtMs: 0 });
  await clock.advance(0);
  reader.gate = { ...open, open: false, slotsFree: 0 };
  await clock.advance(5 * hour);
  reader.gate = open;
  refresher.wake();
  await clock.advance(0);
  assert.equal(reader.reports.length, 2);
  assert.equal(reader.last('a')?.verdict, undefined);
});

test('a task that was never seen is lost once not found is confirmed after the visibility grace, and owes a delete', async () => {
  const { clock, reader, track } = pollsOf();
  reader.respond = () => fails('not_found');
  track('new');
  track('old', { createdAtMs: clock.now() - 2 * minute });
  await clock.advance(119_000);
  assert.equal(reader.last('old')?.verdict, undefined);
  await clock.advance(40_000);
  assert.deepEqual(
    [reader.last('old')?.verdict?.code, reader.last('old')?.verdict?.phase, reader.last('old')?.verdict?.oweDelete],
    ['RESOURCE_LOST', 'RETRYABLE_FAILURE', true],
  );
  assert.equal(reader.last('new')?.verdict, undefined);
  assert.equal(reader.last('new')?.failures, 0);
  await clock.advance(2 * minute);
  assert.equal(reader.last('new')?.verdict?.code, 'RESOURCE_LOST');
});

test("a permanent refusal ends the task with the plugin's code and owes a delete", async () => {
  const { clock, reader, track } = pollsOf();
  reader.respond = () => ({
    ok: false,
    failure: { kind: 'permanent', code: 'Gone', message: 'no', faultKind: 'USER', retryAfterMs: undefined },
  });
  track('a');
  await clock.advance(2_000);
  assert.deepEqual(reader.last('a')?.verdict, {
    phase: 'PERMANENT_FAILURE',
    code: 'Gone',
    message: 'no',
    faultKind: 'USER',
    oweDelete: true,
  });
});

test('an outage ends no task: one probe at a time, counts stand still, and all is read again when it is over', async () => {
  const { clock, reader, refresher, told, track } = pollsOf({ maxSystemFailures: 3, minFailingMs: 5_000 });
  for (let i = 0; i < 100; i++) track(`t${i}`);
  await clock.advance(minute);
  reader.respond = () => fails('transient');
  await clock.advance(10_000);
  assert.deepEqual(told, ['down']);
  assert.equal(refresher.remoteDown, true);
  assert.equal(refresher.stats().remote, 'down');
  const counts = new Map(reader.reports.map((r) => [r.id, r.failures]));
  const before = reader.reads.length;
  await clock.advance(50 * minute);
  const probes = reader.reads.slice(before);
  assert.ok(probes.every((r) => r.purpose === 'probe' && r.ids.length === 1));
  assert.ok(probes.length >= 50 && probes.length <= 200, `${probes.length} probes in 50 min`);
  assert.ok(new Set(probes.map((r) => r.ids[0])).size >= 50, 'the probes go round, no task speaks for all');
  for (const report of reader.reports) assert.equal(report.verdict, undefined);
  for (const [id, failures] of counts) assert.equal(reader.last(id)?.failures, failures);
  reader.respond = () => running;
  await clock.advance(2 * minute);
  assert.match(told[1] ?? '', /^up after/);
  assert.equal(refresher.remoteDown, false);
  assert.equal(refresher.stats().remote, 'up');
  for (let i = 0; i < 100; i++) assert.equal(reader.last(`t${i}`)?.outcome, running);
});

test('while the remote is down one probe is in flight, whether the schedule or a Get made it', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  for (let i = 0; i < 5; i++) track(`t${i}`);
  reader.respond = () => fails('transient');
  await clock.advance(4_000);
  assert.equal(refresher.stats().remote, 'down');
  reader.respond = () => undefined;
  const get = refresher.readNow('t0', clock.now() + 20_000);
  const other = await refresher.readNow('t1', clock.now() + 20_000);
  assert.equal(!other.ok && other.failure.code, 'REMOTE_OUTAGE');
  assert.ok(!other.ok && (other.failure.retryAfterMs ?? 0) > 0);
  await clock.advance(10_000);
  assert.equal(reader.pending.length, 1);
  reader.settle(reader.pending[0], [running]);
  assert.equal(await get, running);
});

test('only a read that succeeds ends an outage: neither a throttle nor a refusal tells that jobs can be read again', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  for (let i = 0; i < 5; i++) track(`t${i}`);
  reader.respond = () => fails('transient');
  await clock.advance(4_000);
  assert.equal(refresher.stats().remote, 'down');
  for (const kind of ['throttled', 'not_found', 'permanent'] as const) {
    reader.respond = () => fails(kind);
    await clock.advance(2_000);
    assert.equal(refresher.stats().remote, 'down', kind);
  }
  reader.respond = () => running;
  await clock.advance(10 * minute);
  assert.equal(refresher.stats().remote, 'up');
  await refresher.stop();
});

test('refusals are probed like other failures of an outage, and do not come one after the other', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  for (let i = 0; i < 100; i++) track(`t${i}`);
  reader.respond = () => fails('transient');
  await clock.advance(4_000);
  const before = reader.reads.length;
  reader.respond = () => fails('permanent');
  await clock.advance(minute);
  const probes = reader.reads.length - before;
  assert.ok(probes > 0 && probes < 20, `${probes} probes in a minute`);
  assert.equal(refresher.stats().remote, 'down');
  await refresher.stop();
});

test('an outage is let go with its last task, whether that was ended or deleted, since nothing could tell its end', async () => {
  const ended = pollsOf({ outageGraceMs: minute, maxSystemFailures: 1, minFailingMs: 0 });
  const deleted = pollsOf();
  for (const { clock, reader, refresher, track } of [ended, deleted]) {
    for (let i = 0; i < 5; i++) track(`t${i}`);
    reader.respond = () => fails('transient');
    await clock.advance(10_000);
    assert.equal(refresher.remoteDown, true);
  }
  await ended.clock.advance(hour);
  assert.equal(ended.refresher.stats().tracked, 0);
  for (let i = 0; i < 4; i++) deleted.refresher.untrack(`t${i}`);
  assert.equal(deleted.refresher.remoteDown, true, 'one task is left that can tell');
  deleted.refresher.untrack('t4');
  for (const { refresher, told } of [ended, deleted]) {
    assert.equal(refresher.remoteDown, false);
    assert.match(told[1] ?? '', /^up after/);
    await refresher.stop();
  }
});

test('one sick task among healthy ones is no outage', async () => {
  const { clock, reader, told, track } = pollsOf({ maxSystemFailures: 2, minFailingMs: minute });
  for (let i = 0; i < 3; i++) track(`t${i}`);
  reader.respond = (id) => (id === 't0' ? fails('transient') : running);
  await clock.advance(10 * minute);
  assert.equal(reader.last('t0')?.verdict?.code, 'READS_FAILING');
  assert.deepEqual(told, []);
});

test('the outage of one batch key ends none of its tasks, while another one answers; its grace is as long', async () => {
  const { clock, reader, told, track } = pollsOf({
    maxBatch: 10,
    maxSystemFailures: 2,
    minFailingMs: minute,
    outageGraceMs: 30 * minute,
  });
  for (const id of ['a1', 'a2', 'a3', 'alone', 'b1', 'b2']) {
    track(id, { batchKey: id === 'alone' ? 'C' : id.startsWith('a') ? 'A' : 'B' });
  }
  let away = true;
  reader.respond = (id) => (away && id.startsWith('a') ? fails('transient') : running);
  await clock.advance(20 * minute);
  assert.deepEqual(told, [], 'the plugin has a remote that answers');
  for (const id of ['a1', 'a2', 'a3', 'alone']) assert.equal(reader.last(id)?.verdict, undefined, id);
  away = false;
  await clock.advance(5 * minute);
  for (const id of ['a1', 'alone']) assert.equal(reader.last(id)?.failures, 0, id);
  away = true;
  await clock.advance(29 * minute);
  assert.equal(reader.last('a1')?.verdict, undefined, 'an outage that is over is not added to the next');
  await clock.advance(20 * minute);
  for (const id of ['a1', 'a2', 'a3', 'alone']) assert.equal(reader.last(id)?.verdict?.code, 'REMOTE_OUTAGE', id);
});

test('one sick task among healthy ones of its batch key is no outage of that key', async () => {
  const { clock, reader, told, track } = pollsOf({ maxBatch: 10, maxSystemFailures: 2, minFailingMs: minute });
  for (const id of ['sick', 'b1', 'b2']) track(id, { batchKey: 'B' });
  track('a', { batchKey: 'A' });
  reader.respond = (id) => (id === 'sick' ? fails('transient') : running);
  await clock.advance(10 * minute);
  assert.equal(reader.last('sick')?.verdict?.code, 'READS_FAILING');
  assert.deepEqual(told, []);
});

test('an outage of all batch keys is one of the plugin: it is probed', async () => {
  const { clock, reader, told, track } = pollsOf({ maxBatch: 10 });
  for (let i = 0; i < 40; i++) track(`t${i}`, { batchKey: `K${i % 20}` });
  reader.respond = () => fails('transient');
  await clock.advance(10 * minute);
  assert.deepEqual(told, ['down']);
  assert.equal(reader.reads.at(-1)?.purpose, 'probe');
});

test('the outage of a plugin with many batch keys is over with its grace, not once more for each key', async () => {
  const { clock, reader, refresher, told, track } = pollsOf({ maxSystemFailures: 2, minFailingMs: minute });
  for (let i = 0; i < 200; i++) track(`t${i}`, { batchKey: `K${i % 100}` });
  reader.respond = () => fails('transient');
  await clock.advance(hour - minute);
  assert.deepEqual([told, refresher.stats().tracked], [['down'], 200]);
  await clock.advance(20 * minute);
  assert.equal(refresher.stats().tracked, 0);
  assert.equal(reader.last('t0')?.verdict?.code, 'REMOTE_OUTAGE');
});

test('tasks of a batch key that is away are read ever less, and soon again when it is back', async () => {
  const { clock, reader, track } = pollsOf();
  for (const id of ['a1', 'a2', 'b1']) track(id, { batchKey: id.slice(0, 1) });
  reader.respond = (id) => (id.startsWith('a') ? fails('transient') : running);
  await clock.advance(20 * minute);
  const before = reader.readsOf('a1').length;
  await clock.advance(20 * minute);
  const reads = reader.readsOf('a1').length - before;
  assert.ok(reads >= 5 && reads <= 15, `${reads} in 20 minutes`);
  reader.respond = () => running;
  await clock.advance(3 * minute);
  assert.equal(reader.last('a1')?.failures, 0);
  assert.equal(reader.last('a1')?.outcome.ok, true);
});

test('the outage of a plugin with a single task is told from a fault of the plugin by the kind of failure', async () => {
  const outage = pollsOf({ maxSystemFailures: 2, minFailingMs: minute });
  outage.reader.respond = () => fails('transient');
  outage.track('a');
  await outage.clock.advance(50 * minute);
  assert.equal(outage.reader.last('a')?.verdict, undefined);
  await outage.clock.advance(30 * minute);
  assert.equal(outage.reader.last('a')?.verdict?.code, 'REMOTE_OUTAGE');
  const fault = pollsOf({ maxSystemFailures: 2, minFailingMs: minute });
  fault.reader.respond = () => fails('unknown');
  fault.track('a');
  await fault.clock.advance(5 * minute);
  assert.equal(fault.reader.last('a')?.verdict?.code, 'READS_FAILING');
});

test('after the outage grace counts move on and tasks that still fail end, with the reason', async () => {
  const { clock, reader, refresher, track } = pollsOf({ maxSystemFailures: 2, minFailingMs: minute });
  for (let i = 0; i < 20; i++) track(`t${i}`);
  reader.respond = () => fails('transient');
  await clock.advance(hour - minute);
  assert.equal(refresher.stats().tracked, 20);
  await clock.advance(30 * minute);
  assert.equal(refresher.stats().tracked, 0);
  for (let i = 0; i < 20; i++) assert.equal(reader.last(`t${i}`)?.verdict?.code, 'REMOTE_OUTAGE');
});

test('nextPollAfter paces a task, within the floor and the ceiling', async () => {
  const { clock, reader, track, start } = pollsOf();
  reader.decide = ({ id }) => ({
    terminal: false,
    nextPollAfterMs: { slow: 10 * minute, never: 1e15, eager: 1 }[id] ?? undefined,
  });
  for (const id of ['slow', 'never', 'eager']) track(id, { lastAskedAtMs: start + 10 * hour });
  await clock.advance(hour);
  const gapsOf = (id: string) => {
    const times = reader.readsOf(id).map((r) => r.atMs);
    return times.slice(1).map((t, i) => t - times[i]!);
  };
  assert.ok(gapsOf('slow').every((gap) => gap >= 10 * minute && gap <= 12 * minute));
  assert.equal(reader.readsOf('never').length, 2);
  assert.ok(gapsOf('eager').every((gap) => gap >= 1_000));
});

test('a task nobody asks for is polled ever less, again as usual when asked, and while its token is wanted', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  track('forgotten', { createdAtMs: clock.now() - 48 * hour, quotaNamespace: 'gpu' });
  const readsIn = async (ms: number, ask = false) => {
    const before = reader.reads.length;
    for (let passed = 0; passed < ms; passed += minute) {
      if (ask) refresher.asked('forgotten');
      await clock.advance(minute);
    }
    return reader.reads.length - before;
  };
  const early = await readsIn(10 * minute);
  const later = await readsIn(hour);
  assert.ok(early >= 19 && later < 40 && later > 5, `${early} in 10 min, then ${later} in an hour`);
  await readsIn(8 * hour);
  const rare = await readsIn(2 * hour);
  assert.ok(rare <= 5, `${rare} in 2 hours`);
  reader.wanted.add('gpu');
  assert.ok((await readsIn(minute)) >= 1, 'at once, however far off its next read was');
  assert.ok((await readsIn(10 * minute)) >= 19, 'somebody waits for its token');
  reader.wanted.clear();
  assert.ok((await readsIn(hour)) <= 3);
  assert.ok((await readsIn(10 * minute, true)) >= 19, 'an engine asks again');
});

test('a task nobody asks for is polled ever less, also where its plugin wishes to be asked soon', async () => {
  const { clock, reader, track } = pollsOf();
  track('forgotten', { createdAtMs: clock.now() - 48 * hour, nextPollAfterMs: 5_000 });
  reader.decide = () => ({ terminal: false, nextPollAfterMs: 5_000 });
  await clock.advance(9 * hour);
  const before = reader.reads.length;
  await clock.advance(2 * hour);
  assert.ok(reader.reads.length - before <= 5, `${reader.reads.length - before} in 2 hours`);
});

test('a batch holds one batch key only, up to its size, and takes along what is due soon', async () => {
  const { clock, reader, track, start } = pollsOf({ maxBatch: 10 });
  for (let i = 0; i < 25; i++) track(`a${i}`, { createdAtMs: start - hour, batchKey: 'A' });
  for (let i = 0; i < 3; i++) track(`b${i}`, { createdAtMs: start - hour, batchKey: 'B' });
  await clock.advance(0);
  assert.deepEqual(
    reader.reads.map((r) => r.ids.length).sort((x, y) => x - y),
    [3, 5, 10, 10],
  );
  await clock.advance(10 * minute);
  for (const { ids } of reader.reads) {
    assert.equal(new Set(ids.map((id) => id[0])).size, 1);
    assert.equal(new Set(ids).size, ids.length);
    assert.ok(ids.length <= 10);
  }
  const rest = reader.reads.slice(4).filter((r) => r.ids[0]?.startsWith('a'));
  assert.ok(rest.reduce((sum, r) => sum + r.ids.length, 0) / rest.length > 5, 'batches stay filled over time');
});

test('items of a batch are judged one by one', async () => {
  const { clock, reader, track, start } = pollsOf({ maxBatch: 3 });
  for (const id of ['ok', 'gone', 'sick']) track(id, { createdAtMs: start - hour });
  reader.respond = (id) => ({ ok: running, gone: fails('not_found'), sick: fails('transient') })[id];
  await clock.advance(0);
  assert.deepEqual(reader.reports.map((r) => [r.id, r.failures, r.verdict?.code]).sort(), [
    ['gone', 0, undefined],
    ['ok', 0, undefined],
    ['sick', 1, undefined],
  ]);
});

test('an item that takes whole batches down is found by halving them, and the others recover', async () => {
  const { clock, reader, refresher, track, start } = pollsOf({ maxBatch: 16, minFailingMs: 5 * minute });
  for (let i = 0; i < 16; i++) track(`t${i}`, { createdAtMs: start - hour });
  reader.respond = (_id, { ids }) => (ids.includes('t3') ? fails('process_died') : running);
  await clock.advance(10 * minute);
  for (let i = 0; i < 16; i++) if (i !== 3) assert.equal(reader.last(`t${i}`)?.outcome, running, `t${i}`);
  assert.equal(refresher.stats().tracked, 16);
});

test('a batch with the wrong number of outcomes, and a read that rejects, fail every item and lose none', async () => {
  const { clock, reader, refresher, track, start } = pollsOf({ maxBatch: 3 });
  for (const id of ['a', 'b', 'c']) track(id, { createdAtMs: start - hour });
  reader.respond = () => undefined;
  await clock.advance(0);
  reader.settle(reader.pending[0], [running]);
  await clock.advance(0);
  assert.deepEqual(
    reader.reports.map((r) => !r.outcome.ok && r.outcome.failure.kind),
    ['invalid', 'invalid', 'invalid'],
  );
  await clock.advance(30_000);
  const pending = reader.pending[0];
  pending?.answer.reject(new Error('broken'));
  await clock.advance(0);
  const outcome = reader.reports.at(-1)?.outcome;
  assert.equal(outcome?.ok === false && outcome.failure.kind, 'unknown');
  assert.equal(refresher.stats().tracked, 3);
});

test('nothing is read that the gate would not send now, and waking reads at once', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  reader.respond = () => undefined;
  reader.gate = { ...open, open: false, slotsFree: 0 };
  for (let i = 0; i < 5; i++) track(`t${i}`, { createdAtMs: 0 });
  await clock.advance(2 * minute);
  assert.equal(reader.reads.length, 0);
  assert.equal(refresher.countDue(), 5);
  assert.equal(refresher.stats().oldestOverdueMs, 2 * minute);
  reader.gate = { ...open, slotsFree: 3, tokensNow: 2 };
  refresher.wake();
  await clock.advance(0);
  assert.equal(reader.reads.length, 2);
});

test('a task untracked while it is read is not reported; tracked anew it is not read twice at a time', async () => {
  const { clock, reader, refresher, track } = pollsOf();
  reader.respond = () => undefined;
  track('a', { createdAtMs: 0 });
  await clock.advance(0);
  refresher.untrack('a');
  refresher.untrack('a');
  reader.settle(reader.pending[0], [running]);
  await clock.advance(minute);
  assert.equal(reader.reports.length, 0);
  track('b', { createdAtMs: 0 });
  await clock.advance(0);
  refresher.untrack('b');
  track('b', { createdAtMs: 0 });
  await clock.advance(minute);
  assert.equal(reader.readsOf('b').length, 1);
  reader.settle(reader.pending[0], [running]);
  await clock.advance(minute);
  assert.ok(reader.readsOf('b').length > 1);
});

test('a reader whose report throws keeps its task in the schedule and is told', async () => {
  const { clock, reader, told, track } = pollsOf();
  reader.decide = () => {
    throw new Error('store');
  };
  track('a');
  await clock.advance(10_000);
  assert.ok(told.length > 1 && told.every((e) => e === 'fault'));
});

test('correcting a tracked task moves it to its batch key and keeps its counts', async () => {
  const { clock, reader, track, start } = pollsOf({ maxBatch: 5 });
  reader.respond = () => fails('invalid');
  track('a', { createdAtMs: start - hour, batchKey: 'single:a' });
  track('b', { createdAtMs: start - hour, batchKey: 'K' });
  await clock.advance(0);
  track('a', { createdAtMs: start - hour, batchKey: 'K' });
  await clock.advance(minute);
  assert.ok(reader.reads.some((r) => r.ids.length === 2));
  assert.ok((reader.last('a')?.failures ?? 0) >= 2);
});

test('a change of the limit takes effect in place', async () => {
  const { clock, refresher, track } = pollsOf({ readQps: 30 });
  for (let i = 0; i < 300; i++) track(`t${i}`, { createdAtMs: 0, lastReadAtMs: clock.now() });
  await clock.advance(1_000);
  assert.equal(refresher.stats().longestIntervalMs, 30_000);
  refresher.reconfigure(configOf({ readQps: 1 }));
  await clock.advance(1_000);
  assert.ok(refresher.stats().longestIntervalMs >= 300_000);
});

test('jitter: tasks of one moment drift apart, and none is read later than its interval for it', async () => {
  const clock = new ManualClock();
  const reader = new FakeReader(() => clock.now());
  let seed = 1;
  const random = () => {
    seed = (seed * 48_271) % 0x7fffffff;
    return seed / 0x7fffffff;
  };
  const config = configOf({ pollShare: 0.0001 }); // no spare capacity: everybody has the resync interval
  const refresher = createTestRefresher({ reader, config, clock, random });
  const ids = Array.from({ length: 50 }, (_, i) => `t${i}`);
  for (const id of ids) refresher.track({ id, createdAtMs: clock.now() });
  for (let passed = 0; passed < 10 * minute; passed += minute) {
    for (const id of ids) refresher.asked(id);
    await clock.advance(minute);
  }
  const times = (id: string) => reader.reads.filter((read) => read.ids.includes(id)).map(({ atMs }) => atMs);
  for (const id of ids) {
    const gaps = times(id)
      .slice(1)
      .map((at, i) => at - (times(id)[i] as number));
    assert.ok(gaps.length > 15 && gaps.every((ms) => ms <= config.resyncIntervalMs + 10));
  }
  const firstSeconds = new Set(ids.map((id) => Math.floor((times(id)[0] as number) / 1_000)));
  const tenthSeconds = new Set(ids.map((id) => Math.floor((times(id)[9] as number) / 1_000)));
  assert.ok(firstSeconds.size <= 5, `began within ${firstSeconds.size} s`);
  assert.ok(tenthSeconds.size > 10, `spread over ${tenthSeconds.size} s only`);
  await refresher.stop();
});
