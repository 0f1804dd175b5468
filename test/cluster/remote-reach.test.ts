import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { RemoteReach, type RemoteSight } from '../../src/cluster/remote-reach.js';

const NEVER = Number.NEGATIVE_INFINITY;
const SECOND = 1_000;
const MINUTE = 60_000;
/** Nothing fails, and nothing is answered: nobody asks. */
const SILENT: RemoteSight = { failingSinceMs: undefined, down: false, answeredAtMs: NEVER };
const failing = (sinceMs: number, down = true): RemoteSight => ({ failingSinceMs: sinceMs, down, answeredAtMs: NEVER });
const answered = (atMs: number): RemoteSight => ({ ...SILENT, answeredAtMs: atMs });

const said = (reach: RemoteReach) => {
  const { unreachable, doubted } = reach.said;
  return unreachable.length > 0 ? 'unreachable' : doubted.length > 0 ? 'doubted' : 'reached';
};

/** What is said after each of these, seen at so many seconds. */
function saidAfter(...steps: readonly (readonly [atSeconds: number, sight: RemoteSight])[]): string[] {
  const reach = new RemoteReach();
  return steps.map(([at, sight]) => {
    reach.saw('p', sight, at * SECOND);
    return said(reach);
  });
}

test('a remote is doubted as soon as it fails, and unreachable once it was down for ten seconds', () => {
  assert.deepEqual(
    saidAfter([1, failing(1_000, false)], [9, failing(1_000)], [10, failing(1_000)], [11, failing(1_000)]),
    ['doubted', 'doubted', 'doubted', 'unreachable'],
  );
  assert.deepEqual(
    saidAfter([1, failing(1_000, false)], [60, failing(1_000, false)]),
    ['doubted', 'doubted'],
    'one task may fail for its own sake',
  );
  assert.deepEqual(saidAfter([1, failing(1_000, false)], [2, answered(1_500)]), ['doubted', 'reached']);
});

test('what answers is doubted for ten seconds more, and whatever fails meanwhile is unreachable again', () => {
  const down: [number, RemoteSight] = [20, failing(0)];
  assert.deepEqual(saidAfter(down, [21, answered(20_500)], [30, answered(29_000)], [31, answered(30_000)]), [
    'unreachable',
    'doubted',
    'doubted',
    'reached',
  ]);
  assert.deepEqual(
    saidAfter(
      down,
      [21, answered(20_500)],
      [25, failing(24_000, false)],
      [26, failing(24_000)],
      [27, answered(26_500)],
      [36, answered(36_000)],
    ),
    ['unreachable', 'doubted', 'doubted', 'unreachable', 'doubted', 'doubted'],
  );
  assert.deepEqual(
    saidAfter(down, [21, { ...failing(0), answeredAtMs: 20_500 }]),
    ['unreachable', 'doubted'],
    'a create may be answered while reads fail',
  );
});

test('that its last task is gone makes nothing reached, and no answer from before the failure does', () => {
  const before = { answeredAtMs: 900 };
  assert.deepEqual(
    saidAfter([20, { ...failing(1_000), ...before }], [21, { ...SILENT, ...before }], [79, { ...SILENT, ...before }]),
    ['unreachable', 'unreachable', 'unreachable'],
  );
});

test('what nothing is heard of is doubted after a minute, and after twice as long each time that it fails again, half an hour at most', () => {
  const reach = new RemoteReach();
  let nowMs = 20_000;
  reach.saw('p', failing(0), nowMs);
  const beliefs: number[] = [];
  for (let round = 0; round < 8; round++) {
    const startMs = nowMs;
    for (; said(reach) === 'unreachable'; nowMs += SECOND) reach.saw('p', SILENT, nowMs + SECOND);
    beliefs.push((nowMs - startMs) / MINUTE);
    nowMs += 10 * MINUTE;
    reach.saw('p', SILENT, nowMs);
    assert.equal(said(reach), 'doubted', 'until something is heard');
    reach.saw('p', failing(nowMs), nowMs);
    assert.equal(said(reach), 'unreachable', 'at once');
  }
  assert.deepEqual(beliefs, [1, 2, 4, 8, 16, 30, 30, 30]);
  reach.saw('p', answered(nowMs + 1), nowMs + SECOND);
  reach.saw('p', answered(nowMs + 1), nowMs + 11 * SECOND);
  assert.equal(said(reach), 'reached');
  reach.saw('p', failing(nowMs + 12 * SECOND), nowMs + MINUTE);
  reach.saw('p', SILENT, nowMs + 2 * MINUTE);
  assert.equal(said(reach), 'doubted', 'an answer makes the next belief short again');
});

test('a failure that came late, and is followed by nothing, keeps no remote from being doubted', () => {
  const late = failing(21_000, false);
  assert.deepEqual(saidAfter([20, failing(0)], [21, late], [79, late], [80, late], [90, answered(85_000)]), [
    'unreachable',
    'unreachable',
    'unreachable',
    'doubted',
    'doubted',
  ]);
});

test('what goes on failing here is not doubted', () => {
  const reach = new RemoteReach();
  for (let nowMs = 10_000; nowMs < 3 * 60 * MINUTE; nowMs += SECOND) {
    reach.saw('p', failing(0), nowMs);
    assert.equal(said(reach), 'unreachable');
  }
});

test('whatever is seen, what was unreachable is reached only by its own answers, and for ten seconds', () => {
  const step = fc.record({
    plugin: fc.constantFrom('p', 'q'),
    what: fc.constantFrom('fails', 'answers', 'silent'),
    afterMs: fc.oneof(fc.integer({ min: 1, max: 10_000 }), fc.integer({ min: 1, max: 5 * MINUTE })),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 60 }), (steps) => {
      const reach = new RemoteReach();
      const sights = new Map([
        ['p', SILENT],
        ['q', SILENT],
      ]);
      const wasCut = new Set<string>();
      const answersSince = new Map<string, number>();
      let nowMs = 0;
      for (const { plugin, what, afterMs } of steps) {
        nowMs += afterMs;
        const before = sights.get(plugin) as RemoteSight;
        const { answeredAtMs } = before;
        if (what === 'fails')
          sights.set(plugin, { failingSinceMs: before.failingSinceMs ?? nowMs, down: true, answeredAtMs });
        else sights.set(plugin, { ...SILENT, answeredAtMs: what === 'answers' ? nowMs : answeredAtMs });
        if (what === 'fails') answersSince.delete(plugin);
        else if (what === 'answers' && !answersSince.has(plugin)) answersSince.set(plugin, nowMs);
        reach.saw(plugin, sights.get(plugin) as RemoteSight, nowMs);
        const { unreachable, doubted } = reach.said;
        for (const one of unreachable) wasCut.add(one);
        for (const one of wasCut) {
          if (unreachable.includes(one) || doubted.includes(one)) continue;
          assert.ok(nowMs - (answersSince.get(one) ?? nowMs) >= 10_000);
          wasCut.delete(one);
        }
      }
    }),
  );
});
