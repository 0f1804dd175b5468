import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { createGate } from '../../src/calls/gate.js';
import type { GateConfig, GateSnapshot } from '../../src/calls/types.js';
import { ManualClock } from '../../src/lib/clock.js';
import type { PluginMethod, PluginOutcome } from '../../src/model/plugin-call.js';
import { methodTraits } from '../../src/model/plugin-methods.js';
import { FakePlugin, fails, resource, running, wideConfig } from './fake-plugin.js';

const methods: readonly PluginMethod[] = ['get', 'getMany', 'getLogs', 'create', 'delete', 'do'];
const outcomes = [
  running,
  fails('throttled', 700),
  fails('throttled'),
  fails('transient'),
  fails('not_found'),
  fails('process_died'),
  fails('deadline'),
  fails('invalid'),
];

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant('call' as const),
      method: fc.constantFrom(...methods),
      failFast: fc.boolean(),
      deadlineMs: fc.option(fc.integer({ min: -10, max: 4_000 }), { nil: undefined }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ do: fc.constant('settle' as const), n: fc.nat(6), outcome: fc.constantFrom(...outcomes) }),
  },
  { weight: 5, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 1_500 }) }) },
  fc.record({ do: fc.constant('cancel' as const), n: fc.nat(10) }),
  fc.record({ do: fc.constant('writable' as const), value: fc.boolean() }),
  fc.record({ do: fc.constant('pause' as const), value: fc.boolean() }),
  fc.record({
    do: fc.constant('reload' as const),
    qps: fc.double({ min: 0.5, max: 20, noNaN: true }),
    burst: fc.integer({ min: 1, max: 8 }),
    slots: fc.integer({ min: 1, max: 4 }),
  }),
  fc.record({ do: fc.constant('restart' as const), clean: fc.boolean() }),
);

interface Asked {
  readonly method: PluginMethod;
  readonly args: object;
  readonly stop: AbortController;
  readonly answers: PluginOutcome<unknown>[];
  readonly failFast: boolean;
}

type Step = typeof step extends fc.Arbitrary<infer S> ? S : never;

/** Runs a schedule against a gate and checks the rules at every send. */
class World {
  readonly clock = new ManualClock();
  readonly plugin = new FakePlugin(() => this.clock.now());
  readonly asked: Asked[] = [];
  readonly sends: { lane: string; refilled: number; index: number }[] = [];
  config: GateConfig = { ...wideConfig, readRateLimiter: { qps: 4, burst: 3 }, writeRateLimiter: { qps: 4, burst: 3 } };
  gate = this.#start(undefined);
  refilled = 0;
  bursts = [{ fromSend: 0, burst: 3 }];
  #lastMs = this.clock.now();
  #seen = 0;
  #widest = 2;

