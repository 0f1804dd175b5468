import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { epochMsOf, smallTimeOf } from '../../src/lib/small-time.js';
import type { TaskIdentity } from '../../src/model/handle.js';
import { compactState, phaseState } from '../../src/model/phase-state.js';
import { TASK_STAGES } from '../../src/model/task-record.js';
import { Entry } from '../../src/store/entry.js';
import { sharedScope } from '../../src/store/scopes.js';
import { identityOf } from '../support/identity.js';

/** Few values of each, so that equal scopes and such as differ in one thing come about, in any order. */
const word = fc.constantFrom('', 'a', 'b', 'a,b', '"');
const identities: fc.Arbitrary<TaskIdentity> = fc.record(
  {
    plugin: word,
    taskType: word,
    taskTypeVersion: fc.constantFrom(0, 1),
    key: fc.constantFrom('a', 'k1', '0123456789abcdef0123456789abcdef'),
    incarnation: fc.constantFrom(1, 2, 10),
    project: word,
    domain: word,
    namespace: word,
    quotaNamespace: word,
    createdAtMs: fc.constantFrom(0, 1, 1_700_000_000_000, 253_402_300_799_999),
    outputNames: fc.constantFrom(undefined, [], ['a'], ['a', 'b'], ['a,b']),
  },
  { noNullPrototype: true },
);

const recordOf = (identity: TaskIdentity, adopted = false) => {
  const handle = adopted ? { answeredHandle: Buffer.from('h') } : {};
  return new Entry({ identity, stage: 'live', state: phaseState('RUNNING'), outputPrefix: '', adopted, ...handle }, 5);
};

test('a record says the identity that it was made with, whatever identities were seen before it', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(identities, fc.boolean()), { minLength: 1, maxLength: 20 }), (all) => {
      const records = all.map(([identity, adopted]) => recordOf(identity, adopted));
      records.forEach((record, at) => {
        assert.deepEqual(record.identity, all[at]![0]);
        assert.deepEqual([record.key, record.incarnation], [all[at]![0].key, all[at]![0].incarnation]);
      });
    }),
  );
});

test('equal scopes are one object, and no other is', () => {
  const identity = identityOf('a');
  const scope = sharedScope(identity);
  assert.equal(sharedScope({ ...identity, key: 'b', createdAtMs: 9 }), scope);
  assert.notEqual(sharedScope({ ...identity, quotaNamespace: 'other' }), scope);
  assert.notEqual(sharedScope({ ...identity, outputNames: ['x'] }), scope);
  assert.equal(sharedScope({ ...identity }), scope);
});

test('a scope that differs in one thing alone from the one asked for last, or from the one before, is another', () => {
  const identity = identityOf('a', { outputNames: ['x'] });
  const others: Partial<TaskIdentity>[] = [
    { plugin: 'other' },
    { taskType: 'other' },
    { taskTypeVersion: 7 },
    { incarnation: 2 },
    { project: 'other' },
    { domain: 'other' },
    { namespace: 'other' },
    { quotaNamespace: 'other' },
    { outputNames: ['y'] },
  ];
  for (const other of others) {
    const [one, two] = [identity, { ...identity, ...other }];
    for (const asked of [one, two, one, one, two, two, one]) {
      const { key: _, createdAtMs: __, ...scope } = asked;
      assert.deepEqual(sharedScope(asked), scope);
    }
  }
});

test('of so many scopes that nobody can have them all in use the kept ones are forgotten', () => {
  const identity = identityOf('a', { project: 'forgotten', outputNames: ['x'] });
  const first = sharedScope(identity);
  for (let i = 0; i < 10_000; i++) sharedScope({ ...identity, project: `p${i}` });
  const again = sharedScope({ ...identity, outputNames: ['x'] });
  assert.notEqual(again, first);
  assert.deepEqual(again, first);
});

test('plain states that say the same are one object, and one that says more is left alone', () => {
  const plain = () => compactState(phaseState('RUNNING', { reason: 'on node 3', remotePhase: 'R' }));
  assert.equal(plain(), plain());
  assert.notEqual(compactState(phaseState('RUNNING', { reason: 'on node 4', remotePhase: 'R' })), plain());
  assert.notEqual(compactState({ ...plain(), nextPollAfterMs: 7 }), plain());
  const customInfo = { gpu: 1 };
  for (const more of [{ customInfo }, { outputs: { kind: 'prefix' as const } }, { logs: [{ uri: 'x' }] }]) {
    const state = phaseState('RUNNING', { reason: 'on node 3', remotePhase: 'R', ...more });
    assert.deepEqual(compactState(state), state);
    assert.notEqual(compactState(state), compactState(state));
  }
});

test('a whole millisecond of any year is kept as it is, and a part of one is cut off', () => {
  const ms = fc.integer({ min: 0, max: 253_402_300_799_999 });
  fc.assert(fc.property(ms, (epochMs) => assert.equal(epochMsOf(smallTimeOf(epochMs)), epochMs)));
  assert.equal(epochMsOf(smallTimeOf(1_700_000_000_000.9)), 1_700_000_000_000);
});

test('stage and marks of a record change one by one', () => {
  const marks = fc.constantFrom('telling' as const, 'confirmed' as const, 'deleted' as const);
  const step = fc.oneof(
    fc.tuple(marks, fc.boolean()),
    fc.tuple(fc.constant('stage' as const), fc.constantFrom(...TASK_STAGES)),
  );
  fc.assert(
    fc.property(fc.array(step), fc.boolean(), (steps, adopted) => {
      const record = recordOf(identityOf('a'), adopted);
      const expected = { stage: 'live', telling: false, confirmed: adopted, deleted: false, key: record.key, adopted };
      for (const [name, value] of steps) {
        Object.assign(record, { [name]: value });
        Object.assign(expected, { [name]: value });
      }
      const { stage, telling, confirmed, deleted, key } = record;
      assert.deepEqual({ stage, telling, confirmed, deleted, key, adopted: record.adopted }, expected);
    }),
  );
});
