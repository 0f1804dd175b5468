import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HeldState } from '../../src/cluster/held-parts.js';
import {
  countedParts,
  OwnersSeen,
  type ShownCluster,
  shownCluster,
  unservedIf,
} from '../../src/daemon/cluster-shown.js';
import { ManualClock } from '../../src/lib/clock.js';
import { partitionOf, partOf } from '../../src/model/handle.js';
import type { MemberRow, MemberSays } from '../../src/state/index.js';

function member(epoch: string, says?: Partial<MemberSays>): MemberRow {
  const said = { plugins: [], leaving: false, unreachable: [], refused: [], ...says };
  const address = `${epoch}:8000`;
  return { epoch, name: epoch, address, version: '1.2.3', counter: '1', joinedAtMs: 0, ownsSinceMs: 0, says: said };
}

/** Of three replicas, seen by `a`: owners of each part by its epoch, and what becomes of those of its own. */
function seatOf(owners: readonly (string | undefined)[], states: Record<number, HeldState> = {}) {
  const members = [member('a'), member('b', { unreachable: ['slurm'] }), member('c', { leaving: true, refused: [1] })];
  const listeners = new Set<() => void>();
  const seat = {
    role: 'owner' as const,
    parts: owners.length,
    epoch: 'a',
    address: 'a:8000',
    leaseLeftMs: 7_000.4,
    members,
    owner: members.find(({ epoch }) => epoch === owners[0] && epoch !== 'a'),
    silentMs: (epoch: string) => (epoch === 'a' ? undefined : 200),
    stateOf: (part: number) => states[part] ?? (owners[part] === 'a' ? ('owned' as const) : undefined),
    ownerOf: (part: number) => {
      if (owners[part] === 'a') return (states[part] ?? 'owned') === 'owned' ? ('here' as const) : undefined;
      return members.find(({ epoch }) => epoch === owners[part]);
    },
    onChange: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const changed = () => {
    for (const listener of listeners) listener();
  };
  return { seat, changed };
}

function shown(seat: ShownCluster['seat'], parts: Partial<ShownCluster> = {}) {
  const plain = {
    covers: undefined,
    differences: () => [],
    sinceMs: () => undefined,
    inboxOf: () => undefined,
    plugins: [],
    resting: [],
  };
  // biome-ignore lint/suspicious/noExplicitAny: what is answered is JSON
  return shownCluster({ seat, ...plain, ...parts }) as any;
}

test('where one replica works for all it is the owner, and nothing is said of parts', () => {
  const answer = shown({ ...seatOf(['b']).seat, role: 'standby' });
  assert.equal(answer.owner, 'b');
  assert.deepEqual(
    answer.members.map((one: { owner: boolean }) => one.owner),
    [false, true, false],
  );
  for (const key of ['parts', 'limits', 'covers']) assert.ok(!(key in answer), key);
  assert.ok(answer.members.every((one: object) => !('parts' in one)));
  assert.equal(shown(seatOf(['a'], { 0: 'owned' }).seat).owner, 'a');
});

test('of several parts each has its owner, those on their way are of who has their row, and one is nobody’s', () => {
  const { seat } = seatOf(['a', 'b', 'a', undefined], { 2: 'taking' });
  const answer = shown(seat, { covers: 'parts 0 of 4', sinceMs: (part) => (part === 0 ? 1_000 : undefined) });
  assert.deepEqual(answer.parts, [
    { part: 0, owner: 'a', state: 'owned', since: '1970-01-01T00:00:01.000Z' },
    { part: 1, owner: 'b', since: null },
    { part: 2, owner: 'a', state: 'taking', since: null },
    { part: 3, owner: null, since: null },
  ]);
  assert.ok(!('owner' in answer));
  assert.deepEqual([answer.covers, answer.leaseLeftMs], ['parts 0 of 4', 7_000]);
  const [a, b, c] = answer.members;
  assert.deepEqual([a.parts, a.owner, b.parts, b.owner, c.parts, c.owner], [[0, 2], true, [1], true, [], false]);
  assert.deepEqual([b.unreachable, b.doubted, c.leaving, c.refused], [['slurm'], [], true, [1]]);
});

test('the limits of a plugin are with whoever has the part that its id lies in', () => {
  const plugins = ['slurm', 'demo', 'http'];
  const owners = ['a', 'b', 'c', undefined];
  assert.deepEqual(
    shown(seatOf(owners).seat, { plugins }).limits,
    plugins.map((plugin) => {
      const part = partOf(partitionOf(plugin), 4);
      return { plugin, part, owner: owners[part] ?? null };
    }),
  );
});

test('a plugin that rests is among the limits, though it is not configured here, with where it serves and what those lack', () => {
  const part = partOf(partitionOf('slurm'), 4);
  const servedBy = [{ epoch: 'b', lacks: ['demo'] }];
  const resting = [{ plugin: 'slurm', part, owner: 'a', servedBy }];
  const { limits } = shown(seatOf(['a', 'a', 'a', 'a']).seat, { plugins: ['demo'], resting });
  assert.deepEqual(limits, [
    { plugin: 'demo', part: partOf(partitionOf('demo'), 4), owner: 'a' },
    { plugin: 'slurm', part, owner: 'a', rests: { servedBy } },
  ]);
});

test('who owns the limits of a plugin that rests does not serve it, which its figures say', () => {
  const lane = { drawn: 1, lapsed: 0, granted: 0 };
  const figures = { owner: 'other' as const, read: lane, write: lane };
  const resting = [{ plugin: 'slurm', part: 0, owner: 'b', servedBy: [] }];
  assert.deepEqual(unservedIf(resting, 'slurm', figures), { ...figures, owner: 'unserved' });
  assert.deepEqual(unservedIf(resting, 'demo', figures), figures);
});

test('parts of this replica are counted by what becomes of them, and of a state that is one none is', () => {
  const { seat } = seatOf(['a', 'b', 'a', 'a'], { 2: 'giving' });
  assert.deepEqual(countedParts(seat), { taking: 0, owned: 2, giving: 1, given: 0 });
  assert.equal(countedParts(seatOf(['a']).seat), undefined);
});

test('since when a part has its owner is told anew for another one, and not for what becomes of it there', async () => {
  const owners: (string | undefined)[] = ['a', 'b', undefined, 'c'];
  const states: Record<number, HeldState> = { 0: 'taking' };
  const { seat, changed } = seatOf(owners, states);
  const clock = new ManualClock(1_000);
  const seen = new OwnersSeen(seat, clock);
  const all = () => [0, 1, 2, 3].map((part) => seen.sinceMs(part));
  assert.deepEqual(all(), [undefined, undefined, undefined, undefined]);
  changed();
  assert.deepEqual(all(), [1_000, 1_000, undefined, 1_000]);
  await clock.advance(500);
  states[0] = 'owned';
  owners[1] = 'c';
  owners[3] = undefined;
  changed();
  assert.deepEqual(all(), [1_000, 1_500, undefined, undefined]);
});

test('what waits in the inbox for who was asked stands with its part, or with the one owner, and nothing where nothing does', () => {
  const inboxOf = (part: number) => (part === 0 ? { waiting: 2, running: 1, oldestMs: 1_500.4 } : undefined);
  const inbox = { waiting: 2, running: 1, oldestMs: 1_500 };
  assert.deepEqual(shown(seatOf(['a']).seat, { inboxOf }).inbox, inbox);
  const { parts } = shown(seatOf(['a', 'a', 'b']).seat, { inboxOf });
  assert.deepEqual(
    parts.map((one: { inbox?: object }) => one.inbox),
    [inbox, undefined, undefined],
  );
  assert.ok(!('inbox' in shown(seatOf(['a']).seat)));
});
