import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Intake } from '../../src/refresh/intake.js';
import type { Item } from '../../src/refresh/item.js';
import { MissingTasks } from '../../src/refresh/missing.js';
import { Outages } from '../../src/refresh/outages.js';
import { Schedule } from '../../src/refresh/schedule.js';
import type { ReadReport, TaskReader } from '../../src/refresh/types.js';
import { configOf, fails, type Outcome, recordOf, running } from './fake-reader.js';

const minute = 60_000;
const now = 1_700_000_000_000;

/** Tasks that were read a minute ago, and what comes of a list of them; `told` says when the remote was down and up. */
function intakeOf(...ids: string[]) {
  const config = configOf();
  const told: string[] = [];
  const reports: ReadReport[] = [];
  const schedule = new Schedule({ config, random: () => 0.5, tokenWanted: () => false });
  const outages = new Outages({ random: () => 0.5, outageGraceMs: 60 * minute, probeMaxMs: minute, silenceMs: minute });
  const intake = new Intake({
    reader: { onOutcome: (report: ReadReport) => void reports.push(report) } as unknown as TaskReader,
    schedule,
    outages,
    missing: new MissingTasks({}),
    events: {
      remoteDown: ({ sinceMs }) => told.push(`down since ${sinceMs - now}`),
      remoteUp: ({ downMs }) => told.push(`up after ${downMs}`),
    },
  });
  for (const id of ids) {
    schedule.track(recordOf({ id, createdAtMs: 0 }, now), { lastReadAtMs: now - minute }, now, false);
  }
  const take = (of: readonly string[], outcomes: readonly Outcome[], inMs: number) => {
    const items = of.map((id) => schedule.get(id) as Item);
    for (const item of items) schedule.take(item);
    const flight = { startedAtMs: now, stop: undefined, done: Promise.resolve([]), waiting: 0, renamed: new Map() };
    intake.take({ ids: of, items, purpose: 'poll', ...flight }, outcomes, now + inMs, config);
  };
  return { schedule, outages, told, reports, take };
}

test('a list of which one task can be read ends an outage, and says for how long the remote was taken to be down', () => {
  const { told, outages, take } = intakeOf('a', 'b');
  const away = fails('transient');
  for (const atMs of [100, 200, 300]) take(['a', 'b'], [away, away], atMs);
  assert.deepEqual([told, outages.plugin.downSinceMs], [['down since 100'], now + 300]);
  take(['a', 'b'], [away, running], 5_300);
  assert.deepEqual(told, ['down since 100', 'up after 5000']);
  take(['a', 'b'], [away, running], 5_400);
  assert.equal(told.length, 2, 'it is told once');
});

test('a single outcome is that of each task of the list, also where it is well for one of them alone', () => {
  const { schedule, reports, take } = intakeOf('a', 'b');
  take(['a', 'b'], [fails('unknown')], 100);
  assert.deepEqual(
    reports.map(({ id, outcome, failures }) => [id, outcome.ok, failures]),
    [
      ['a', false, 1],
      ['b', false, 1],
    ],
  );
  assert.deepEqual([schedule.get('a')?.batchLimit, schedule.get('b')?.batchLimit], [1, 1]);
});

test('a task counts among those that fail, and among those that were not seen, from a failure until it is read well', () => {
  const { schedule, take } = intakeOf('a', 'b', 'c');
  take(['a', 'b'], [fails('transient'), running], 100);
  assert.deepEqual([schedule.failing.total, schedule.seen.total], [1, 2]);
  take(['a', 'b'], [running, running], 200);
  assert.deepEqual([schedule.failing.total, schedule.seen.total], [0, 3]);
});

test('who answered is the task that was found, whatever place it has in the list', () => {
  const { outages, take } = intakeOf('a', 'b');
  take(['a', 'b'], [fails('transient'), running], 100);
  assert.equal(outages.plugin.answeredBy, 'b');
  take(['a'], [running], 200);
  assert.equal(outages.plugin.answeredBy, 'a');
});
