import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGate } from '../../src/calls/gate.js';
import type { Gate, GateCallOptions, GateConfig } from '../../src/calls/types.js';
import { ManualClock } from '../../src/lib/clock.js';
import { type PluginMethod, type PluginOutcome, UNTIL_SENT } from '../../src/model/plugin-call.js';
import { FakePlugin, fails, failure, resource, running, wideConfig } from './fake-plugin.js';

const full = (atMs: number) => ({ read: { level: 10, atMs }, write: { level: 10, atMs } });

function setUp(config: Partial<GateConfig> = {}, tokens: 'full' | 'none' = 'full') {
  const clock = new ManualClock();
  const plugin = new FakePlugin(() => clock.now());
  const events: string[] = [];
  const gate = createGate({
    plugin,
    config: { ...wideConfig, ...config },
    clock,
    random: () => 0.5,
    snapshot: tokens === 'full' ? full(clock.now()) : undefined,
    events: {
      callEnded: (e) => events.push(`${e.method} ${e.outcome} waited ${e.waitMs} ran ${e.durationMs} x${e.batchSize}`),
      throttled: (e) => events.push(`${e.lane} throttled ${e.pauseMs}`),
      rejected: (e) => events.push(`${e.method} rejected ${e.code}`),
    },
  });
  return { clock, plugin, gate, events };
}

function ask(gate: Gate, method: PluginMethod, options: Partial<GateCallOptions> = {}) {
  const log: PluginOutcome<unknown>[] = [];
  const args = method === 'getMany' ? { items: [resource, resource, resource] } : resource;
  const promise = (gate.call as (m: string, a: unknown, o: GateCallOptions) => Promise<PluginOutcome<unknown>>)(
    method,
    args,
    { admission: 'wait', ...options },
  );
  void promise.then((outcome) => log.push(outcome));
  return { log, promise };
}

function codeOf(outcome: PluginOutcome<unknown> | undefined): string {
  return outcome === undefined ? 'pending' : outcome.ok ? 'ok' : `${outcome.failure.kind} ${outcome.failure.code}`;
}

test('a free slot comes before the token: a call that waits for a slot has taken none', async () => {
  const { clock, plugin, gate } = setUp({ readConcurrency: 1 });
  ask(gate, 'get');
  ask(gate, 'get');
  assert.equal(plugin.sent.length, 1);
  assert.equal(gate.snapshot().read.level, 9);
  plugin.settle(0, running);
  await clock.advance(0);
  assert.equal(plugin.sent.length, 2);
  assert.equal(gate.snapshot().read.level, 8);
});

test('where calls may not leave a call that waits keeps its place, one that may not wait fails, and both go on after a look', async () => {
  let mayWork = false;
  const clock = new ManualClock();
  const plugin = new FakePlugin(() => clock.now());
  const gate = createGate({
    plugin,
    config: wideConfig,
    clock,
    random: () => 0.5,
    snapshot: full(clock.now()),
    mayWork: () => mayWork,
  });
  const waiting = ask(gate, 'create');
  const impatient = ask(gate, 'get', { admission: 'fail-fast' });
  await clock.advance(1_000);
  assert.equal(plugin.sent.length, 0);
  assert.equal(gate.capacity('read').open, false);
  assert.equal(codeOf(impatient.log[0]), 'not_admitted LEASE_LAPSED');
  assert.equal(waiting.log.length, 0);
  mayWork = true;
  gate.look();
  assert.equal(plugin.sent.length, 1);
  assert.equal(gate.capacity('read').open, true);
});

test('a channel that is not writable takes no token, and the call goes out when it is', async () => {
  const { clock, plugin, gate } = setUp();
  plugin.writable = false;
  const call = ask(gate, 'get');
  await clock.advance(1_000);
  assert.equal(plugin.sent.length, 0);
  assert.equal(gate.capacity().open, false);
  assert.equal(gate.snapshot().read.level, 10);
  plugin.nudge(); // told too early: looks again later, and neither spins nor gives up
  await clock.advance(100);
  assert.equal(plugin.sent.length, 0);
  plugin.writable = true;
  await clock.advance(0);
  assert.equal(plugin.sent.length, 1);
  plugin.settle(0, running);
  assert.equal(codeOf(await call.promise), 'ok');
});

