import assert from 'node:assert/strict';
import { getEventListeners } from 'node:events';
import { test } from 'node:test';
import { ManualClock } from '../../src/lib/clock.js';
import { Stop } from '../../src/lib/stop.js';
import { failedCall } from '../../src/model/plugin-failure.js';
import { awaitFlight, Flights, readOnce, spoilsBatch } from '../../src/refresh/flights.js';
import { type Flight, Item, type ReadOutcome } from '../../src/refresh/item.js';
import type { TaskReader } from '../../src/refresh/types.js';
import { fails, recordOf, running } from './fake-reader.js';

const itemOf = (id: string) => new Item(recordOf({ id, createdAtMs: 0 }, 0), {}, 0);

function flightOf(ids: readonly string[], parts: Partial<Flight> = {}): Flight {
  return {
    ids,
    items: ids.map(itemOf),
    purpose: 'poll',
    startedAtMs: 5,
    stop: new Stop(),
    done: Promise.resolve([]),
    waiting: 0,
    renamed: new Map(),
    ...parts,
  };
}

/** Reads under way of tasks that are in the schedule as long as they are in `scheduled`. */
function flightsOf(...ids: string[]) {
  const scheduled = new Map(ids.map((id) => [id, itemOf(id)]));
  const flights = new Flights((id) => scheduled.get(id));
  const begin = (...of: string[]) => {
    const flight = flightOf(of, { items: of.map((id) => scheduled.get(id) as Item) });
    flights.add(flight);
    return flight;
  };
  const leave = (id: string) => {
    const item = scheduled.get(id) as Item;
    scheduled.delete(id);
    flights.leaves(item);
  };
  const come = (id: string) => {
    const item = itemOf(id);
    scheduled.set(id, item);
    flights.comes(item);
    return item;
  };
  return { flights, begin, leave, come };
}

test('a flight is found by each of its tasks until it ends', () => {
  const { flights, begin } = flightsOf('a', 'b', 'c');
  const flight = begin('a', 'b');
  const other = begin('c');
  assert.deepEqual([flights.tasks, flights.calls], [3, 2]);
  assert.deepEqual([flights.get('a'), flights.get('b'), flights.get('c')], [flight, flight, other]);
  flights.delete(flight);
  flights.delete(flight);
  assert.deepEqual([flights.tasks, flights.calls, flights.has('a'), flights.has('b')], [1, 1, false, false]);
  assert.equal(flights.get('c'), other);
});

test('a task that leaves the schedule and comes back is still in its flight, and in none that has ended', () => {
  const { flights, begin, leave, come } = flightsOf('a', 'b');
  const flight = begin('a', 'b');
  leave('b');
  assert.deepEqual([flights.get('b'), flights.tasks], [flight, 2]);
  const back = come('b');
  assert.deepEqual([flights.get('b'), flight.items[1], back.flight], [flight, back, flight]);
  leave('a');
  flights.delete(flight);
  assert.deepEqual([flights.has('a'), flights.has('b'), flights.tasks], [false, false, 0]);
  assert.equal(come('a').flight, undefined);
  const idle = flightsOf('a');
  idle.leave('a');
  assert.equal(idle.flights.has('a'), false, 'one that is not read is in none');
});

test('an item that is read anew is not taken out of its flight by the end of an older one', () => {
  const { flights, begin, leave, come } = flightsOf('a');
  const old = begin('a');
  leave('a');
  flights.rename('a', 'z');
  assert.equal(come('a').flight, undefined, 'the older one goes on under another name');
  const fresh = begin('a');
  flights.delete(old);
  assert.deepEqual([flights.get('a'), flights.has('z')], [fresh, false]);
});

test('a read goes on under the name of another task, whether that is there already or comes, and by that alone', () => {
  for (const there of [true, false]) {
    const { flights, begin, come } = flightsOf('a', 'b', 'c');
    const flight = begin('a', 'b');
    const other = begin('c');
    flights.rename('nobody', 'd');
    flights.rename('a', 'c');
    assert.deepEqual([flights.get('a'), flights.get('c'), flights.has('d')], [flight, other, false]);
    if (there) come('d');
    flights.rename('a', 'd');
    const item = there ? flight.items[0] : come('d');
    assert.deepEqual([flights.get('a'), flights.get('d'), flight.ids], [undefined, flight, ['d', 'b']]);
    assert.deepEqual([item?.id, item?.flight, flight.renamed.get('a')], ['d', flight, 'd']);
    flights.delete(flight);
    assert.deepEqual([flights.has('d'), flights.has('b'), flights.has('c')], [false, false, true]);
  }
});

