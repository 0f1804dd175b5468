import assert from 'node:assert/strict';
import { test } from 'node:test';
import { encodeMeta } from '../../src/sandbox/meta.js';
import { toPhaseState } from '../../src/sandbox/phase-answer.js';

const context = {
  method: 'get',
  outputsWritten: false,
  encodeOutputs: () => Buffer.alloc(0),
  redact: (text: string) => text,
};

const LOST: Record<string, unknown> = {
  'beyond 2^53': Number('9007199254740993'),
  'far beyond': -1e20,
  'not a number': Number.NaN,
  infinite: Number.POSITIVE_INFINITY,
  bigint: 1n,
  date: new Date(0),
  map: new Map([[1, 2]]),
  hole: Array(2),
  'undefined in a list': [undefined],
  'a toJSON of its own': { toJSON: () => 'something else' },
};

test('what JSON would change is refused in metas and custom info, with its path', () => {
  for (const [what, value] of Object.entries(LOST)) {
    assert.throws(() => encodeMeta({ a: [{ b: value }] }, undefined), { code: 'RESOURCE_META_INVALID' }, what);
    const info = { phase: 'RUNNING', customInfo: { a: [{ b: value }] } };
    assert.throws(() => toPhaseState(info, context), { name: 'InvalidAnswer' }, what);
  }
  assert.throws(() => encodeMeta({ a: [{ id: 2 ** 53 }] }, undefined), /resourceMeta\.a\[0\]\.id .*keep it as a text/);
});

test('what JSON carries is taken as it is, own keys of odd names too', () => {
  const plain = JSON.parse('{"__proto__":{"a":1},"constructor":2,"n":9007199254740991,"f":1.5,"t":"\ud83d\ude00"}');
  assert.deepEqual(JSON.parse(encodeMeta(plain, undefined).toString()), plain);
  assert.deepEqual(toPhaseState({ phase: 'RUNNING', customInfo: plain }, context).customInfo, plain);
});

test('half a surrogate pair in a meta is refused with its path, and whole ones are kept', () => {
  const half = 'cut \ud83d';
  assert.throws(
    () => encodeMeta({ a: [{ b: half }] }, undefined),
    /resourceMeta\.a\[0\]\.b holds half a surrogate pair/,
  );
  assert.throws(() => encodeMeta({ a: { [half]: 1 } }, undefined), /resourceMeta\.a\.cut . holds half/);
  assert.throws(() => encodeMeta(half, undefined), { code: 'RESOURCE_META_INVALID' });
  const whole = { '😀': ['a\\ud83d', '\ud83d\ude00'] };
  assert.deepEqual(JSON.parse(encodeMeta(whole, undefined).toString()), whole);
});