test('a gate of unknown level starts empty and sends at its rate', async () => {
  const { clock, plugin, gate } = setUp({}, 'none');
  for (let i = 0; i < 3; i++) ask(gate, 'get');
  assert.equal(plugin.sent.length, 0);
  await clock.advance(99);
  assert.equal(plugin.sent.length, 0);
  await clock.advance(1);
  assert.equal(plugin.sent.length, 1);
  await clock.advance(100);
  assert.equal(plugin.sent.length, 2);
});

test('reads and writes have limits, slots and queues of their own; pure methods need none', async () => {
  const { clock, plugin, gate } = setUp({ readConcurrency: 1 });
  ask(gate, 'get');
  ask(gate, 'getLogs');
  ask(gate, 'create');
  ask(gate, 'do');
  ask(gate, 'resourceRequirements');
  ask(gate, 'batchKeys');
  await clock.advance(0);
  assert.deepEqual(
    plugin.sent.map((c) => c.method),
    ['get', 'create', 'do', 'resourceRequirements', 'batchKeys'],
  );
  assert.deepEqual([gate.snapshot().read.level, gate.snapshot().write.level], [9, 8]);
});

test('a batch is one call to slot and limit', async () => {
  const { plugin, gate, events } = setUp();
  const batch = ask(gate, 'getMany');
  assert.equal(gate.snapshot().read.level, 9);
  assert.equal(gate.capacity().inFlight, 1);
  plugin.settle(0, { ok: true, value: [running, running, running] });
  await batch.promise;
  assert.deepEqual(events, ['getMany ok waited 0 ran 0 x3']);
});

test('deletes go before creates and each is first come, first served', async () => {
  const { clock, plugin, gate } = setUp({ writeConcurrency: 1 });
  const order = ['create', 'create', 'delete', 'do', 'delete'] as const;
  for (const method of order) ask(gate, method);
  while (plugin.open.length > 0) {
    plugin.settle(0, running);
    await clock.advance(0);
  }
  assert.deepEqual(
    plugin.sent.map((c) => c.method),
    ['create', 'delete', 'delete', 'create', 'do'],
  );
});

test('a call that cannot have its token before its deadline fails at once with the time to wait', async () => {
  const { clock, plugin, gate, events } = setUp({}, 'none');
  const soon = ask(gate, 'get', { admission: 'fail-fast', deadlineMs: clock.now() + 150 });
  const late = ask(gate, 'get', { admission: 'fail-fast', deadlineMs: clock.now() + 150 });
  await clock.advance(0);
  assert.equal(codeOf(soon.log[0]), 'pending');
  assert.equal(codeOf(late.log[0]), 'not_admitted ADMISSION_DEADLINE');
  assert.equal(late.log[0]?.ok === false && late.log[0].failure.retryAfterMs, 200);
  await clock.advance(100);
  assert.equal(plugin.sent.length, 1);
  assert.deepEqual(events, ['get rejected ADMISSION_DEADLINE']);
});

test('the same call waits when it may, and leaves the queue at its deadline without a token', async () => {
  const { clock, plugin, gate } = setUp({ readConcurrency: 1 });
  ask(gate, 'get');
  const waiting = ask(gate, 'get', { deadlineMs: clock.now() + 500 });
  const behind = ask(gate, 'get');
  await clock.advance(499);
  assert.equal(codeOf(waiting.log[0]), 'pending');
  await clock.advance(1);
  assert.equal(codeOf(waiting.log[0]), 'not_admitted ADMISSION_DEADLINE');
  plugin.settle(0, running);
  await clock.advance(0);
  plugin.settle(0, running);
  assert.equal(codeOf(await behind.promise), 'ok');
  assert.equal(plugin.sent.length, 2);
  assert.equal(gate.snapshot().read.level, 9, 'the first was refilled, the second is spent, the third took none');
});

