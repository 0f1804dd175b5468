import assert from 'node:assert/strict';
import { test } from 'node:test';
import { phaseState } from '../../src/model/phase-state.js';
import type { WatchEvent, WatchFilter, WatchReader } from '../../src/model/watch.js';
import { LOST_POSITION, positionsOf } from '../../src/model/watch-token.js';
import type { TaskStore } from '../../src/store/task-store.js';
import { JoinedWatch } from '../../src/tasks/joined-watch.js';
import { liveTask, storeOf } from '../store/make-store.js';

const ALL: WatchFilter = { plugins: [], handles: [], resumeToken: '', includeCurrent: false };

function watch(stores: readonly TaskStore[], filter: Partial<WatchFilter> = {}): JoinedWatch {
  const { resumeToken = '' } = filter;
  const positions = resumeToken === '' ? undefined : positionsOf(resumeToken, stores.length);
  const positionIn = (part: number) => (positions === undefined ? '' : (positions.get(part) ?? LOST_POSITION));
  return new JoinedWatch(
    new Map(stores.map((store, part) => [part, store.watch({ ...ALL, ...filter, resumeToken: positionIn(part) })])),
  );
}

const storesOf = (count: number, watchRing = 8) =>
  Array.from({ length: count }, () => storeOf({ watchRing }).store) as [TaskStore, ...TaskStore[]];

function toldBy(event: WatchEvent | undefined): string {
  return event?.kind === 'change' ? event.change.task.identity.key : (event?.kind ?? 'the end');
}

/** What is told up to the end, in words. */
async function rest(reader: WatchReader): Promise<string[]> {
  const told: string[] = [];
  for (let event = await reader.next(); event !== undefined; event = await reader.next()) told.push(toldBy(event));
  return told;
}

function drain(stores: readonly TaskStore[]): void {
  for (const store of stores) store.drainWatchers();
}

test('changes of all parts come by one stream, each once, and the draining bookmark once, when all have told theirs', async () => {
  const stores = storesOf(3);
  const reader = watch(stores);
  for (const [at, store] of stores.entries()) for (const key of ['a', 'b']) liveTask(store, `${key}${at}`);
  drain(stores.slice(0, 2));
  const told: string[] = [];
  for (let at = 0; at < 6; at++) told.push(toldBy(await reader.next()));
  assert.deepEqual(told.sort(), ['a0', 'a1', 'a2', 'b0', 'b1', 'b2']);
  const last = reader.next();
  drain(stores.slice(2));
  const event = await last;
  assert.deepEqual([event?.kind, event?.kind === 'bookmark' && event.draining], ['bookmark', true]);
  assert.equal(await reader.next(), undefined);
});

test('a part that is busy keeps no other from being told', async () => {
  const stores = storesOf(2, 64);
  const reader = watch(stores);
  for (let at = 0; at < 20; at++) liveTask(stores[0], `busy${at}`);
  liveTask(stores[1] as TaskStore, 'rare');
  const told = [await reader.next(), await reader.next(), await reader.next()].map(toldBy);
  assert.ok(told.includes('rare'), told.join());
  reader.close();
});

test('a stream is resumed in each part from what its caller was told, and not from what was only looked at', async () => {
  const stores = storesOf(2);
  const reader = watch(stores);
  for (const store of stores) for (const key of ['a', 'b', 'c']) liveTask(store, `${key}${stores.indexOf(store)}`);
  const seen = [await reader.next(), await reader.next(), await reader.next()];
  const { resumeToken } = seen.at(-1) as WatchEvent;
  reader.close();
  const again = watch(stores, { resumeToken });
  drain(stores);
  const told = [...seen.map(toldBy), ...(await rest(again))].filter((what) => what !== 'bookmark');
  assert.deepEqual(told.sort(), ['a0', 'a1', 'b0', 'b1', 'c0', 'c1']);
});

test('a bookmark between changes holds what was passed over, and is good to resume from', async () => {
  const stores = storesOf(2);
  const reader = watch(stores, { plugins: ['other'] });
  const waits = reader.next();
  for (let at = 0; at < 6; at++) liveTask(stores[0], `unwanted${at}`);
  await new Promise((resolve) => setImmediate(resolve));
  await new Promise((resolve) => setImmediate(resolve));
  const { resumeToken } = reader.bookmark();
  for (let at = 6; at < 12; at++) liveTask(stores[0], `unwanted${at}`);
  liveTask(stores[1] as TaskStore, 'wanted', 'other');
  assert.equal(toldBy(await waits), 'wanted');
  reader.close();
  const again = watch(stores, { plugins: ['other'], resumeToken });
  drain(stores);
  assert.deepEqual(await rest(again), ['wanted', 'bookmark'], 'and nothing is said to be missed');
});

test('a token of another number of parts, or of another run, is told as a lag; one that no daemon made is refused', async () => {
  const two = storesOf(2);
  const four = storesOf(4);
  const { resumeToken } = watch(two).bookmark();
  const reader = watch(four, { resumeToken });
  assert.equal(toldBy(await reader.next()), 'lagged');
  reader.close();
  assert.throws(() => watch(four, { resumeToken: 'made up' }), { code: 'RESUME_TOKEN_INVALID' });
});

test('a stream that is closed ends who waits on it', async () => {
  const stores = storesOf(2);
  const reader = watch(stores);
  const waits = reader.next();
  reader.close();
  assert.equal(await waits, undefined);
  assert.deepEqual(
    stores.map(({ watchers }) => watchers),
    [0, 0],
  );
});

test('the current state of all parts is told before what changes', async () => {
  const stores = storesOf(2);
  for (const [at, store] of stores.entries()) liveTask(store, `held${at}`);
  const reader = watch(stores, { includeCurrent: true });
  const told = [toldBy(await reader.next()), toldBy(await reader.next())];
  assert.deepEqual(told.sort(), ['held0', 'held1']);
  const task = stores[1]?.byId('held1-1');
  if (task !== undefined) stores[1]?.observed(task, phaseState('RUNNING'));
  assert.equal(toldBy(await reader.next()), 'held1');
  reader.close();
});
