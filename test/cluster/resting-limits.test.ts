import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type RestingLimits, RestingSeen, restingLimits } from '../../src/cluster/resting-limits.js';
import { partOfLimits } from '../../src/model/limits-tenancy.js';
import type { MemberRow, MembersView } from '../../src/state/index.js';
import { SAYS } from './virtual-replicas.js';

const PARTS = 4;
/** Plugins whose limits lie in one part, and one of another part. */
const [one, two] = names(0) as [string, string];
const [elsewhere] = names(1) as [string];

function names(part: number): string[] {
  return Array.from({ length: 40 }, (_, i) => `p${i}`).filter((name) => partOfLimits(name, PARTS) === part);
}

function member(epoch: string, ...plugins: string[]): MemberRow {
  const says = { ...SAYS, plugins };
  const row = {
    name: epoch,
    address: undefined,
    version: '1.0.0',
    counter: '1',
    joinedAtMs: 0,
    ownsSinceMs: undefined,
  };
  return { ...row, epoch, says };
}

/** `owners`: of each part; `needs`: of the first. */
function view(members: readonly MemberRow[], owners: string, needs: readonly string[] = []): MembersView {
  const parts = [...owners].map((owner, part) => {
    const of = { plugins: part === 0 ? needs : [], leastVersion: undefined, hasLimits: true };
    return { part, owner: owner === '-' ? undefined : owner, tenure: '1', needs: of };
  });
  return { parts, members };
}

const nobody = () => false;

test('of two plugins of one part that serve at different replicas only the one rests that does not serve where the part is, and it is said what keeps the part there', () => {
  const members = [member('a', one, elsewhere), member('b', two, elsewhere)];
  assert.deepEqual(restingLimits(view(members, 'abab'), nobody), [
    { plugin: two, part: 0, owner: 'a', servedBy: [{ epoch: 'b', lacks: [one] }] },
  ]);
  assert.deepEqual(restingLimits(view(members, 'baba'), nobody), [
    { plugin: one, part: 0, owner: 'b', servedBy: [{ epoch: 'a', lacks: [two] }] },
  ]);
});

test('what tasks of the part need keeps it as well, and what serves nowhere does not', () => {
  const members = [member('a', elsewhere), member('b', one)];
  const needs = [`${elsewhere}@2.0.0`, 'gone'];
  assert.deepEqual(restingLimits(view(members, 'aaaa', needs), nobody), [
    { plugin: one, part: 0, owner: 'a', servedBy: [{ epoch: 'b', lacks: [elsewhere] }] },
  ]);
  assert.deepEqual(restingLimits(view(members, 'aaaa'), nobody)[0]?.servedBy, [{ epoch: 'b', lacks: [] }]);
});

test('nothing rests that serves where its limits are, or nowhere, nor while they are nobody’s that lives', () => {
  const members = [member('a', one, two, elsewhere), member('b', two, elsewhere)];
  assert.deepEqual(restingLimits(view(members, 'abab'), nobody), []);
  assert.deepEqual(
    restingLimits(view(members, 'bbbb'), nobody).map(({ plugin }) => plugin),
    [one],
  );
  assert.deepEqual(
    restingLimits(view(members, 'b-b-'), (epoch) => epoch === 'b'),
    [],
  );
  assert.deepEqual(
    restingLimits(view(members, 'bbbb'), (epoch) => epoch === 'a'),
    [],
  );
  const { says: _, ...silent } = member('a');
  assert.deepEqual(restingLimits(view([{ ...silent, says: undefined }], 'aaaa'), nobody), []);
});

test('what rests for a moment, as limits move, is not told of; what goes on is told of once, and anew after it did not', () => {
  const seen = new RestingSeen();
  const rests = (plugin: string): RestingLimits => ({ plugin, part: 0, owner: 'a', servedBy: [] });
  const told = (nowMs: number, ...plugins: string[]) => seen.saw(plugins.map(rests), nowMs).map(({ plugin }) => plugin);
  assert.deepEqual(told(0, 'p'), []);
  assert.deepEqual(told(14_000, 'p', 'q'), []);
  assert.deepEqual(told(15_000, 'p', 'q'), ['p']);
  assert.deepEqual(told(20_000, 'p'), []);
  assert.deepEqual(told(29_000, 'p', 'q'), [], 'it did not for a moment');
  assert.deepEqual(told(35_000, 'q'), []);
  assert.deepEqual(told(36_000, 'p', 'q'), []);
  assert.deepEqual(told(60_000, 'p', 'q'), ['p', 'q']);
});