test('a call without a deadline waits no longer than maxWaitMs and runs no longer than its own bound', async () => {
  const { clock, plugin, gate } = setUp({ readConcurrency: 1, maxWaitMs: 70_000 });
  const first = ask(gate, 'get');
  const second = ask(gate, 'get');
  assert.equal(plugin.sent[0]?.deadlineMs, clock.now() + 30_000);
  await clock.advance(31_000); // the channel never settles: the guard frees the slot a second after the deadline
  assert.equal(codeOf(first.log[0]), 'deadline PLUGIN_DEADLINE');
  assert.equal(plugin.sent.length, 2);
  plugin.settle(0, running);
  await clock.advance(0);
  assert.equal(gate.capacity().inFlight, 1, 'the late answer of the first call frees no second slot');
  plugin.settle(0, running);
  assert.equal(codeOf(await second.promise), 'ok');
});

test('cancelling a call that waits takes it out of the queue; one that came cancelled is never sent', async () => {
  const { clock, plugin, gate } = setUp({ readConcurrency: 1 });
  ask(gate, 'get');
  const stop = new AbortController();
  const waiting = ask(gate, 'get', { signal: stop.signal });
  stop.abort();
  assert.equal(codeOf(await waiting.promise), 'cancelled CALL_CANCELLED');
  assert.equal(gate.capacity().queued, 0);
  plugin.settle(0, running);
  await clock.advance(0);
  const dead = ask(gate, 'get', { signal: stop.signal });
  assert.equal(codeOf(await dead.promise), 'cancelled CALL_CANCELLED');
  assert.equal(plugin.sent.length, 1);
});

test('a throttle rests its lane for as long as it asks, fails what cannot outlast it, and leaves the other lane alone', async () => {
  const { clock, plugin, gate, events } = setUp({ readConcurrency: 1 });
  const throttled = ask(gate, 'get');
  const hopeless = ask(gate, 'get', { admission: 'fail-fast', deadlineMs: clock.now() + 4_000 });
  const patient = ask(gate, 'get');
  plugin.settle(0, fails('throttled', 5_000));
  assert.equal(codeOf(await throttled.promise), 'throttled X');
  assert.equal(codeOf(await hopeless.promise), 'not_admitted RATE_LIMIT_THROTTLED');
  const early = ask(gate, 'get', { admission: 'fail-fast', deadlineMs: clock.now() + 1_000 });
  assert.equal(codeOf(await early.promise), 'not_admitted RATE_LIMIT_THROTTLED');
  ask(gate, 'create');
  await clock.advance(4_999);
  assert.deepEqual(
    plugin.sent.map((c) => c.method),
    ['get', 'create'],
  );
  assert.equal(gate.capacity().pausedUntilMs, clock.now() + 1);
  await clock.advance(1);
  assert.equal(plugin.sent.length, 3);
  assert.equal(codeOf(patient.log[0]), 'pending');
  assert.ok(events.includes('read throttled 5000'));
});

test('a throttle without a time rests ever longer, once for all calls that were under way, until a call is taken', async () => {
  const { clock, plugin, gate, events } = setUp({ readConcurrency: 3 });
  const round = async (n: number, outcome: PluginOutcome<unknown>) => {
    for (let i = 0; i < n; i++) ask(gate, 'get');
    await clock.advance(0);
    while (plugin.open.length > 0) plugin.settle(0, outcome);
    await clock.advance(200_000);
  };
  await round(3, fails('throttled'));
  await round(1, fails('throttled', 0));
  await round(1, fails('throttled'));
  await round(1, running);
  await round(1, fails('throttled'));
  assert.deepEqual(
    events.filter((e) => e.includes('lane') || e.includes('read throttled')),
    ['1000', '1000', '1000', '2000', '4000', '1000'].map((ms) => `read throttled ${ms}`),
  );
});