  #start(snapshot: GateSnapshot | undefined) {
    return createGate({ plugin: this.plugin, config: this.config, clock: this.clock, random: () => 0.5, snapshot });
  }

  async run(s: Step): Promise<void> {
    if (s.do === 'call') this.#call(s);
    else if (s.do === 'settle') this.plugin.settle(s.n, s.outcome);
    else if (s.do === 'wait') await this.wait(s.ms);
    else if (s.do === 'cancel') this.asked[this.asked.length - 1 - s.n]?.stop.abort();
    else if (s.do === 'writable') this.plugin.writable = s.value;
    else if (s.do === 'pause') s.value ? this.gate.pause() : this.gate.resume();
    else if (s.do === 'reload') this.#reload(s);
    else await this.#restart(s.clean);
    await this.#observe();
  }

  #call(s: Extract<Step, { do: 'call' }>): void {
    const stop = new AbortController();
    const args = s.method === 'getMany' ? { items: [resource] } : { ...resource };
    const asked: Asked = { method: s.method, args, stop, answers: [], failFast: s.failFast };
    this.asked.push(asked);
    const deadlineMs = s.deadlineMs === undefined ? undefined : this.clock.now() + s.deadlineMs;
    void (this.gate.call as (m: string, a: unknown, o: unknown) => Promise<PluginOutcome<unknown>>)(s.method, args, {
      deadlineMs,
      signal: stop.signal,
      admission: s.failFast ? 'fail-fast' : 'wait',
    }).then((outcome) => asked.answers.push(outcome));
  }

  #reload(s: Extract<Step, { do: 'reload' }>): void {
    const rate = { qps: s.qps, burst: s.burst };
    this.config = {
      ...this.config,
      readRateLimiter: rate,
      writeRateLimiter: rate,
      readConcurrency: s.slots,
      writeConcurrency: s.slots,
    };
    this.bursts.push({ fromSend: this.sends.length, burst: s.burst });
    this.#widest = Math.max(this.#widest, s.slots);
    this.gate.reconfigure(this.config);
  }

  async #restart(clean: boolean): Promise<void> {
    const closing = this.gate.close();
    while (this.plugin.open.length > 0) this.plugin.settle(0, fails('process_died'));
    await this.clock.advance(0);
    await closing;
    this.gate = this.#start(clean ? this.gate.snapshot() : undefined);
  }

  /** Time passes in small steps, so that a send is seen close to when it happened. */
  async wait(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= 50) {
      await this.clock.advance(Math.min(50, left));
      await this.#observe();
    }
  }

  async #observe(): Promise<void> {
    await this.clock.advance(0);
    this.refilled += ((this.clock.now() - this.#lastMs) / 1000) * this.config.readRateLimiter.qps;
    this.#lastMs = this.clock.now();
    for (; this.#seen < this.plugin.sent.length; this.#seen++) {
      const sent = this.plugin.sent[this.#seen]!;
      const behindMs = this.clock.now() - sent.atMs;
      const refilled = this.refilled - (behindMs / 1000) * this.config.readRateLimiter.qps;
      const index = this.asked.findIndex((a) => a.args === sent.args);
      assert.equal(this.asked[index]!.answers.length, 0, 'a call was sent after it had been answered');
      this.sends.push({ lane: methodTraits(sent.method).lane ?? '', refilled, index });
    }
    for (const lane of ['read', 'write'] as const) {
      const { inFlight, slotsFree } = this.gate.capacity(lane);
      assert.ok(inFlight <= this.#widest, `${inFlight} in flight`);
      assert.ok(slotsFree >= 0);
      const open = this.plugin.open.filter(
        (c) => methodTraits(c.method).lane === lane && c.deadlineMs > this.clock.now(),
      );
      assert.ok(inFlight >= open.length, 'a slot was given back while its call was under way');
    }
  }

  checkWindows(): void {
    for (const lane of ['read', 'write']) {
      const sends = this.sends.map((s, at) => ({ ...s, at })).filter((s) => s.lane === lane);
      for (let i = 0; i < sends.length; i++) {
        for (let j = i; j < sends.length; j++) {
          const before = this.bursts.filter((b) => b.fromSend <= sends[i]!.at).at(-1)!.burst;
          const during = this.bursts.filter((b) => b.fromSend > sends[i]!.at && b.fromSend <= sends[j]!.at);
          const burst = Math.max(before, ...during.map((b) => b.burst));
          const allowed = burst + sends[j]!.refilled - sends[i]!.refilled;
          assert.ok(j - i + 1 <= allowed + 1e-3, `${lane}: ${j - i + 1} sends where ${allowed} are allowed`);
        }
      }
    }
  }
}

test('no schedule of calls, throttles, deaths, cancels, pauses, reloads and restarts breaks the limit or loses a slot', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { maxLength: 60 }), async (steps) => {
      const world = new World();
      for (const s of steps) await world.run(s);
      // The end: everything is let go, and every call has exactly one answer.
      world.plugin.writable = true;
      world.gate.resume();
      await world.wait(50);
      for (let round = 0; round < 400 && world.asked.some((a) => a.answers.length === 0); round++) {
        while (world.plugin.open.length > 0) world.plugin.settle(0, running);
        await world.wait(200);
      }
      for (const asked of world.asked) assert.equal(asked.answers.length, 1, `${asked.method} has no answer`);
      for (const lane of ['read', 'write'] as const) {
        assert.equal(world.gate.capacity(lane).slotsFree, world.config.readConcurrency, 'a slot was lost');
        assert.equal(world.gate.capacity(lane).queued, 0);
      }
      world.checkWindows();
      await world.gate.close();
    }),
    { numRuns: 120 },
  );
});

test('within a lane calls are sent in the order they were asked, deletes before all that waits', async () => {
  const call = fc.constantFrom<PluginMethod>('get', 'getLogs', 'create', 'delete', 'do');
  await fc.assert(
    fc.asyncProperty(
      fc.array(call, { maxLength: 30 }),
      fc.array(fc.nat(3), { maxLength: 60 }),
      async (calls, settles) => {
        const clock = new ManualClock();
        const plugin = new FakePlugin(() => clock.now());
        const gate = createGate({ plugin, config: wideConfig, clock, random: () => 0.5 });
        const waiting: { method: PluginMethod; args: object }[] = [];
        let seen = 0;
        const observe = () => {
          for (; seen < plugin.sent.length; seen++) {
            const { method, args } = plugin.sent[seen]!;
            const lane = waiting.filter((w) => methodTraits(w.method).lane === methodTraits(method).lane);
            const expected = lane.find((w) => w.method === 'delete') ?? lane[0];
            assert.equal(expected?.args, args);
            waiting.splice(waiting.indexOf(expected!), 1);
          }
        };
        for (const [i, method] of calls.entries()) {
          const args = { ...resource };
          waiting.push({ method, args });
          void (gate.call as (m: string, a: unknown, o: unknown) => Promise<unknown>)(method, args, {
            admission: 'wait',
          });
          observe();
          if (settles[i] === 0) plugin.settle(0, running);
          await clock.advance((settles[i] ?? 1) * 20);
          observe();
        }
        for (const n of [...settles, ...Array.from({ length: 100 }, () => 0)]) {
          plugin.settle(n, running);
          await clock.advance(50);
          observe();
        }
        assert.deepEqual(waiting, []);
      },
    ),
    { numRuns: 100 },
  );
});
