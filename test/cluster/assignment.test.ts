import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import {
  type AssignedMember,
  type AssignedPart,
  type AssignmentView,
  type Move,
  nextMoves,
} from '../../src/cluster/assignment.js';
import { partOf } from '../../src/model/handle.js';

const NONE: ReadonlySet<string> = new Set();

function member(epoch: string, changes: Partial<AssignedMember> = {}): AssignedMember {
  const version = '1.0.0';
  return { epoch, version, joinedAtMs: 0, plugins: new Set(['p', 'q']), leaving: false, unreachable: NONE, ...changes };
}

function parts(count: number, changes: (part: number) => Partial<AssignedPart> = () => ({})): AssignedPart[] {
  return Array.from({ length: count }, (_, part) => {
    const rest = { owner: undefined, needs: new Set(['p']), leastVersion: '1.0.0', hasLimits: false };
    return { part, ...rest, ...changes(part) };
  });
}

/** What lies where once the moves are made, each given up and taken. */
function after(view: AssignmentView, moves: readonly Move[]): AssignmentView {
  const to = new Map(moves.map((move) => [move.part, move.to]));
  return { ...view, parts: view.parts.map((part) => ({ ...part, owner: to.get(part.part) ?? part.owner })) };
}

/** The same with each given up, and not taken yet: who takes it is found anew. */
function onTheWay(view: AssignmentView, moves: readonly Move[]): AssignmentView {
  const to = new Map(moves.map((move) => [move.part, move.from === undefined ? move.to : undefined]));
  return {
    ...view,
    parts: view.parts.map((part) => ({ ...part, owner: to.has(part.part) ? to.get(part.part) : part.owner })),
  };
}

/** Moves until nothing moves any more; how many moves that took. */
function settled(view: AssignmentView, made = after): { view: AssignmentView; moves: Move[] } {
  const all: Move[] = [];
  for (let round = 0; ; round++) {
    assert.ok(round < 2_000, 'it never comes to rest');
    const moves = nextMoves(view);
    if (moves.length === 0) return { view, moves: all };
    all.push(...moves);
    view = made(view, moves);
  }
}

function counts({ members, parts: all }: AssignmentView): number[] {
  return members.map(({ epoch }) => all.filter(({ owner }) => owner === epoch).length);
}

function spread({ members, parts: all }: AssignmentView): number {
  const each = counts({ members, parts: all, maxMoving: 1 });
  return Math.max(...each) - Math.min(...each);
}

test('a partition lies in one part, as many in each, and a number of parts that is no power of two is refused', () => {
  for (const count of [1, 2, 8, 256]) {
    const sizes = new Map<number, number>();
    for (let partition = 0; partition < 256; partition++) {
      const part = partOf(partition, count);
      sizes.set(part, (sizes.get(part) ?? 0) + 1);
    }
    assert.deepEqual(
      [...sizes],
      Array.from({ length: count }, (_, part) => [part, 256 / count]),
    );
  }
  for (const count of [0, 3, 512, 0.5]) assert.throws(() => partOf(0, count), /power of two/);
});

test('parts without an owner are given out at once, as many to one as to another within one', () => {
  const view = { members: [member('a'), member('b'), member('c')], parts: parts(64), maxMoving: 2 };
  const moves = nextMoves(view);
  assert.equal(moves.length, 64);
  assert.deepEqual(counts(after(view, moves)), [22, 21, 21]);
});

test('a member that comes takes its share and no part moves twice, a few at a time', () => {
  const before = settled({ members: [member('a'), member('b'), member('c')], parts: parts(64), maxMoving: 2 }).view;
  const view = { ...before, members: [...before.members, member('d', { joinedAtMs: 1 })] };
  assert.equal(nextMoves(view).length, 2);
  const { view: at, moves } = settled(view);
  assert.equal(moves.length, 16);
  assert.ok(moves.every(({ to, why }) => to === 'd' && why === 'balance'));
  assert.deepEqual(counts(at), [16, 16, 16, 16]);
});

test('a member that stops gives all it has, one that is dead is followed at once, and nothing else moves', () => {
  const before = settled({ members: [member('a'), member('b'), member('c')], parts: parts(63), maxMoving: 1 }).view;
  const leaving = { ...before, members: [member('a'), member('b', { leaving: true }), member('c')] };
  const gone = { ...before, members: [member('a'), member('c')] };
  for (const [view, why] of [
    [leaving, 'leaving'],
    [gone, 'homeless'],
  ] as const) {
    const moves = nextMoves(view);
    assert.equal(moves.length, 21);
    assert.ok(moves.every((move) => move.why === why));
    assert.deepEqual(nextMoves(after(view, moves)), []);
  }
});