test('one throttled item of a batch rests the lane', async () => {
  const { plugin, gate } = setUp();
  const batch = ask(gate, 'getMany');
  plugin.settle(0, { ok: true, value: [running, fails('throttled', 3_000), fails('throttled', 2_000)] });
  assert.equal(codeOf(await batch.promise), 'ok');
  assert.equal(gate.capacity().msUntilToken, 3_000);
});

test('whoever waits is told that the operator holds the plugin back, and when it goes on; what was sent is told nothing', () => {
  const { gate, plugin } = setUp({ writeConcurrency: 1 });
  const told: [string, string | undefined][] = [];
  const create = (name: string) => ask(gate, 'create', { onHeld: (why) => told.push([name, why]) });
  create('sent');
  create('before');
  assert.deepEqual([plugin.sent.length, told], [1, []]);
  gate.pause();
  create('after');
  const why = `an operator paused plugin ${plugin.id}`;
  assert.deepEqual(told, [
    ['before', why],
    ['after', why],
  ]);
  gate.resume();
  assert.deepEqual(told.slice(2), [
    ['before', undefined],
    ['after', undefined],
  ]);
});

test('an operator pause sends nothing, deletes included; what waits goes out on resume, deletes first', async () => {
  const { clock, plugin, gate } = setUp();
  gate.pause();
  gate.pause();
  ask(gate, 'create');
  ask(gate, 'delete');
  const read = ask(gate, 'get', { admission: 'fail-fast', deadlineMs: clock.now() + 10_000 });
  assert.equal(codeOf(await read.promise), 'not_admitted PLUGIN_PAUSED');
  const waited = ask(gate, 'create', { deadlineMs: clock.now() + 5_000 });
  await clock.advance(10_000);
  assert.equal(codeOf(waited.log[0]), 'not_admitted PLUGIN_PAUSED');
  assert.equal(plugin.sent.length, 0);
  gate.resume();
  assert.deepEqual(
    plugin.sent.map((c) => c.method),
    ['delete', 'create'],
  );
});

test('a quarantined plugin fails at once whoever cannot wait, also those who waited already', async () => {
  const { clock, plugin, gate } = setUp();
  plugin.writable = false;
  const early = ask(gate, 'get', { admission: 'fail-fast', deadlineMs: clock.now() + 9_000 });
  plugin.state = 'quarantined';
  plugin.nudge();
  assert.equal(codeOf(await early.promise), 'not_admitted PLUGIN_QUARANTINED');
  const late = ask(gate, 'do', { admission: 'fail-fast', deadlineMs: clock.now() + 9_000 });
  assert.equal(codeOf(await late.promise), 'not_admitted PLUGIN_QUARANTINED');
  const patient = ask(gate, 'create');
  plugin.state = 'serving';
  plugin.writable = true;
  await clock.advance(50);
  plugin.settle(0, running);
  assert.equal(codeOf(await patient.promise), 'ok');
});

test('the queue is bounded and says so', async () => {
  const { gate } = setUp({ readConcurrency: 1, maxQueue: 1 });
  ask(gate, 'get');
  ask(gate, 'get');
  const third = ask(gate, 'get');
  const outcome = await third.promise;
  assert.equal(codeOf(outcome), 'not_admitted ADMISSION_DEADLINE');
  assert.match(outcome.ok ? '' : outcome.failure.message, /1 calls wait already/);
});

