import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HeldLease, LeaseWatch } from '../../src/cluster/lease.js';

const LEASE_MS = 10_000;
const LOOK_MS = 500;

test('a lease is counted from the asking of the renewal, however long its answer took, and never from an older one', () => {
  let nowMs = 1_000;
  const lease = new HeldLease(LEASE_MS, () => nowMs);
  assert.equal(lease.leftMs, 0);
  nowMs = 5_000;
  lease.renewed(1_000);
  assert.equal(lease.leftMs, 0.95 * LEASE_MS - 4_000);
  lease.renewed(500);
  assert.equal(lease.leftMs, 0.95 * LEASE_MS - 4_000, 'answers may come in another order');
  nowMs = 10_500;
  assert.equal(lease.leftMs, 0);
  lease.renewed(10_000);
  assert.ok(lease.leftMs > 0);
  lease.end();
  assert.equal(lease.leftMs, 0);
});

test('a member is dead once its counter stood still from the answer to one look to the asking of another', () => {
  const watch = new LeaseWatch(LEASE_MS, LOOK_MS);
  const look = (askedAtMs: number, answeredAtMs: number, counter: string | undefined) =>
    watch.saw({ askedAtMs, answeredAtMs, counters: new Map([['a', counter]]) });
  look(0, 4_000, '1');
  assert.equal(watch.isAlive('a'), false, 'nothing of it was seen to move');
  look(8_000, 9_500, '1');
  look(13_900, 14_050, '1');
  assert.equal(watch.isDead('a'), false, 'asked for less than a lease after that answer');
  assert.equal(watch.silentMs('a'), 9_900);
  look(14_100, 14_200, '1');
  assert.equal(watch.isDead('a'), true);
  look(14_300, 14_400, '2');
  assert.deepEqual([watch.isDead('a'), watch.isAlive('a')], [false, true]);
  look(14_500, 14_600, undefined);
  look(19_500, 19_600, undefined);
  look(24_500, 24_550, undefined);
  look(24_700, 24_800, undefined);
  assert.equal(watch.isDead('a'), true, 'one without a row as well');
  assert.equal(watch.isDead('b'), false, 'of whom nothing was seen');
});

test('who saw nothing for a while takes nobody for dead until it has looked for a lease again', () => {
  const watch = new LeaseWatch(LEASE_MS, LOOK_MS);
  const look = (atMs: number) => watch.saw({ askedAtMs: atMs, answeredAtMs: atMs, counters: new Map([['a', '1']]) });
  look(0);
  look(30_000);
  assert.equal(watch.isDead('a'), false, 'the database was away, and from its owner as well');
  assert.equal(watch.silentMs('a'), 0);
  for (const atMs of [34_000, 38_000, 40_000]) look(atMs);
  assert.equal(watch.isDead('a'), false);
  look(40_100);
  assert.equal(watch.isDead('a'), true);
});

test('a member is silent once half a lease was looked at closely, and showed no sign of life', () => {
  const watch = new LeaseWatch(LEASE_MS, LOOK_MS);
  const look = (askedAtMs: number, answeredAtMs = askedAtMs, counter = '1') =>
    watch.saw({ askedAtMs, answeredAtMs, counters: new Map([['a', counter]]) });
  const lookUntil = (fromMs: number, toMs: number, counter = '1') => {
    for (let atMs = fromMs; atMs <= toMs; atMs += LOOK_MS) look(atMs, atMs, counter);
    return watch.isSilent('a');
  };
  assert.equal(lookUntil(0, 4_500), false);
  assert.equal(lookUntil(5_000, 5_000), true);
  assert.equal(watch.isSilent('b'), false, 'of whom nothing was seen');
  look(5_500, 6_000, '2');
  assert.equal(lookUntil(6_500, 10_500, '2'), false, 'counted from the answer that showed it');
  assert.equal(lookUntil(11_000, 11_000, '2'), true);
  look(60_500, 60_500, '4');
  look(80_000, 80_000, '4');
  assert.equal(watch.silentMs('a'), 0);
  look(80_500, 90_000, '4');
  assert.equal(watch.silentMs('a'), 500);
  assert.equal(
    lookUntil(90_500, 92_500, '4'),
    false,
    'a second of the time before, and one of the time in which a look was under way',
  );
  assert.equal(lookUntil(93_000, 93_000, '4'), true);
});

/** Times in which the database is away from all, or holds what it is asked until they are over. */
const breaks = fc.array(
  fc.record({
    /** So long it was there before: at least as long as the owner takes to give a sign of life. */
    afterMs: fc.integer({ min: 0, max: 12_000 }),
    forMs: fc.oneof(fc.integer({ min: 1, max: 2_000 }), fc.integer({ min: 1, max: 60_000 })),
    holds: fc.boolean(),
  }),
  { minLength: 1, maxLength: 6 },
);

test('an owner that renews its lease whenever it can is never silent, nor dead, whatever its watcher missed', () => {
  const renewMs = LEASE_MS / 3;
  const property = fc.property(
    breaks,
    fc.infiniteStream(fc.integer({ min: 0, max: 400 })),
    fc.infiniteStream(fc.oneof({ weight: 9, arbitrary: fc.constant(0) }, fc.integer({ min: 0, max: 30_000 }))),
    fc.integer({ min: 0, max: Math.floor(renewMs) }),
    (given, latencies, pauses, phaseMs) => {
      const latencyMs = () => latencies.next().value;
      const away: { fromMs: number; toMs: number; holds: boolean }[] = [];
      for (const { afterMs, forMs, holds } of given) {
        const fromMs = (away.at(-1)?.toMs ?? 0) + renewMs + 2 * LOOK_MS + afterMs;
        away.push({ fromMs, toMs: fromMs + forMs, holds });
      }
      const endMs = (away.at(-1)?.toMs ?? 0) + 2 * LEASE_MS;
      /** When the database does what it is asked at a time; undefined where it fails. */
      const doneAtMs = (atMs: number) => {
        const during = away.find(({ fromMs, toMs }) => atMs >= fromMs && atMs < toMs);
        if (during === undefined) return atMs;
        return during.holds ? during.toMs : undefined;
      };
      const signs: number[] = [];
      for (let atMs = phaseMs; atMs < endMs; ) {
        const doneMs = doneAtMs(atMs);
        if (doneMs !== undefined) signs.push(doneMs);
        atMs = doneMs === undefined ? atMs + LOOK_MS : doneMs + renewMs;
      }
      const watch = new LeaseWatch(LEASE_MS, LOOK_MS);
      for (let atMs = 0; atMs < endMs; ) {
        const askedAtMs = atMs;
        const doneMs = doneAtMs(askedAtMs);
        if (doneMs !== undefined) {
          const answeredAtMs = doneMs + latencyMs();
          // What it held came in any order: this look may be before the sign of life.
          const counter = signs.filter((sign) => sign < doneMs).length;
          watch.saw({ askedAtMs, answeredAtMs, counters: new Map([['a', `${counter}`]]) });
          atMs = answeredAtMs;
          assert.equal(watch.isDead('a'), false, `dead at ${askedAtMs}`);
        }
        assert.equal(watch.isSilent('a'), false, `silent at ${askedAtMs}`);
        atMs += LOOK_MS + pauses.next().value;
      }
    },
  );
  fc.assert(property, { numRuns: 300 });
});
