import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGate } from '../../src/calls/gate.js';
import type { GateConfig } from '../../src/calls/types.js';
import { ManualClock } from '../../src/lib/clock.js';
import type { PluginOutcome } from '../../src/model/plugin-call.js';
import { FakePlugin, fails, resource, running, wideConfig } from './fake-plugin.js';

const HOUR_MS = 3_600_000;

function setUp(config: Partial<GateConfig> = {}, level = 10) {
  const clock = new ManualClock();
  const plugin = new FakePlugin(() => clock.now());
  const lane = { level, atMs: clock.now() };
  const snapshot = { read: lane, write: lane };
  const gate = createGate({ plugin, config: { ...wideConfig, ...config }, clock, random: () => 0.5, snapshot });
  return { clock, plugin, gate };
}

test('a lane is open with a free slot, a token, no line and a plugin that takes calls, and not without any of them', async () => {
  const { gate } = setUp();
  const open = () => gate.capacity('read').open;
  assert.equal(open(), true);
  void gate.call('get', resource, { admission: 'wait' });
  assert.equal(open(), true, 'one slot is left');
  void gate.call('get', resource, { admission: 'wait' });
  assert.deepEqual([open(), gate.capacity('read').slotsFree], [false, 0]);
  void gate.call('get', resource, { admission: 'wait' });
  assert.deepEqual([open(), gate.capacity('read').queued, gate.capacity('read').tokensNow], [false, 1, 7]);
  assert.equal(setUp({}, 0).gate.capacity('read').open, false, 'without a token');
  assert.equal(setUp({}, 1).gate.capacity('read').open, true, 'with one');
  const blocked = setUp();
  blocked.plugin.writable = false;
  assert.equal(blocked.gate.capacity('read').open, false);
  const paused = setUp();
  paused.gate.pause();
  assert.equal(paused.gate.capacity('read').open, false);
  paused.gate.resume();
  assert.equal(paused.gate.capacity('read').open, true);
});

test('the line counts as spent: a lane tells the time to the token behind those who wait', async () => {
  const { gate } = setUp({ readConcurrency: 1 }, 0);
  for (let i = 0; i < 3; i++) void gate.call('get', resource, { admission: 'wait' });
  const { msUntilToken, tokensNow, queued, open } = gate.capacity('read');
  assert.deepEqual([msUntilToken, tokensNow, queued, open], [400, 0, 3, false]);
});

test('who fails fast behind a line is told the time to its own place, and one that comes at its deadline is too late', async () => {
  const { clock, gate } = setUp({}, 0);
  void gate.call('get', resource, { admission: 'wait' });
  const ask = (inMs: number) => gate.call('get', resource, { admission: 'fail-fast', deadlineMs: clock.now() + inMs });
  const atDeadline = await ask(200);
  assert.equal(atDeadline.ok ? undefined : atDeadline.failure.retryAfterMs, 200);
  const past = await gate.call('get', resource, { admission: 'wait', deadlineMs: clock.now() });
  assert.equal(past.ok ? undefined : past.failure.code, 'ADMISSION_DEADLINE');
  let refused = false;
  void ask(201).then(() => {
    refused = true;
  });
  await clock.advance(0);
  assert.equal(refused, false);
});

test('no failure asks anybody to wait longer than an hour, single or in a batch, and shorter waits stay as they are', async () => {
  for (const [asked, told] of [
    [HOUR_MS + 1, HOUR_MS],
    [HOUR_MS, HOUR_MS],
    [HOUR_MS - 1, HOUR_MS - 1],
    [undefined, undefined],
  ]) {
    const { plugin, gate } = setUp();
    const single = gate.call('get', resource, { admission: 'wait' });
    const batch = gate.call('getMany', { items: [resource, resource] }, { admission: 'wait' });
    plugin.settle(0, fails('transient' as never, asked));
    plugin.settle(0, { ok: true, value: [running, fails('transient' as never, asked)] });
    assert.deepEqual(await single, fails('transient' as never, told));
    assert.deepEqual(await batch, { ok: true, value: [running, fails('transient' as never, told)] });
  }
});

test('of the times that throttled items of a batch ask for the longest counts, and none that is no time', async () => {
  const restOf = async (items: PluginOutcome<unknown>[]) => {
    const { clock, plugin, gate } = setUp();
    const startMs = clock.now();
    const batch = gate.call('getMany', { items: items.map(() => resource) }, { admission: 'wait' });
    plugin.settle(0, { ok: true, value: items });
    await batch;
    return (gate.capacity('read').pausedUntilMs ?? startMs) - startMs;
  };
  assert.equal(await restOf([fails('throttled', 2_000), running, fails('throttled', 7_000)]), 7_000);
  assert.equal(await restOf([fails('throttled', 1)]), 1);
  const noTimes = [Number.NaN, Number.NEGATIVE_INFINITY, -5, 0, undefined];
  assert.equal(await restOf(noTimes.map((ms) => fails('throttled', ms))), 1_000, 'the first back-off');
  assert.equal(await restOf([fails('permanent', 9_000), running]), 0);
});

test('do runs for its own time and every other call for that of calls', async () => {
  const { clock, plugin, gate } = setUp({ callTimeoutMs: 1_000, doTimeoutMs: 9_000 });
  void gate.call('get', resource, { admission: 'wait' });
  void gate.call('do' as never, resource as never, { admission: 'wait' });
  assert.deepEqual(
    plugin.sent.map((call) => call.deadlineMs - clock.now()),
    [1_000, 9_000],
  );
});
