import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ReadReport, RefreshConfig } from '../../src/refresh/types.js';
import { fails, pollsOf, running } from './fake-reader.js';

const minute = 60_000;
const hour = 60 * minute;

/** Tasks whose reads fail as long as they are in `sick`. */
async function setUp(ids: readonly string[], parts: Partial<RefreshConfig> = {}) {
  const { clock, reader, refresher, told, track: trackOne } = pollsOf(parts);
  const sick = new Set<string>();
  reader.respond = (id) => (sick.has(id) ? fails('transient') : running);
  const track = (id: string, batchKey = '') => trackOne(id, { batchKey });
  const ends: ReadReport[] = [];
  reader.decide = (report) => {
    if (report.verdict !== undefined) ends.push(report);
    return { terminal: report.verdict !== undefined };
  };
  for (const id of ids) track(id);
  await clock.advance(minute);
  return { clock, reader, sick, events: told, refresher, track, ends };
}

const poisoned = (count: number) => Array.from({ length: count }, (_, i) => `p${i}`);

test('a task that is new in an outage is read within seconds, however many cannot be read, and ends the outage', async () => {
  const { clock, reader, sick, refresher, track } = await setUp(poisoned(50));
  for (const id of poisoned(50)) sick.add(id);
  await clock.advance(10 * minute);
  assert.equal(refresher.remoteDown, true);
  const trackedAtMs = clock.now();
  track('new');
  await clock.advance(3_000);
  assert.ok((reader.readsOf('new')[0]?.atMs ?? Number.POSITIVE_INFINITY) - trackedAtMs <= 2_000);
  assert.equal(reader.last('new')?.outcome.ok, true);
  await refresher.stop();
});

test('a task that can be read goes on being read beside many that cannot, and the outage does not come back for ever', async () => {
  const { clock, reader, sick, events, refresher, track, ends } = await setUp(poisoned(30), { maxSystemFailures: 2 });
  for (const id of poisoned(30)) sick.add(id);
  await clock.advance(5 * minute);
  track('well');
  await clock.advance(2_000);
  for (let m = 0; m < 30; m++) {
    refresher.asked('well');
    const before = reader.readsOf('well').length;
    await clock.advance(minute);
    assert.ok(reader.readsOf('well').length > before, `minute ${m}`);
  }
  assert.deepEqual(ends.map(({ id }) => id).sort(), poisoned(30).sort());
  for (const { verdict } of ends) {
    assert.ok(['READS_FAILING', 'REMOTE_OUTAGE'].includes(verdict?.code ?? ''));
    assert.equal(verdict?.oweDelete, true);
  }
  assert.equal(refresher.remoteDown, false);
  assert.ok(events.length <= 60, `${events.length} changes of the state`);
  await refresher.stop();
});

test('new tasks that fail as well are probed ever more rarely, and take turns with all others', async () => {
  const { clock, reader, sick, refresher, track } = await setUp(poisoned(5));
  reader.respond = () => fails('transient');
  for (const id of poisoned(5)) sick.add(id);
  await clock.advance(5 * minute);
  const before = reader.reads.length;
  for (let i = 0; i < 100; i++) track(`n${i}`);
  await clock.advance(20 * minute);
  const probes = reader.reads.slice(before).map(({ ids }) => String(ids[0]));
  assert.ok(probes.length <= 110, `${probes.length} probes in 20 min`);
  assert.ok(probes.filter((id) => id.startsWith('p')).length >= 10, 'the others are not forgotten');
  assert.ok(probes.filter((id) => id.startsWith('n')).length >= 20);
  await refresher.stop();
});

test('a handful of sick tasks beside as many healthy ones of their batch key are no outage of that key', async () => {
  const { clock, reader, events, track, ends } = await setUp([], { maxSystemFailures: 2, minFailingMs: minute });
  for (const id of ['sick1', 'sick2', 'b1', 'b2']) track(id, 'B');
  track('a', 'A');
  reader.respond = (id) => (id.startsWith('sick') ? fails('transient') : running);
  await clock.advance(15 * minute);
  assert.deepEqual(
    ends.map(({ verdict }) => verdict?.code),
    ['READS_FAILING', 'READS_FAILING'],
  );
  assert.deepEqual(events, []);
});

for (const sick of [1, 4]) {
  for (const [where, key] of [
    ['a plugin', ''],
    ['a batch key', 'B'],
  ] as const) {
    test(`an outage does not end the only task of ${where} that can be read, beside ${sick} that cannot; these end`, async () => {
      const { clock, reader, track, ends } = await setUp([], { minFailingMs: 5 * minute });
      for (const id of poisoned(sick)) track(id, key);
      track('well', key);
      if (key !== '') track('elsewhere', 'A');
      let away = false;
      reader.respond = (id) => (id.startsWith('p') || (away && id === 'well') ? fails('transient') : running);
      await clock.advance(4 * minute);
      away = true;
      await clock.advance(50 * minute);
      assert.deepEqual(
        ends.filter(({ id }) => id === 'well'),
        [],
      );
      away = false;
      await clock.advance(10 * minute);
      assert.deepEqual(ends.map(({ id }) => id).sort(), poisoned(sick));
      assert.equal(reader.last('well')?.outcome.ok, true);
    });
  }
}

test('a batch key none of whose tasks may tell is not waited for before the remote of all others is taken to be down', async () => {
  const { clock, reader, track, ends, refresher } = await setUp([], { minFailingMs: 5 * minute });
  track('p', 'B');
  for (const id of ['w1', 'w2']) track(id);
  let away = false;
  reader.respond = (id) => (id === 'p' || away ? fails('transient') : running);
  await clock.advance(4 * minute);
  away = true;
  await clock.advance(30 * minute);
  assert.deepEqual([refresher.remoteDown, ends], [true, []]);
});

for (const key of ['', 'B']) {
  test(`an outage does not end the one task that is read, while others${key && ' of its batch key'} are not due before`, async () => {
    const { clock, reader, track, ends } = await setUp([], { maxIntervalMs: hour });
    reader.decide = (report) => {
      if (report.verdict !== undefined) ends.push(report);
      return { terminal: report.verdict !== undefined, nextPollAfterMs: report.id === 'slow' ? hour : undefined };
    };
    for (const id of ['slow', 'fast']) track(id, key);
    if (key !== '') track('elsewhere', 'A');
    await clock.advance(minute);
    reader.respond = (id) => (id === 'elsewhere' ? running : fails('transient'));
    await clock.advance(40 * minute);
    assert.deepEqual(ends, []);
  });
}

test('a task that alone cannot be read ends, also where the others are not due before', async () => {
  const { clock, reader, track, ends } = await setUp([], { maxIntervalMs: hour });
  reader.decide = (report) => {
    if (report.verdict !== undefined) ends.push(report);
    return { terminal: report.verdict !== undefined, nextPollAfterMs: report.id === 'slow' ? hour : undefined };
  };
  for (const id of ['slow', 'sick']) track(id);
  await clock.advance(minute);
  reader.respond = (id) => (id === 'sick' ? fails('transient') : running);
  await clock.advance(20 * minute);
  assert.deepEqual(
    ends.map(({ id }) => id),
    ['sick'],
  );
});