test('a read is begun since a time if it is since that very millisecond', () => {
  const { flights, begin } = flightsOf('a');
  begin('a');
  assert.deepEqual(
    [4, 5, 6].map((ms) => flights.startedSince(ms)),
    [true, true, false],
  );
});

test('who waits is answered for its task, by the name it has now, by the outcome of all where there is one, and not at all for a stranger', async () => {
  const clock = new ManualClock();
  const bounds = { clock, deadlineMs: clock.now() + 100, signal: undefined };
  const failed = fails('transient');
  const flight = flightOf(['d', 'b'], { done: Promise.resolve([running, failed]), renamed: new Map([['a', 'd']]) });
  const answers = ['a', 'd', 'b', 'x'].map((id) => awaitFlight(flight, id, bounds));
  assert.deepEqual(await Promise.all(answers), [running, running, failed, undefined]);
  const whole = flightOf(['a', 'b'], { done: Promise.resolve([failed]) });
  assert.equal(await awaitFlight(whole, 'b', bounds), failed);
});

test('who waits for a flight leaves no timer and no listener, whatever ends the wait', async () => {
  for (const how of ['answer', 'deadline', 'abort', 'fault'] as const) {
    const clock = new ManualClock();
    const controller = new AbortController();
    const { signal } = controller;
    const done: Promise<readonly ReadOutcome[]> =
      how === 'answer'
        ? Promise.resolve([running])
        : how === 'fault'
          ? Promise.reject(new Error('broken'))
          : new Promise(() => {});
    const bounds = { clock, deadlineMs: clock.now() + 100, signal };
    const outcome = awaitFlight(flightOf(['a'], { done }), 'a', bounds);
    assert.equal(getEventListeners(signal, 'abort').length, 1);
    if (how === 'abort') controller.abort();
    await clock.advance(how === 'deadline' ? 99 : 0);
    assert.equal(clock.pending, how === 'deadline' ? 1 : 0);
    await clock.advance(1);
    assert.equal(await outcome, how === 'answer' ? running : undefined);
    assert.deepEqual([clock.pending, getEventListeners(signal, 'abort').length], [0, 0]);
  }
});

test('an answer of another length than the call, and a reader that throws, are the failure of the call as a whole', async () => {
  const kindOf = async (read: TaskReader['read']) => {
    const [outcome, ...more] = await readOnce({ read } as TaskReader, flightOf(['a', 'b']), 1);
    return outcome?.ok === false && more.length === 0 ? `${outcome.failure.kind}: ${outcome.failure.message}` : 'ok';
  };
  assert.match(await kindOf(async () => [running]), /^invalid: the plugin answered 1 outcomes for a batch of 2/);
  assert.match(await kindOf(async () => [running, running, running]), /^invalid: .* 3 outcomes for a batch of 2/);
  assert.equal(await kindOf(async () => [running, running]), 'ok');
  assert.match(await kindOf(() => Promise.reject(new Error('broken'))), /^unknown: reading failed: broken/);
  assert.match(
    await kindOf(() => {
      throw new Error('at once');
    }),
    /^unknown: reading failed: at once/,
  );
});

test('only what one item can do to a whole batch spoils it', () => {
  const spoils = (
    ['process_died', 'deadline', 'invalid', 'unknown', 'transient', 'not_found', 'throttled'] as const
  ).map((kind) => spoilsBatch(fails(kind)));
  assert.deepEqual([...spoils, spoilsBatch(running)], [true, true, true, true, false, false, false, false]);
  const unsent = (code: 'REQUEST_TOO_LARGE' | 'PLUGIN_PAUSED') =>
    spoilsBatch(failedCall('not_admitted', code, 'unsent'));
  assert.deepEqual([unsent('REQUEST_TOO_LARGE'), unsent('PLUGIN_PAUSED')], [true, false]);
});
