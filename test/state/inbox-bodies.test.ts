import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type ErrorCode, HostError } from '../../src/errors/index.js';
import { phaseState } from '../../src/model/phase-state.js';
import { encodeValue } from '../../src/state/facts/envelope.js';
import { text } from '../../src/state/facts/fields.js';
import { decodeDeleteBody, decodeDoBody, encodeDeleteBody, encodeDoBody, smallOf } from '../../src/state/index.js';

const is = (code: ErrorCode) => (error: unknown) => HostError.is(error) && error.code === code;
const ORDER = { handle: Buffer.from('handle'), reason: 'not needed', outputPrefix: 's3://bucket' };

test('a delete and the end of a Do are read as they were put', () => {
  assert.deepEqual(decodeDeleteBody('name', encodeDeleteBody('name', ORDER)), ORDER);
  const outputs = { literalMap: Buffer.from('map'), names: ['a'] };
  const end = {
    state: smallOf(phaseState('SUCCESS', { outputs: { kind: 'inline', ...outputs } })),
    outputs,
    endedAtMs: 5,
  };
  const read = decodeDoBody('key', encodeDoBody('key', end));
  assert.deepEqual([read.state.phase, read.outputs, read.endedAtMs], ['SUCCESS', outputs, 5]);
});

test('what was altered, or stands under another name, is damaged', () => {
  const body = encodeDeleteBody('name', ORDER);
  const altered = Buffer.from(body);
  altered[0] = 2;
  assert.throws(() => decodeDeleteBody('other', body), is('STATE_DAMAGED'));
  assert.throws(() => decodeDeleteBody('name', body.subarray(0, -1)), is('STATE_DAMAGED'));
  assert.throws(() => decodeDeleteBody('name', altered), is('STATE_DAMAGED'));
});

test('what a later release wrote is told as such', () => {
  const later = encodeValue('inbox/delete/name', { version: 2, field: text }, 'in another way');
  assert.throws(() => decodeDeleteBody('name', later), is('STATE_FORMAT_NEWER'));
});
