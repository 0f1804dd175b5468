import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OUTCOMES, type OutcomePlace, outcomeRule } from '../../src/model/outcomes.js';
import { FAILURE_KINDS, type FailureKind } from '../../src/model/plugin-call.js';
import type { RefreshConfig } from '../../src/refresh/types.js';
import { fails, pollsOf, running } from './fake-reader.js';

const minute = 60_000;
const hour = 60 * minute;
/** `status` runs within the read, so its outcome is the read's. */
const readPlaces = ['get', 'status', 'getManyItem'] as const satisfies readonly OutcomePlace[];

/** A sick task beside a healthy one, both old enough to be visible; `getManyItem` reads them in one batch. */
function setUp(place: OutcomePlace, parts: Partial<RefreshConfig> = {}) {
  const {
    clock,
    reader,
    refresher,
    track: trackOne,
  } = pollsOf({ maxBatch: place === 'getManyItem' ? 2 : 1, ...parts });
  const track = (id: string, ageMs: number) => trackOne(id, { createdAtMs: clock.now() - ageMs });
  return { clock, reader, refresher, track };
}

for (const place of readPlaces) {
  for (const kind of FAILURE_KINDS) {
    test(`${place} with ${kind}: counted, ended and tried again as the table says`, async () => {
      const rule = outcomeRule(place, kind);
      const { clock, reader, refresher, track } = setUp(place);
      reader.respond = (id) => (id === 'sick' ? fails(kind, kind === 'throttled' ? 7_000 : undefined) : running);
      track('healthy', hour);
      track('sick', hour);
      await clock.advance(0);
      const first = reader.last('sick');
      assert.equal(first?.failures, rule.counted === 'yes' ? 1 : 0);
      assert.equal(first?.failingSinceMs !== undefined, rule.counted !== 'no');
      const atOnce = rule.endsWhen === undefined ? rule.ends : undefined;
      assert.equal(first?.verdict?.code, atOnce && expectedCode(atOnce.code));
      assert.equal(first?.verdict?.phase, atOnce?.phase);
      await clock.advance(30_000);
      const again = reader.readsOf('sick').slice(1);
      if (atOnce !== undefined) {
        assert.equal(again.length, 0);
        assert.equal(refresher.stats().tracked, 1);
      } else {
        const least = { pause: 7_000, backoff: 2_000, turn: 100, confirm: 0, caller: 0, no: 0 }[rule.retry];
        assert.ok(again.length > 0 && again[0]!.atMs - (first?.finishedAtMs ?? 0) >= least);
      }
      await refresher.stop();
    });
  }
}

function expectedCode(code: string): string {
  return code === 'plugin' ? 'X' : code;
}

for (const kind of FAILURE_KINDS) {
  test(`reads that end with ${kind} for hours end the task as the table says, and not otherwise`, async () => {
    const rule = outcomeRule('get', kind);
    const { clock, reader, refresher, track } = setUp('get');
    reader.respond = (id) => {
      if (id !== 'sick') return running;
      if (rule.retry !== 'turn') return fails(kind);
      // A read that was not carried out comes back only after its wait for a slot or a token.
      const read = reader.reads.at(-1);
      clock.setTimer(5_000, () => reader.settle(read, [fails(kind)]));
      return undefined;
    };
    track('healthy', hour);
    track('sick', 0);
    await clock.advance(30 * minute);
    const soon = rule.ends ?? (rule.counted === 'yes' ? rule.endsPastBound : undefined);
    assert.equal(reader.last('sick')?.verdict?.code, soon && expectedCode(soon.code));
    await clock.advance(2 * hour);
    const late = soon ?? rule.endsPastBound;
    assert.equal(reader.last('sick')?.verdict?.code, late && expectedCode(late.code));
    assert.equal(reader.last('sick')?.verdict?.phase, late?.phase);
    assert.equal(reader.last('healthy')?.verdict, undefined);
    const stopped = refresher.stop();
    await clock.advance(5_000);
    await stopped;
  });

  test(`reads that end with ${kind} end no outage, and tell of a remote that is ${outcomeRule('get', kind).remote}`, async () => {
    const { clock, reader, refresher, track } = setUp('get');
    for (let i = 0; i < 5; i++) track(`t${i}`, hour);
    reader.respond = () => fails('transient');
    await clock.advance(20_000);
    assert.equal(refresher.stats().remote, 'down');
    reader.respond = () => fails(kind);
    await clock.advance(2 * minute);
    assert.equal(refresher.stats().remote, 'down', 'only a read that succeeds ends an outage');
    await refresher.stop();
    const fresh = setUp('get');
    for (let i = 0; i < 5; i++) fresh.track(`t${i}`, 0);
    fresh.reader.respond = () => fails(kind);
    await fresh.clock.advance(30_000);
    assert.equal(fresh.refresher.stats().remote, outcomeRule('get', kind).remote === 'down' ? 'down' : 'up');
    await fresh.refresher.stop();
  });
}

test('the three places of a read have one row each, and it is the same', () => {
  const kinds: readonly FailureKind[] = FAILURE_KINDS;
  for (const kind of kinds) {
    for (const place of readPlaces) assert.deepEqual(OUTCOMES[place][kind], OUTCOMES.get[kind]);
  }
});
