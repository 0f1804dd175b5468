import assert from 'node:assert/strict';
import { test } from 'node:test';
import { DEFAULT_PLUGIN_CONFIG } from '../../src/model/options/plugin.js';
import type { WatchFilter } from '../../src/model/watch.js';
import { created, type Harness, HINTS, makeHarness, ok, running, settle } from './harness.js';

const HOUR = 3_600_000;

const filterOf = (parts: Partial<WatchFilter> = {}): WatchFilter => ({
  plugins: [],
  handles: [],
  resumeToken: '',
  includeCurrent: false,
  ...parts,
});

async function withTasks(...names: string[]) {
  const h = await makeHarness({ config: { readRateLimiter: { qps: 10, burst: 10 } } });
  h.plugin.on.create = (args) => created(args.idempotencyKey);
  h.plugin.on.get = () => running();
  const handles: Buffer[] = [];
  for (const name of names) handles.push((await settle(h.clock, h.tasks.create(h.spec(name), h.scope()))).handle);
  return { h, handles };
}

/** Reads of each task in the hours to come, in the order of their creation. */
async function readsIn(h: Harness, hours: number): Promise<number[]> {
  const from = h.plugin.calls.length;
  await h.clock.advance(hours * HOUR);
  const counts = new Map<string, number>();
  for (const { method, args } of h.plugin.calls.slice(from)) {
    if (method !== 'get') continue;
    const meta = String((args as { meta: Buffer }).meta);
    counts.set(meta, (counts.get(meta) ?? 0) + 1);
  }
  return [...h.store.listed()].map((task) => counts.get(String(task.meta)) ?? 0);
}

/** Reads of a task for which an engine asks all the time. */
async function readsOfAsked(): Promise<number> {
  const { h, handles } = await withTasks('asked');
  await h.clock.advance(12 * HOUR);
  const from = h.plugin.count('get');
  for (let i = 0; i < 12; i++) {
    await settle(h.clock, h.tasks.status(handles[0]!, HINTS, h.scope()));
    await h.clock.advance(HOUR / 12);
  }
  const reads = h.plugin.count('get') - from;
  await h.stop();
  return reads;
}

test('a task that is followed by a Watch alone is read as often as one that is asked for, and less once the stream has ended', async () => {
  const usual = await readsOfAsked();
  const filters: Record<string, (handles: readonly Buffer[]) => WatchFilter> = {
    'of all': () => filterOf(),
    'of its plugin': () => filterOf({ plugins: ['fake'] }),
    'of its handle': (handles) => filterOf({ handles: [handles[0]!] }),
  };
  for (const [what, filter] of Object.entries(filters)) {
    const { h, handles } = await withTasks('followed', 'other');
    await h.clock.advance(12 * HOUR);
    const before = h.plugin.count('get');
    const reader = h.tasks.watch(filter(handles));
    await h.clock.advance(60_000);
    assert.ok(h.plugin.count('get') > before, `${what}: it is read soon after the stream began`);
    await h.clock.advance(11 * HOUR);
    const [followed = 0, other = 0] = await readsIn(h, 1);
    assert.ok(followed >= usual / 2, `${what}: ${followed} reads, ${usual} of one that is asked for`);
    if (what === 'of its handle') assert.ok(other < followed / 3, `${other} reads of the other`);
    else assert.ok(other >= usual / 2);
    reader.close();
    await h.clock.advance(24 * HOUR);
    const [left = 0] = await readsIn(h, 1);
    assert.ok(left < followed / 3, `${what}: ${left} reads an hour, a day after it ended`);
    await h.stop();
  }
});

test('a Watch of another plugin, or of what is over, asks for nothing', async () => {
  const { h } = await withTasks('a');
  const reader = h.tasks.watch(filterOf({ plugins: ['another'] }));
  await h.clock.advance(24 * HOUR);
  const [reads = 0] = await readsIn(h, 1);
  assert.ok(reads <= 2, `${reads}`);
  reader.close();
  await h.stop();
});

test('a Watch that names a handle shows that its create was delivered; one of all does not', async () => {
  for (const named of [true, false]) {
    const { h } = await withTasks();
    const answer = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    answer.undelivered();
    const reader = h.tasks.watch(filterOf(named ? { handles: [answer.handle] } : {}));
    assert.equal(answer.task.confirmed, named);
    await h.clock.advance(HOUR);
    assert.equal(h.plugin.count('delete') > 0, !named);
    reader.close();
    await h.stop();
  }
});

test('a task that nobody asks for is read as one that is asked for, while a create of whatever quota waits for its place in the cache', async () => {
  const usual = await readsOfAsked();
  const h = await makeHarness({
    config: {
      readRateLimiter: { qps: 10, burst: 10 },
      caching: { ...DEFAULT_PLUGIN_CONFIG.caching, size: 1 },
      resourceQuotas: { other: 5 },
    },
    plugin: (plugin) => {
      plugin.features.resourceRequirements = true;
    },
  });
  let namespace = 'default';
  h.plugin.on.resourceRequirements = () => ok({ namespace });
  h.plugin.on.create = (args) => created(args.idempotencyKey);
  h.plugin.on.get = () => running();
  await settle(h.clock, h.tasks.create(h.spec('idle'), h.scope()));
  await h.clock.advance(12 * HOUR);
  const [alone] = await readsIn(h, 1);
  namespace = 'other';
  const waiting = await settle(h.clock, h.tasks.create(h.spec('waiting'), h.scope()));
  assert.match(waiting.task.state.reason, /caching\.size/);
  const [wanted] = await readsIn(h, 1);
  assert.ok(Number(alone) < usual / 4, `${alone} reads of a task nobody asks for`);
  assert.ok(
    Number(wanted) > usual * 0.8,
    `${wanted} reads of one whose place is waited for, ${usual} of one that is asked for`,
  );
  await h.stop();
});