test('a channel that throws or rejects costs the call and not the slot', async () => {
  const { plugin, gate } = setUp({ readConcurrency: 1 });
  plugin.throwsOnSend = true;
  assert.equal(codeOf(await ask(gate, 'get').promise), 'unknown PLUGIN_THREW_UNKNOWN');
  assert.equal(codeOf(await ask(gate, 'batchKeys').promise), 'unknown PLUGIN_THREW_UNKNOWN');
  plugin.throwsOnSend = false;
  const rejected = ask(gate, 'get');
  plugin.open[0]?.settle.reject(new Error('pipe'));
  assert.equal(codeOf(await rejected.promise), 'unknown PLUGIN_THREW_UNKNOWN');
  assert.equal(gate.capacity().slotsFree, 1);
});

test('a reload changes rate, burst and slots in place and keeps the level', async () => {
  const { clock, plugin, gate } = setUp({ readConcurrency: 1 });
  let told = 0;
  gate.onReadCapacity(() => told++);
  for (let i = 0; i < 4; i++) ask(gate, 'get');
  gate.reconfigure({ ...wideConfig, readConcurrency: 3, readRateLimiter: { qps: 1, burst: 50 } });
  assert.equal(plugin.sent.length, 3);
  assert.equal(gate.snapshot().read.level, 7);
  assert.ok(told > 0);
  gate.reconfigure({ ...wideConfig, readConcurrency: 1 });
  plugin.settle(0, running);
  await clock.advance(0);
  assert.equal(plugin.sent.length, 3, 'calls in flight over the new bound are left to finish');
});

test('closing fails what waits, lets calls in flight finish, and leaves no timer behind', async () => {
  const { clock, plugin, gate } = setUp({ readConcurrency: 1 });
  const running1 = ask(gate, 'get');
  const waiting = ask(gate, 'get');
  let closed = false;
  const closing = gate.close().then(() => (closed = true));
  assert.equal(codeOf(await waiting.promise), 'cancelled DAEMON_DRAINING');
  assert.equal(codeOf(await ask(gate, 'create').promise), 'cancelled DAEMON_DRAINING');
  assert.equal(closed, false);
  plugin.settle(0, running);
  assert.equal(codeOf(await running1.promise), 'ok');
  await closing;
  await gate.close();
  assert.equal(clock.pending, 0);
});

test('the failure of a plugin reaches the caller as it is', async () => {
  const { plugin, gate, events } = setUp();
  const call = ask(gate, 'create');
  plugin.settle(0, fails('permanent'));
  assert.deepEqual(await call.promise, { ok: false, failure: failure('permanent') });
  assert.deepEqual(events, ['create permanent waited 0 ran 0 x1']);
});

test('bounds until sent end the wait of a call, and not the call', async () => {
  const { clock, plugin, gate } = setUp({ readConcurrency: 1, callTimeoutMs: 60_000 });
  const stop = new AbortController();
  const options = { deadlineMs: clock.now() + 1_000, signal: stop.signal, boundsUntilSent: true } as const;
  const sent = ask(gate, 'get', options);
  const late = ask(gate, 'get', options);
  await clock.advance(1_000);
  const left = ask(gate, 'get', { ...options, deadlineMs: clock.now() + 9_000 });
  stop.abort();
  await clock.advance(0);
  assert.deepEqual(
    [sent, late, left].map(({ log }) => codeOf(log[0])),
    ['pending', 'not_admitted ADMISSION_DEADLINE', 'cancelled CALL_CANCELLED'],
  );
  assert.equal(plugin.sent[0]?.deadlineMs, clock.now() + 59_000);
  assert.equal(plugin.sent[0]?.signal, undefined);
  plugin.settle(0, running);
  await clock.advance(0);
  assert.equal(codeOf(sent.log[0]), 'ok');
});

test('a call that takes no slot is told of when it ends, and a gate that closes waits for it', async () => {
  const { clock, plugin, gate, events } = setUp();
  const first = ask(gate, 'resourceRequirements');
  const second = ask(gate, 'resourceRequirements');
  await clock.advance(0);
  let closed = false;
  void gate.close().then(() => {
    closed = true;
  });
  plugin.settle(0, running);
  await clock.advance(5);
  assert.equal(closed, false, 'the second one is under way');
  plugin.settle(0, running);
  await clock.advance(5);
  assert.equal(closed, true);
  assert.deepEqual([first.log.length, second.log.length, events.length], [1, 1, 2]);
});