test('nobody is given what it cannot work on where somebody can: without the plugin, or of a release that is too old', () => {
  const members = [member('a'), member('old', { version: '0.9.9' }), member('bare', { plugins: new Set(['q']) })];
  const one = settled({
    members,
    parts: parts(8, (part) => (part < 2 ? { needs: new Set(['q']) } : {})),
    maxMoving: 1,
  });
  assert.deepEqual(counts(one.view), [6, 0, 2]);
});

test('a part goes to no older version of a plugin than worked on it where there is one as new, and to any where there is none', () => {
  const at = (epoch: string, version: string) => member(epoch, { versions: new Map([['p', version]]) });
  const least = (version: string) => ({ leastPlugins: new Map([['p', version]]) });
  const [old, next, bare] = [at('old', '1.9.0'), at('new', '1.10.0'), member('bare', { plugins: new Set(['q']) })];
  const orphaned = parts(4, () => least('1.10.0'));
  const view = { members: [old, next, bare], parts: orphaned, maxMoving: 2 };
  assert.deepEqual(counts(settled(view).view), [0, 4, 0]);
  assert.deepEqual(counts(settled({ ...view, members: [old, bare] }).view), [4, 0], 'the new one is gone');
  const owned = parts(4, (part) => ({ owner: 'old', ...least(part < 2 ? '1.9.0' : '1.10.0') }));
  const moves = nextMoves({ ...view, parts: owned });
  assert.deepEqual(
    moves.map(({ part, to, why }) => [part, to, why]),
    [
      [2, 'new', 'unfit'],
      [3, 'new', 'unfit'],
    ],
  );
  const none = {
    ...view,
    members: [at('a', '2'), member('b')],
    parts: parts(4, () => ({ owner: 'a', ...least('2') })),
  };
  assert.deepEqual(nextMoves(none), [], 'one that states none is older');
});

test('what nobody can work on is somebody’s all the same, who can read it before who cannot, but nobody’s who could not load it', () => {
  const old = member('old', { version: '0.9.9' });
  const bare = member('bare', { plugins: new Set(['q']) });
  const refuses = new Set([0, 1, 2, 3]);
  const orphaned = parts(4, () => ({ needs: new Set(['p']) }));
  const all = { members: [old, bare], parts: orphaned, maxMoving: 1 };
  assert.deepEqual(counts(after(all, nextMoves(all))), [0, 4]);
  const without = { ...all, members: [old, { ...bare, refuses }] };
  assert.deepEqual(counts(after(without, nextMoves(without))), [4, 0]);
  const nobody = {
    ...all,
    members: [
      { ...old, refuses },
      { ...bare, leaving: true },
    ],
  };
  assert.deepEqual(nextMoves(nobody), []);
});

test('what lies badly stays until there is one with whom it lies well', () => {
  const bare = (epoch: string) => member(epoch, { plugins: new Set(['q']) });
  const old = member('old', { version: '0.9.9' });
  const owned = parts(4, () => ({ owner: 'a' }));
  const badly = { members: [bare('a'), bare('b'), old], parts: owned, maxMoving: 1 };
  assert.deepEqual(nextMoves(badly), []);
  const well = nextMoves({ ...badly, members: [...badly.members, member('c')] });
  assert.deepEqual(
    well.map(({ to, why }) => [to, why]),
    owned.map(() => ['c', 'unfit']),
  );
});

test('a plugin that serves nowhere, and a remote that nobody reaches, keep no part from lying evenly', () => {
  const cut = { unreachable: new Set(['p']) };
  const needs = new Set(['p', 'gone']);
  const view = { parts: parts(8, () => ({ owner: 'a', needs })), maxMoving: 2 };
  assert.deepEqual(counts(settled({ ...view, members: [member('a', cut), member('b', cut)] }).view), [4, 4]);
});

test('for balance nothing moves to an older release than its owner’s, and ten is newer than nine', () => {
  const view = {
    members: [member('new', { version: '1.10.0' }), member('old', { version: '1.9.0', joinedAtMs: 1 })],
    parts: parts(8, () => ({ owner: 'new' })),
    maxMoving: 1,
  };
  assert.deepEqual(nextMoves(view), []);
  const orphaned = { ...view, parts: parts(8) };
  assert.deepEqual(counts(settled(orphaned).view), [4, 4], 'what nobody has goes to whom can read it');
  const rising = { ...view, parts: parts(8, () => ({ owner: 'old' })) };
  assert.deepEqual(counts(settled(rising).view), [4, 4]);
  const before = { ...view, members: [member('new', { version: '1.9.0-rc.1' }), view.members[1] as AssignedMember] };
  assert.deepEqual(counts(settled({ ...before, parts: parts(8, () => ({ owner: 'old' })) }).view), [0, 8]);
});

