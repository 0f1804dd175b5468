import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import type { FailureKind } from '../../src/model/plugin-call.js';
import type { ReadReport } from '../../src/refresh/types.js';
import { fails, type Outcome, running } from './fake-reader.js';
import { System, seeded } from './system.js';

const kinds: readonly FailureKind[] = ['transient', 'unknown', 'deadline', 'process_died', 'invalid', 'throttled'];
const uncounted: ReadonlySet<FailureKind> = new Set(['throttled', 'not_admitted', 'cancelled', 'process_died']);
const minute = 60_000;

const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 200_000 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({ do: fc.constant('get' as const), id: fc.nat(11), ms: fc.integer({ min: 1, max: 5_000 }) }),
  },
  fc.record({ do: fc.constant('cancel' as const), n: fc.nat(5) }),
  fc.record({ do: fc.constant('sick' as const), id: fc.nat(11), kind: fc.constantFrom(...kinds) }),
  fc.record({ do: fc.constant('well' as const), id: fc.nat(11) }),
  { weight: 2, arbitrary: fc.record({ do: fc.constant('outage' as const), on: fc.boolean() }) },
  fc.record({ do: fc.constant('untrack' as const), id: fc.nat(11) }),
  fc.record({
    do: fc.constant('track' as const),
    id: fc.nat(11),
    ageMs: fc.nat(10 * minute),
    batchKey: fc.constantFrom('', 'B'),
  }),
);

/** Follows the reports of every task and checks rule 2 and rule 4 at each. */
function watch(system: System, limits: { maxSystemFailures: number; minFailingMs: number; outageGraceMs: number }) {
  const before = new Map<string, ReadReport>();
  const keys = new Map<string, string>();
  /** Reads of a batch key in a row that showed no living remote. */
  const away = new Map<string, number>();
  const verdicts: ReadReport[] = [];
  system.onReport = (report) => {
    const { id, outcome, failures, verdict } = report;
    const known = before.get(id)?.failures ?? 0;
    const key = keys.get(id) ?? '';
    away.set(key, outcome.ok ? 0 : (away.get(key) ?? 0) + 1);
    const frozen = system.remote === 'down' && system.clock.now() - system.remoteFailingSinceMs < limits.outageGraceMs;
    if (outcome.ok) {
      assert.equal(failures, 0);
      assert.equal(verdict, undefined);
    } else if (uncounted.has(outcome.failure.kind)) {
      assert.equal(failures, known, `${outcome.failure.kind} moved the count`);
    } else if (frozen) {
      assert.equal(failures, known, 'a count moved while the remote was down');
      assert.equal(verdict, undefined, 'an outage ended a task');
    } else if (key !== '' && failures === known) {
      assert.ok((away.get(key) ?? 0) >= 3, 'a count stood still although the remote of its batch key answers');
      assert.equal(verdict, undefined, 'the outage of a batch key ended a task');
    } else {
      assert.equal(failures, known + 1);
    }
    if (verdict !== undefined) {
      verdicts.push(report);
      const kind = outcome.ok ? '' : outcome.failure.kind;
      assert.ok(['READS_FAILING', 'REMOTE_OUTAGE'].includes(verdict.code));
      const failingMs = report.finishedAtMs - (report.failingSinceMs ?? Number.POSITIVE_INFINITY);
      if (kind === 'process_died') assert.ok(failingMs >= limits.outageGraceMs);
      else {
        assert.ok(failures > limits.maxSystemFailures, 'ended before the count was past its maximum');
        assert.ok(failingMs >= limits.minFailingMs, 'ended before the least time of failing');
      }
    }
    if (verdict === undefined) before.set(id, report);
    else before.delete(id);
  };
  const keyed = (id: string, batchKey: string) => keys.set(id, batchKey);
  return { forget: (id: string) => before.delete(id), keyed, verdicts };
}

