import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeHandle } from '../../src/model/handle.js';
import { type OwnersBook, ownedTwice } from './owned-twice.js';
import type { Job } from './remote.js';
import type { Attempt } from './story.js';

const PARTS = 8;
/** Of part 3. */
const PARTITION = 100;

function attempt(name: string): Attempt {
  const key = name.padEnd(32, '0');
  const identity = { key, incarnation: 1, plugin: 'keyed', taskType: 'chaos_keyed', quotaNamespace: 'default' };
  const rest = { taskTypeVersion: 0, project: 'p', domain: 'd', namespace: 'n', createdAtMs: 0, outputNames: [] };
  const handle = encodeHandle({ identity: { ...identity, ...rest }, partition: PARTITION } as never);
  return { name, incarnations: [{ handle }] } as unknown as Attempt;
}

const job = (sentAtMs: number, sentBy: number): Job => ({ id: 'j', key: 'k', task: 'a', sentAtMs, sentBy }) as Job;

/** Replica 0 has part 3 from 1 s on, gives it at 2 s; replica 1 takes it at 3 s. Another part is somebody else's. */
const MOVES: OwnersBook['moves'] = [
  { part: 3, replica: 0, tenure: 1, atMs: 1_000 },
  { part: 5, replica: 2, tenure: 1, atMs: 1_500 },
  { part: 3, replica: undefined, tenure: 1, atMs: 2_000 },
  { part: 3, replica: 1, tenure: 2, atMs: 3_000 },
];

function found(jobs: readonly Job[], foreignWrites: OwnersBook['foreignWrites'] = []): readonly string[] {
  const book = { parts: PARTS, moves: MOVES, foreignWrites, replicaOf: (pid: number) => pid - 100 };
  return [...ownedTwice(jobs, new Map([['a', attempt('a')]]), book)].map(({ what }) => what);
}

test('jobs that a replica sent while it had their part are its own, and those that come late of it', () => {
  assert.deepEqual(found([job(1_000, 100), job(1_999, 100), job(2_030, 100), job(3_000, 101), job(9_000, 101)]), []);
});

test('a job that a replica sent before it had the part, after it gave it, or after another one took it is told', () => {
  const before = 'j of a, part 3: sent by replica 1 while nobody had it since 500 ms';
  const after = 'j of a, part 3: sent by replica 0 while 1 had it since 200 ms';
  assert.deepEqual(found([job(2_500, 101)]), [before]);
  assert.deepEqual(found([job(3_200, 100)]), [after]);
  assert.equal(found([job(2_500, 100), job(900, 100), job(1_600, 102)]).length, 3);
});

test('facts that were written to the part of another are told', () => {
  assert.deepEqual(found([], [{ part: 3, replica: 0, owner: 1, facts: 2 }]), [
    'part 3: replica 0 wrote 2 facts while 1 had it',
  ]);
});