test('one that alone cannot reach a remote hands its tasks over, and where nobody reaches it nothing moves', () => {
  const cut = { unreachable: new Set(['p']) };
  const owned = parts(8, (part) => ({ owner: part % 2 === 0 ? 'a' : 'b' }));
  const alone = settled({ members: [member('a', cut), member('b')], parts: owned, maxMoving: 1 });
  assert.deepEqual(counts(alone.view), [0, 8]);
  assert.ok(alone.moves.every(({ why }) => why === 'unreachable'));
  assert.deepEqual(nextMoves({ members: [member('a', cut), member('b', cut)], parts: owned, maxMoving: 1 }), []);
  const others = parts(8, (part) => ({ owner: part % 2 === 0 ? 'a' : 'b', needs: new Set(['q']) }));
  assert.deepEqual(nextMoves({ members: [member('a', cut), member('b')], parts: others, maxMoving: 1 }), []);
});

test('what a remote is not reached for goes a few at a time, and to one that doubts it a single part goes', () => {
  const cut = { unreachable: new Set(['p']) };
  const owned = parts(12, (part) => ({ owner: part % 2 === 0 ? 'a' : 'b', needs: new Set([part < 10 ? 'p' : 'q']) }));
  const few = { members: [member('a', cut), member('b')], parts: owned, maxMoving: 2 };
  assert.equal(nextMoves(few).length, 2);
  const doubts = { ...few, members: [member('a', cut), member('b', cut), member('c', { doubted: new Set(['p']) })] };
  for (const made of [after, onTheWay]) {
    const { view } = settled(doubts, made);
    assert.equal(view.parts.filter(({ owner, needs }) => owner === 'c' && needs.has('p')).length, 1);
  }
});

test('one that gave its parts away for a remote gets a single one that needs it, and the others once it reached it', () => {
  const owned = parts(9, (part) => ({ owner: part % 2 === 0 ? 'b' : 'c' }));
  const view = {
    members: [member('b'), member('c'), member('a', { doubted: new Set(['p']) })],
    parts: owned,
    maxMoving: 2,
  };
  for (const made of [after, onTheWay]) {
    const one = settled(view, made).view;
    assert.deepEqual(counts(one), [4, 4, 1]);
    const members = [member('b'), member('c'), member('a')];
    assert.deepEqual(counts(settled({ ...one, members }, made).view), [3, 3, 3]);
  }
});

test('what cannot stay goes before what moves for balance, and a part with limits stays where another may go', () => {
  const owned = parts(8, (part) => ({ owner: part < 7 ? 'a' : undefined, hasLimits: part < 3 }));
  const view = { members: [member('a'), member('b')], parts: owned, maxMoving: 1 };
  assert.deepEqual(nextMoves(view), [{ part: 7, from: undefined, to: 'b', why: 'homeless' }]);
  assert.deepEqual(
    settled(view).moves.map(({ part }) => part),
    [7, 3, 4, 5],
  );
});

