import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import type { Abortable } from '../../src/lib/stop.js';
import { RepeatedWork } from '../../src/tasks/end/repeated-work.js';
import { held } from './harness.js';

interface Item {
  readonly name: string;
  readonly plugin: string;
}

/** Work whose tries are ended by hand; `begun` are the names of those that began, in order. */
function workOf(concurrency = 2) {
  const clock = new ManualClock();
  const begun: string[] = [];
  const tries = new Map<string, ReturnType<typeof held<number | undefined>>>();
  const faults: unknown[] = [];
  const work = new RepeatedWork<Item>({
    clock,
    concurrency,
    pluginOf: ({ plugin }) => plugin,
    attempt: ({ name }) => {
      begun.push(name);
      const one = held<number | undefined>();
      tries.set(name, one);
      return name.startsWith('bad') ? Promise.reject(new Error(name)) : one.promise;
    },
    faulty: (item, error) => {
      faults.push([item.name, String(error)]);
      return 1_000;
    },
  });
  /** Ends the try of an item; it comes again after so long, if at all. */
  const end = async (name: string, againMs?: number) => {
    tries.get(name)?.release(againMs);
    await clock.advance(0);
  };
  const add = (name: string, delayMs?: number, plugin = 'p') => {
    const item = { name, plugin };
    work.add(item, delayMs);
    return item;
  };
  return { clock, work, begun, faults, end, add };
}

test('what is ready is tried in the order it came, so many at a time, and one more for each that has ended', async () => {
  const { begun, end, add } = workOf(2);
  for (const name of ['a', 'b', 'c', 'd']) add(name);
  assert.deepEqual(begun, ['a', 'b']);
  await end('b');
  assert.deepEqual(begun, ['a', 'b', 'c']);
  await end('a');
  await end('c');
  await end('d');
  assert.deepEqual(begun, ['a', 'b', 'c', 'd'], 'and none that is done comes again');
});

test('a plugin whose tries do not end holds up no other plugin', async () => {
  const { begun, add } = workOf(1);
  for (const name of ['a', 'b']) add(name, 0, 'stuck');
  add('c', 0, 'other');
  assert.deepEqual(begun, ['a', 'c']);
});

test('a try that asks for another is made again when its delay has passed, behind who is ready then', async () => {
  const { clock, begun, end, add } = workOf(1);
  add('a');
  add('b');
  await end('a', 500);
  await clock.advance(499);
  assert.deepEqual(begun, ['a', 'b']);
  await clock.advance(1);
  assert.deepEqual(begun, ['a', 'b'], 'its turn has not come');
  await end('b', 0);
  assert.deepEqual(begun, ['a', 'b', 'a']);
  await end('a');
  assert.deepEqual(begun, ['a', 'b', 'a', 'b'], 'no delay is a delay too');
});

test('a try that fails in the daemon itself is told and made again after the delay of such', async () => {
  const { clock, begun, faults, add } = workOf();
  add('bad');
  await clock.advance(999);
  assert.deepEqual([begun, faults], [['bad'], [['bad', 'Error: bad']]]);
  await clock.advance(1);
  assert.deepEqual(begun, ['bad', 'bad']);
});

test('what was taken out is tried no more, if it was still waiting', async () => {
  const { clock, work, begun, add } = workOf();
  const waiting = add('waiting', 100);
  const running = add('running');
  for (const item of [waiting, waiting, running]) work.drop(item);
  assert.equal(clock.pending, 0);
  await clock.advance(1_000);
  assert.deepEqual(begun, ['running']);
});

test('a stop leaves what waits, ends when no try is under way, and takes nothing on', async () => {
  const { clock, work, begun, end, add } = workOf(2);
  add('a');
  add('b');
  add('in line');
  add('later', 100);
  const stops = [work.stop(), work.stop()];
  let stopped = false;
  void Promise.all(stops).then(() => {
    stopped = true;
  });
  add('new');
  add('new and later', 100);
  assert.equal(clock.pending, 0);
  await end('a', 50);
  assert.equal(stopped, false);
  await end('b', 50);
  assert.equal(stopped, true);
  await clock.advance(1_000);
  assert.deepEqual(begun, ['a', 'b']);
  await work.stop();
  const idle = workOf();
  await idle.work.stop();
});

test('a wait that a stop may end hears of it, unless it said that it is past its waiting, or the stop came first', async () => {
  const { work } = workOf();
  const signals: Abortable[] = [];
  const [waits, past, done] = [held<string>(), held<string>(), held<string>()];
  const answers = [
    work.untilStop((signal) => {
      signals.push(signal);
      return waits.promise;
    }),
    work.untilStop((signal, isPast) => {
      signals.push(signal);
      isPast();
      return past.promise;
    }),
    work.untilStop((signal) => {
      signals.push(signal);
      return done.promise;
    }),
  ];
  done.release('done');
  assert.equal(await answers[2], 'done');
  await work.stop();
  assert.deepEqual(
    signals.map(({ aborted }) => aborted),
    [true, false, false],
  );
  waits.release('waited');
  past.release('past');
  assert.deepEqual(await Promise.all(answers), ['waited', 'past', 'done']);
  await work.untilStop(async (signal) => assert.equal(signal.aborted, true));
  await assert.rejects(
    work.untilStop(() => Promise.reject(new Error('no'))),
    /no/,
  );
});