test('a call without a deadline waits for as long as the gate lets one wait, and no longer', async () => {
  const { clock, gate } = setUp({ readConcurrency: 1, maxWaitMs: 5_000, callTimeoutMs: 60_000 });
  ask(gate, 'get');
  const waiting = ask(gate, 'get');
  await clock.advance(4_999);
  assert.equal(codeOf(waiting.log[0]), 'pending');
  await clock.advance(1);
  assert.equal(codeOf(waiting.log[0]), 'not_admitted ADMISSION_DEADLINE');
  const outcome = waiting.log[0];
  assert.equal(outcome?.ok === false && outcome.failure.retryAfterMs, 1, 'a token is there: the next try is at once');
});

test('a line that waits for a slot looks at no clock until one is free', async () => {
  const { clock, gate } = setUp({ readConcurrency: 1 });
  ask(gate, 'get');
  const before = clock.pending;
  ask(gate, 'get');
  assert.equal(clock.pending, before + 1, 'the deadline of the one that waits, and no timer of the line');
});

test('a pause that ends with the deadline of a call is why it fails, and not the spent limit', async () => {
  const { clock, plugin, gate } = setUp();
  ask(gate, 'get');
  plugin.settle(0, fails('throttled', 5_000));
  await clock.advance(0);
  const until = gate.capacity('read').pausedUntilMs!;
  const atItsEnd = ask(gate, 'get', { admission: 'fail-fast', deadlineMs: until });
  await clock.advance(0);
  assert.equal(codeOf(atItsEnd.log[0]), 'not_admitted RATE_LIMIT_THROTTLED');
});

test('a throttle refuses at once a waiting call whose deadline is its end, and lets one wait that outlasts it', async () => {
  const { clock, plugin, gate } = setUp({ readConcurrency: 1 });
  ask(gate, 'get');
  const until = clock.now() + 5_000;
  const atItsEnd = ask(gate, 'get', { admission: 'fail-fast', deadlineMs: until });
  const after = ask(gate, 'get', { admission: 'fail-fast', deadlineMs: until + 1_000 });
  plugin.settle(0, fails('throttled', 5_000));
  await clock.advance(0);
  assert.equal(codeOf(atItsEnd.log[0]), 'not_admitted RATE_LIMIT_THROTTLED');
  assert.equal(codeOf(after.log[0]), 'pending');
});

test('a call that waits until it is sent keeps its place, however long and behind however many, and its signal takes it out', async () => {
  const { clock, gate, plugin } = setUp({ writeConcurrency: 1, maxQueue: 1, maxWaitMs: 5_000 });
  gate.pause();
  const pending = clock.pending;
  const waiting = [1, 2, 3].map(() => ask(gate, 'create', { deadlineMs: UNTIL_SENT }));
  const leaves = new AbortController();
  const gone = ask(gate, 'create', { deadlineMs: UNTIL_SENT, signal: leaves.signal });
  assert.equal(clock.pending, pending, 'no timer for what has no deadline');
  assert.equal(codeOf(await ask(gate, 'create').promise), 'not_admitted ADMISSION_DEADLINE');
  await clock.advance(7 * 24 * 3_600_000);
  leaves.abort();
  assert.equal(codeOf(await gone.promise), 'cancelled CALL_CANCELLED');
  assert.equal(plugin.sent.length, 0);
  gate.resume();
  for (const [i, { promise }] of waiting.entries()) {
    await clock.advance(10);
    assert.equal(plugin.sent.length, i + 1);
    assert.equal(plugin.sent[i]?.deadlineMs, clock.now() - 10 + 30_000, 'it runs to its own bound');
    plugin.settle(0, running);
    assert.equal(codeOf(await promise), 'ok');
  }
});