const ofP = fc.constantFrom('', '', '1', '2').map((version): ReadonlyMap<string, string> => new Map([['p', version]]));
const anyMember = fc.record({
  versions: ofP,
  version: fc.constantFrom('1.0.0', '1.1.0', '2.0.0'),
  plugins: fc.subarray(['p', 'q', 'r'], { minLength: 1 }).map((names): ReadonlySet<string> => new Set(names)),
  unreachable: fc.oneof(
    { weight: 4, arbitrary: fc.constant(NONE) },
    { weight: 1, arbitrary: fc.constant(new Set(['p'])) },
  ),
  doubted: fc.oneof({ weight: 4, arbitrary: fc.constant(NONE) }, { weight: 1, arbitrary: fc.constant(new Set(['q'])) }),
  refuses: fc
    .oneof({ weight: 6, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: fc.subarray([0, 1, 2, 3]) })
    .map((refused): ReadonlySet<number> => new Set(refused)),
  leaving: fc.oneof({ weight: 5, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
  joinedAtMs: fc.nat({ max: 3 }),
});
const anyView = fc
  .record({
    members: fc.array(anyMember, { minLength: 1, maxLength: 7 }),
    parts: fc.array(
      fc.record({
        owner: fc.option(fc.nat({ max: 9 }), { nil: undefined }),
        needs: fc.subarray(['p', 'q']).map((names): ReadonlySet<string> => new Set(names)),
        leastPlugins: ofP,
        leastVersion: fc.constantFrom('1.0.0', '1.1.0'),
        limitsOf: fc.subarray(['p', 'q']).map((names): ReadonlySet<string> => new Set(names)),
        hasLimits: fc.boolean(),
      }),
      { minLength: 1, maxLength: 32 },
    ),
    maxMoving: fc.integer({ min: 1, max: 4 }),
  })
  .map(({ members, parts: all, maxMoving }): AssignmentView => {
    const named = members.map((each, index) => member(`m${index}`, each));
    const owned = all.map((each, part) => ({
      ...each,
      part,
      owner: each.owner === undefined ? undefined : `m${each.owner}`,
    }));
    return { members: named, parts: owned, maxMoving };
  });

/** How badly each part lies with each of those that may have it: the rule by itself, by one number. */
function badness({ members, parts: all }: AssignmentView): (part: AssignedPart, member: AssignedMember) => number {
  const takers = members.filter(({ leaving }) => !leaving);
  const served = (plugin: string) => takers.filter(({ plugins }) => plugins.has(plugin));
  const reached = (plugin: string) => served(plugin).some(({ unreachable }) => !unreachable.has(plugin));
  const tried = (plugin: string, { epoch, doubted }: AssignedMember, part: number) =>
    doubted?.has(plugin) === true &&
    all.some((one) => one.part !== part && one.owner === epoch && one.needs.has(plugin));
  const versionOf = (plugin: string, { versions }: AssignedMember) => versions?.get(plugin) ?? '';
  const lacks = (plugin: string, least: string, member: AssignedMember) => {
    if (!member.plugins.has(plugin)) return served(plugin).length > 0;
    return versionOf(plugin, member) < least && served(plugin).some((one) => versionOf(plugin, one) >= least);
  };
  return ({ part, needs, limitsOf = NONE, leastVersion, leastPlugins }, member) => {
    if (member.leaving || member.refuses?.has(part) === true) return Number.POSITIVE_INFINITY;
    let sum = member.version >= leastVersion ? 0 : 1e6;
    const owned = [...limitsOf].filter((plugin) => !needs.has(plugin) && !member.plugins.has(plugin));
    sum += 1e4 * owned.filter((plugin) => served(plugin).length > 0).length;
    for (const plugin of needs) {
      if (lacks(plugin, leastPlugins?.get(plugin) ?? '', member)) sum += 1e4;
      else if (!member.plugins.has(plugin)) continue;
      else if (member.unreachable.has(plugin)) sum += reached(plugin) ? 1e2 : 0;
      else if (tried(plugin, member, part)) sum += 1;
    }
    return sum;
  };
}

const CANNOT_WORK = 1e4;
const CANNOT_REACH = 1e2;

test('a part goes to who serves the plugin whose limits are owned with it, and stays there without its remote', () => {
  const members = [member('a', { plugins: new Set(['p']) }), member('b', { unreachable: new Set(['q']) })];
  const all = parts(2, (part) => ({
    owner: 'a',
    needs: NONE,
    ...(part === 1 && { limitsOf: new Set(['q', 'nowhere']) }),
  }));
  const { view, moves } = settled({ members, parts: all, maxMoving: 1 });
  assert.deepEqual(moves, [{ part: 1, from: 'a', to: 'b', why: 'unfit' }]);
  assert.deepEqual(nextMoves({ ...view, members: [...members, member('c')] }), []);
});

test('from wherever it begins it comes to rest, every part somebody’s who is there for it, and with whom it lies as well as may be', () => {
  for (const made of [after, onTheWay]) {
    fc.assert(
      fc.property(anyView, (begin) => {
        const { view } = settled(begin, made);
        const bad = badness(view);
        for (const part of view.parts) {
          const owner = view.members.find(({ epoch }) => epoch === part.owner);
          const there = view.members.map((one) => bad(part, one)).filter((one) => one < Number.POSITIVE_INFINITY);
          const best = Math.min(...there);
          if (owner === undefined || owner.leaving) {
            assert.deepEqual(there, [], `part ${part.part} lies with ${part.owner}`);
            continue;
          }
          const now = bad(part, owner);
          if (now >= CANNOT_WORK) assert.ok(best >= CANNOT_WORK, `${part.part} can be worked on elsewhere`);
          else if (now >= CANNOT_REACH) assert.ok(best > 0, `${part.part} is reached from elsewhere`);
        }
      }),
      { numRuns: 300 },
    );
  }
});

test('no move makes a part lie worse, none but for balance is between two with whom it lies alike, and what has to move does so once', () => {
  fc.assert(
    fc.property(anyView, (begin) => {
      let view = begin;
      const moved = new Set<number>();
      for (let moves = nextMoves(view); moves.length > 0; moves = nextMoves(view)) {
        for (const move of moves) {
          const bad = badness(view);
          const part = view.parts[move.part] as AssignedPart;
          const [from, to] = [part.owner, move.to].map((epoch) => view.members.find((one) => one.epoch === epoch));
          const [was, becomes] = [
            from && !from.leaving ? bad(part, from) : Number.POSITIVE_INFINITY,
            bad(part, to as AssignedMember),
          ];
          if (move.why === 'balance') assert.equal(becomes, 0, 'for balance it goes to one that is well');
          else {
            assert.ok(becomes < was, `${move.why} from ${was} to ${becomes}`);
            assert.ok(!moved.has(move.part), 'once');
            moved.add(move.part);
            if (move.why === 'unfit') assert.ok(was >= CANNOT_WORK && becomes < CANNOT_WORK);
            if (move.why === 'unreachable') assert.ok(was < CANNOT_WORK && becomes === 0);
          }
          view = after(view, [move]);
        }
      }
    }),
    { numRuns: 300 },
  );
});

test('among members that are alike as few parts move as can', () => {
  const owner = fc.option(fc.nat({ max: 9 }), { nil: undefined });
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 7 }), fc.array(owner, { minLength: 1, maxLength: 40 }), (n, owners) => {
      const members = Array.from({ length: n }, (_, index) => member(`m${index}`));
      const all = parts(owners.length, (part) => ({
        owner: owners[part] === undefined ? undefined : `m${owners[part]}`,
      }));
      const view = { members, parts: all, maxMoving: 2 };
      const had = counts(view).sort((a, b) => b - a);
      const homeless = owners.length - had.reduce((sum, count) => sum + count, 0);
      const share = Math.floor(owners.length / n);
      const more = owners.length % n;
      const tooMany = had.reduce((sum, count, at) => sum + Math.max(0, count - share - (at < more ? 1 : 0)), 0);
      assert.equal(settled(view).moves.length, homeless + tooMany);
    }),
    { numRuns: 300 },
  );
});

