import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { HostError } from '../../src/errors/index.js';
import { type PhaseState, phaseState } from '../../src/model/phase-state.js';
import { PHASES } from '../../src/plugin-api/phase.js';
import { smallOf, wholeState } from '../../src/state/facts/phase-fields.js';
import {
  decodeFact,
  decodePair,
  encodeFact,
  FACT_KINDS,
  factKey,
  partsOfKey,
  READABLE_SINCE,
} from '../../src/state/index.js';
import { identityOf } from '../support/identity.js';
import { encoded, SAMPLE, sampleFacts } from './sample-facts.js';

const text = fc.string({ unit: 'grapheme', maxLength: 40 });
const blob = fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes));
const whole = fc.nat();
const ms = fc.double({ min: 0, max: 2e12, noNaN: true }).map((value) => value + 0);
const json = fc.dictionary(fc.string(), fc.jsonValue()).map((value) => JSON.parse(JSON.stringify(value)));
const log = fc.record({ uri: text, name: text, ttlMs: ms }, { requiredKeys: ['uri'], noNullPrototype: true });
const optional = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined });

const state: fc.Arbitrary<PhaseState> = fc.record({
  phase: fc.constantFrom(...PHASES),
  reason: text,
  error: optional(
    fc.record(
      { code: text, message: text, kind: fc.constantFrom('USER' as const, 'SYSTEM' as const) },
      { noNullPrototype: true },
    ),
  ),
  logs: fc.array(log, { maxLength: 3 }),
  customInfo: optional(json),
  externalResources: fc.array(
    fc.record(
      { externalId: text, index: whole, logs: fc.array(log, { maxLength: 2 }), customInfo: json },
      { requiredKeys: ['externalId'], noNullPrototype: true },
    ),
    { maxLength: 3 },
  ),
  outputs: fc.oneof(
    fc.constant({ kind: 'none' as const }),
    fc.constant({ kind: 'prefix' as const }),
    fc.record(
      { kind: fc.constant('inline' as const), literalMap: blob, names: fc.array(text) },
      { noNullPrototype: true },
    ),
  ),
  remotePhase: text,
  version: whole,
  nextPollAfterMs: optional(ms),
});

const bare = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

/** By READABLE_SINCE: a format that is raised is one that the release before cannot read, which parts of a state are not to go to. */
const FORMATS = { readableSince: undefined, raised: { task: 2 } };

describe('facts', () => {
  it('says by which release what it writes can be read, whenever a format is raised', () => {
    const versions = sampleFacts().map(
      ({ kind, name, fact }) => [kind, encodeFact(kind, name, fact as never)[0]] as const,
    );
    const raised = Object.fromEntries(versions.filter(([, version]) => version !== 1));
    assert.deepEqual({ readableSince: READABLE_SINCE, raised }, FORMATS);
  });

  it('reads every kind as it was written, with all that a fact may say', () => {
    for (const { kind, name, fact } of sampleFacts()) {
      const value = encodeFact(kind, name, fact as never);
      assert.deepEqual(bare(decodeFact(kind, name, value)), bare(fact), kind);
      assert.deepEqual(bare(decodePair(factKey(kind, name), value).fact), bare(fact), kind);
    }
    assert.deepEqual(
      sampleFacts()
        .map(({ kind }) => kind)
        .sort(),
      [...FACT_KINDS].sort(),
      'the sample has every kind',
    );
  });

  it('gives back any state of a task, byte for byte and field for field', () => {
    fc.assert(
      fc.property(state, fc.array(text), optional(blob), (known, outputNames, meta) => {
        const fact = { ...SAMPLE.task, state: smallOf(known), meta, identity: identityOf('k', { outputNames }) };
        const read = decodeFact('task', 'k-1', encodeFact('task', 'k-1', fact));
        assert.deepEqual(read.meta, meta);
        assert.deepEqual(read.identity.outputNames, outputNames);
        const outputs = known.outputs.kind === 'inline' ? known.outputs : undefined;
        const kept =
          outputs === undefined
            ? undefined
            : decodeFact(
                'outputs',
                'k-1',
                encodeFact('outputs', 'k-1', { literalMap: outputs.literalMap, names: outputs.names }),
              );
        const again = wholeState(read.state, kept);
        assert.deepEqual(again && { ...phaseState('QUEUED'), ...again }, { ...phaseState('QUEUED'), ...known });
      }),
    );
  });

  it('tells names that are properties of every object from facts', () => {
    const labels = Object.fromEntries([
      ['__proto__', 'x'],
      ['constructor', 'y'],
      ['toString', ''],
    ]);
    const fact = { ...SAMPLE.payload, metadata: { ...SAMPLE.payload.metadata, labels } };
    const read = decodeFact('payload', 'k', encodeFact('payload', 'k', fact));
    assert.deepEqual(Object.entries(read.metadata.labels), Object.entries(labels));
    for (const key of ['constructor/x', '__proto__/x', 'toString', 'hasOwnProperty/y', '', '/', 'Task/x']) {
      assert.equal(partsOfKey(key), undefined, key);
    }
  });

  it('says that a value is damaged, whichever of its bytes was changed, cut or added, and takes none for another', () => {
    const damage = fc.oneof(
      fc.record({ kind: fc.constant('flip' as const), at: fc.nat(), bit: fc.nat(7) }),
      fc.record({ kind: fc.constant('cut' as const), at: fc.nat(), bit: fc.constant(0) }),
      fc.record({ kind: fc.constant('add' as const), at: fc.nat(255), bit: fc.constant(0) }),
    );
    fc.assert(
      fc.property(fc.constantFrom(...sampleFacts()), damage, (fact, { kind, at, bit }) => {
        const value = encodeFact(fact.kind, fact.name, fact.fact as never);
        const place = at % value.length;
        const bad =
          kind === 'cut'
            ? value.subarray(0, place)
            : kind === 'add'
              ? Buffer.concat([value, Buffer.from([at])])
              : Buffer.from(value);
        if (kind === 'flip') bad[place] = (bad[place] as number) ^ (1 << bit);
        assert.throws(
          () => decodeFact(fact.kind, fact.name, bad),
          (error) =>
            HostError.is(error) &&
            error.code === 'STATE_DAMAGED' &&
            error.message.includes(factKey(fact.kind, fact.name)),
        );
      }),
    );
  });

  it('refuses a value that stands under another key', () => {
    const value = encodeFact('task', 'a1-3', SAMPLE.task);
    assert.throws(() => decodeFact('task', 'a1-4', value), { code: 'STATE_DAMAGED' });
  });

  it('refuses what a later release wrote, with its format, and a kind that it does not know', () => {
    for (const [key, value] of encoded()) {
      const later = Buffer.from(value);
      later[0] = 200;
      resum(key, later);
      assert.throws(() => decodePair(key, later), { code: 'STATE_FORMAT_NEWER', message: /format 200/ });
    }
    assert.throws(() => decodePair('lease/3', Buffer.alloc(20)), { code: 'STATE_FORMAT_NEWER', message: /"lease\/3"/ });
  });
});

/** Puts the right checksum on a value that was altered on purpose. */
function resum(key: string, value: Buffer): void {
  value.writeUInt32BE(crc32(value.subarray(5), crc32(`${key}\n${value[0]}`)), 1);
}