test('an operator pause fails at once whoever waited and cannot, and tells pollers when it is over', async () => {
  const { clock, gate } = setUp({ readConcurrency: 1 });
  ask(gate, 'get');
  const cannotWait = ask(gate, 'get', { admission: 'fail-fast', deadlineMs: clock.now() + 20_000 });
  const canWait = ask(gate, 'get');
  await clock.advance(0);
  assert.deepEqual([cannotWait.log.length, canWait.log.length], [0, 0]);
  gate.pause();
  await clock.advance(0);
  assert.deepEqual([codeOf(cannotWait.log[0]), canWait.log.length], ['not_admitted PLUGIN_PAUSED', 0]);
  let told = 0;
  gate.onReadCapacity(() => told++);
  gate.resume();
  assert.equal(told, 1);
});

test('who calls is told at the send how long the call may take, by the bounds of calls that hold then', async () => {
  const { clock, plugin, gate } = setUp({ callTimeoutMs: 7_000 });
  const told: number[] = [];
  const onSent = (ms: number) => void told.push(ms);
  ask(gate, 'get', { onSent });
  gate.reconfigure({ ...wideConfig, callTimeoutMs: 3_000 });
  ask(gate, 'get', { onSent });
  ask(gate, 'create', { onSent, deadlineMs: clock.now() + 2_000 });
  assert.deepEqual(told, [7_000, 3_000, 2_000]);
  assert.deepEqual(
    plugin.sent.map(({ deadlineMs }) => deadlineMs - clock.now()),
    told,
  );
});

test('what is to be done before the send is told how long the call may take', async () => {
  const { clock, plugin, gate } = setUp({ callTimeoutMs: 7_000 });
  const told: number[] = [];
  ask(gate, 'create', {
    beforeSend: async (ms) => {
      told.push(ms);
    },
  });
  await clock.advance(0);
  assert.deepEqual([told, plugin.sent.length], [[7_000], 1]);
});

test('a gate that closes while calls that cannot be sent yet wait leaves no timer for them', async () => {
  const { clock, gate } = setUp({}, 'none');
  const waiting = [ask(gate, 'get'), ask(gate, 'create')];
  assert.ok(clock.pending > 0);
  await gate.close();
  assert.deepEqual(
    waiting.map(({ log }) => codeOf(log[0])),
    ['cancelled DAEMON_DRAINING', 'cancelled DAEMON_DRAINING'],
  );
  assert.equal(clock.pending, 0);
});

test('a full queue says when the call after those that wait would have its turn', async () => {
  const { gate } = setUp({ maxQueue: 2 }, 'none');
  for (let i = 0; i < 2; i++) ask(gate, 'get');
  const outcome = await ask(gate, 'get').promise;
  assert.equal(!outcome.ok && outcome.failure.retryAfterMs, 300, 'the third token of ten a second');
});

test('a call whose deadline passes in the line says when the next one may be sent', async () => {
  const { clock, gate } = setUp({ readRateLimiter: { qps: 0.1, burst: 1 } }, 'none');
  const waiting = ask(gate, 'get', { deadlineMs: clock.now() + 4_000 });
  await clock.advance(4_000);
  const [outcome] = waiting.log;
  assert.equal(outcome?.ok === false && outcome.failure.retryAfterMs, 6_000);
});

test('the rest that a refusal tells is in whole milliseconds and not too short, whatever the remote asked for', async () => {
  const { clock, plugin, gate } = setUp({ readConcurrency: 1 });
  ask(gate, 'get');
  const waiting = ask(gate, 'get', { admission: 'fail-fast', deadlineMs: clock.now() + 900 });
  plugin.settle(0, fails('throttled', 1_000.4));
  await clock.advance(0);
  const [outcome] = waiting.log;
  assert.match(outcome?.ok === false ? outcome.failure.message : '', / 1001 ms away/);
});