test('every member alone computes the same, whatever order its view came in', () => {
  fc.assert(
    fc.property(anyView, fc.integer(), (view, seed) => {
      const shuffled = <T>(list: readonly T[]) =>
        list
          .map((each, at) => [Math.sin(seed + at * 7.3), each] as const)
          .sort((a, b) => a[0] - b[0])
          .map(([, each]) => each);
      assert.deepEqual(
        nextMoves({ ...view, members: shuffled(view.members), parts: shuffled(view.parts) }),
        nextMoves(view),
      );
    }),
    { numRuns: 200 },
  );
});

test('a join of one of n moves as many parts as its share, and a stop those of whoever stops', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 12 }), fc.constantFrom(16, 64, 256), fc.nat(), (n, count, who) => {
      const members = Array.from({ length: n }, (_, index) => member(`m${index}`, { joinedAtMs: index }));
      const before = settled({ members, parts: parts(count), maxMoving: 3 }).view;
      assert.ok(spread(before) <= 1);
      const joined = settled({ ...before, members: [...members, member('new', { joinedAtMs: 99 })] });
      assert.equal(joined.moves.length, Math.floor(count / (n + 1)));
      assert.ok(spread(joined.view) <= 1);
      if (n === 1) return;
      const stops = members[who % n] as AssignedMember;
      const had = before.parts.filter(({ owner }) => owner === stops.epoch).length;
      const left = settled({ ...before, members: members.filter((each) => each !== stops) });
      assert.equal(left.moves.length, had);
      assert.ok(spread(left.view) <= 1);
    }),
    { numRuns: 60 },
  );
});

test('members that come and go without an end move no more than what they bring and take', () => {
  fc.assert(
    fc.property(fc.array(fc.nat({ max: 7 }), { minLength: 5, maxLength: 40 }), (toggles) => {
      const there = new Set(['m8']);
      let view: AssignmentView = { members: [member('m8')], parts: parts(64), maxMoving: 2 };
      view = settled(view).view;
      for (const toggle of toggles) {
        const epoch = `m${toggle}`;
        const had = view.parts.filter(({ owner }) => owner === epoch).length;
        const comes = !there.delete(epoch);
        if (comes) there.add(epoch);
        const { view: next, moves } = settled({ ...view, members: [...there].map((each) => member(each)) });
        assert.equal(moves.length, comes ? Math.floor(64 / there.size) : had);
        view = next;
      }
    }),
    { numRuns: 40 },
  );
});