test('no schedule of reads, Gets, faults, throttles, outages and cancels breaks rules 1 to 5', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 15, maxLength: 50 }),
      fc.integer(),
      fc.constantFrom(1, 3),
      async (steps, seed, maxBatch) => {
        const random = seeded(seed);
        const limits = { maxSystemFailures: 3, minFailingMs: 30_000, outageGraceMs: 20 * minute };
        const system = new System({
          refresh: { ...limits, maxBatch },
          gate: {},
          latencyMs: () => random() * 3_000,
          random,
        });
        const { forget, keyed } = watch(system, limits);
        const sick = new Map<string, FailureKind>();
        let outage = false;
        system.respond = (id): Outcome => {
          if (outage) return fails('transient');
          const kind = sick.get(id);
          return kind === undefined ? running : fails(kind, kind === 'throttled' ? 500 : undefined);
        };
        const gets: { stop: AbortController; answers: unknown[] }[] = [];
        const wait = (ms: number) => system.clock.advance(ms);
        for (let i = 0; i < 6; i++)
          system.refresher.track({ id: `t${i}`, createdAtMs: system.clock.now() - i * minute });
        for (const s of steps) {
          if (s.do === 'wait') await wait(s.ms);
          else if (s.do === 'outage') outage = s.on;
          else if (s.do === 'sick') sick.set(`t${s.id}`, s.kind);
          else if (s.do === 'well') sick.delete(`t${s.id}`);
          else if (s.do === 'cancel') gets[gets.length - 1 - s.n]?.stop.abort();
          else if (s.do === 'untrack') {
            system.refresher.untrack(`t${s.id}`);
            forget(`t${s.id}`);
          } else if (s.do === 'track') {
            const id = `t${s.id}`;
            keyed(id, s.batchKey);
            system.refresher.track({ id, createdAtMs: system.clock.now() - s.ageMs, batchKey: s.batchKey });
          } else {
            const get = { stop: new AbortController(), answers: [] as unknown[] };
            gets.push(get);
            const deadlineMs = system.clock.now() + s.ms;
            void system.refresher.readNow(`t${s.id}`, deadlineMs, get.stop.signal).then((outcome) => {
              get.answers.push(outcome);
              assert.ok(system.clock.now() <= deadlineMs + 1, 'a Get was answered after its deadline');
            });
          }
          await system.clock.advance(0);
        }
        await wait(6_000);
        for (const get of gets) assert.equal(get.answers.length, 1, 'a Get was left without an answer');
        system.checkWindows(5, 5);
        // Everything well again: the outage ends, every count goes back to zero, nothing is left out.
        outage = false;
        sick.clear();
        await wait(5 * minute);
        assert.equal(system.refresher.stats().remote, 'up');
        const last = new Map(system.reports.map((report) => [report.id, report]));
        for (const [id, report] of last) {
          if (report.verdict === undefined && system.refresher.stats().tracked > 0 && report.failures > 0) {
            const untracked = !(await system.refresher.readNow(id, system.clock.now() + 1)).ok;
            assert.ok(untracked, `${id} kept its failures`);
          }
        }
        await system.stop();
        assert.equal(system.clock.pending, 0, 'a timer was left behind');
        assert.equal(system.gate.capacity().inFlight, 0);
        assert.equal(system.underWay.size, 0);
      },
    ),
    { numRuns: 30 },
  );
});

test('past capacity none starves: everyone is read again within a bound proportional to tasks over limit', async () => {
  const task = fc.record({
    ageMs: fc.integer({ min: 0, max: 100 * minute }),
    sick: fc.option(fc.constantFrom<FailureKind>('unknown', 'invalid'), { nil: undefined }),
    nextPollAfterMs: fc.option(fc.constantFrom(1, 5_000), { nil: undefined }),
  });
  await fc.assert(
    fc.asyncProperty(
      fc.array(task, { minLength: 20, maxLength: 150 }),
      fc.double({ min: 0.3, max: 3, noNaN: true }),
      fc.integer(),
      async (tasks, qps, seed) => {
        const random = seeded(seed);
        const rate = { qps, burst: 2 };
        const system = new System({
          refresh: { resyncIntervalMs: 10_000, minFailingMs: 1e12, outageGraceMs: 0 },
          gate: { readRateLimiter: rate },
          latencyMs: () => 50 + random() * 300,
          random,
        });
        for (const [i, t] of tasks.entries()) {
          system.refresher.track({
            id: `t${i}`,
            createdAtMs: system.clock.now() - t.ageMs,
            nextPollAfterMs: t.nextPollAfterMs,
          });
        }
        system.respond = (id) => {
          const kind = tasks[Number(id.slice(1))]?.sick;
          return kind === undefined ? running : fails(kind);
        };
        // One round of all tasks, or the interval where that is longer; failing tasks rest up to four of these.
        const roundMs = Math.max(10_000, (tasks.length / qps) * 1_000 * 1.15);
        const boundOf = (i: number) => (tasks[i]?.sick === undefined ? 2.5 : 7) * roundMs + 5_000;
        const start = system.clock.now();
        while (system.clock.now() - start < 16 * roundMs) {
          for (const i of tasks.keys()) system.refresher.asked(`t${i}`);
          await system.clock.advance(roundMs / 8);
          for (const i of tasks.keys()) {
            const since = system.clock.now() - (system.lastReadMs.get(`t${i}`) ?? start);
            assert.ok(since <= boundOf(i), `t${i} was not read for ${since} ms; the bound is ${boundOf(i)} ms`);
          }
        }
        system.checkWindows(qps, 2);
        await system.stop();
      },
    ),
    { numRuns: 12 },
  );
});

test('with room to spare no asked task waits longer than the resync interval, and polls leave half of the limit', async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer({ min: 1, max: 60 }), fc.integer(), async (n, seed) => {
      const random = seeded(seed);
      const system = new System({
        refresh: {},
        gate: { readRateLimiter: { qps: 10, burst: 20 } },
        latencyMs: () => 20 + random() * 80,
        random,
      });
      for (let i = 0; i < n; i++) {
        system.refresher.track({ id: `t${i}`, createdAtMs: system.clock.now() - random() * 1e7 });
      }
      for (let second = 0; second < 300; second++) {
        await system.clock.advance(1_000);
        for (let i = 0; i < n; i++) {
          const since = system.clock.now() - (system.lastReadMs.get(`t${i}`) ?? system.clock.now() - 1e9);
          if (second > 10) assert.ok(since <= 30_200, `t${i} waited ${since} ms`);
        }
      }
      const settled = system.sends.filter((at) => at > system.clock.now() - 200_000);
      assert.ok(settled.length / 200 <= 5.3, `${settled.length / 200} polls a second where 5 are the share`);
      await system.stop();
    }),
    { numRuns: 10 },
  );
});
