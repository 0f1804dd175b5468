import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { decodeHandle, encodeHandle, type Handle, MAX_HANDLE_OVERHEAD } from '../../src/model/handle.js';
import { HANDLE_KEYS, HandleKeys, handleKeyTexts } from '../../src/model/handle-keys.js';
import { underSignatureOf, withChecksum } from './made-up-handles.js';

const FIRST = 'a-first-key-of-more-than-32-characters';
const SECOND = 'another-key-of-more-than-32-characters';

const handle: Handle = {
  identity: {
    plugin: 'slurm',
    taskType: 'slurm_job',
    taskTypeVersion: 0,
    key: '0123456789abcdef0123456789abcdef',
    incarnation: 1,
    project: 'flytesnacks',
    domain: 'development',
    namespace: 'flytesnacks-development',
    quotaNamespace: 'default',
    createdAtMs: 1_790_000_000_000,
    outputNames: ['o0'],
  },
  meta: Buffer.from('{"jobId":17}'),
};

const check = (keys: HandleKeys, bytes: Buffer) => keys.check(bytes, decodeHandle(bytes));

test('a handle is right under the key that signed it, wherever that key stands, and unknown to others', () => {
  const bytes = encodeHandle(handle, new HandleKeys([FIRST]).signer);
  assert.equal(check(new HandleKeys([FIRST]), bytes), 'right');
  assert.equal(check(new HandleKeys([SECOND, FIRST]), bytes), 'right');
  assert.equal(check(new HandleKeys([SECOND]), bytes), 'unknown');
  assert.equal(check(new HandleKeys([FIRST]), encodeHandle(handle)), 'none');
});

test('of two keys that share their id each verifies what it has signed, and what was altered is wrong under both', () => {
  const twins = ['key-with-an-id-of-its-own-00001596', 'key-with-an-id-of-its-own-00029079'];
  const keys = new HandleKeys(twins);
  assert.equal(keys.ids[0], keys.ids[1]);
  for (const twin of twins) assert.equal(check(keys, encodeHandle(handle, new HandleKeys([twin]).signer)), 'right');
  const made = underSignatureOf(encodeHandle(handle, keys.signer), { ...handle, partition: 9 });
  assert.equal(check(keys, made), 'wrong');
});

test('equal handles under one key are equal bytes, under another key other ones, and a signature fits the bound of a handle', () => {
  const one = encodeHandle(handle, new HandleKeys([FIRST]).signer);
  assert.deepEqual(encodeHandle(structuredClone(handle), new HandleKeys([FIRST, SECOND]).signer), one);
  assert.notDeepEqual(encodeHandle(handle, new HandleKeys([SECOND, FIRST]).signer), one);
  const outputNames = Array.from({ length: 60 }, (_, i) => `output_number_${i}`);
  const long = encodeHandle({ ...handle, meta: undefined, identity: { ...handle.identity, outputNames } });
  assert.ok(long.length <= MAX_HANDLE_OVERHEAD, `${long.length} bytes`);
});

test('no byte of a signed handle can be changed, cut or added so that its signature is right', () => {
  const keys = new HandleKeys([FIRST, SECOND]);
  const bytes = encodeHandle(handle, keys.signer);
  const seen = new Set<string>();
  const isRight = (altered: Buffer) => {
    try {
      const signature = check(keys, withChecksum(altered));
      seen.add(signature);
      return signature === 'right';
    } catch {
      return false;
    }
  };
  for (let at = 8; at < bytes.length; at++) {
    for (const bit of [1, 2, 0x20, 0x80]) {
      const altered = Buffer.from(bytes);
      altered[at] = (altered[at] as number) ^ bit;
      assert.equal(isRight(altered), false, `changed at ${at}`);
    }
  }
  for (let length = 0; length < bytes.length; length++) {
    assert.equal(isRight(Buffer.from(bytes.subarray(0, length))), false, `cut at ${length}`);
  }
  for (const more of ['}', ' ', '\0']) assert.equal(isRight(Buffer.concat([bytes, Buffer.from(more)])), false);
  assert.ok(seen.has('wrong') && seen.has('unknown'), 'some are refused for their signature, not for their form');
});

test('what one handle says cannot be put under the signature of another', () => {
  const keys = new HandleKeys([FIRST]);
  const other = { ...handle, identity: { ...handle.identity, plugin: 'other' } };
  fc.assert(
    fc.property(fc.constantFrom<Handle>(handle, other), fc.integer({ min: 0, max: 255 }), (victim, partition) => {
      const mine = encodeHandle({ ...handle, partition: 7 }, keys.signer);
      const made = underSignatureOf(mine, { ...victim, partition });
      const same = victim === handle && partition === 7;
      assert.equal(check(keys, made), same ? 'right' : 'wrong');
    }),
  );
});

test('a text holds a key a line; comments, empty lines and blanks around are left out', () => {
  for (const before of ['# newest first\r\n  ', '\ufeff', '\ufeff# newest first\r\n']) {
    assert.deepEqual(handleKeyTexts(`${before}${FIRST}  \n\n${SECOND}\n`), [FIRST, SECOND]);
  }
});

test('a text that holds no usable keys says what is wrong with it and quotes none of it', () => {
  const wrong: [text: string, says: RegExp][] = [
    ['', /holds no key/],
    ['# only a comment\n\n', /holds no key/],
    ['short', /line 1 is no key \(5 characters seen\); expected 32 to 1024/],
    [`${FIRST}\n${'x'.repeat(1025)}`, /line 2 is no key/],
    [`${FIRST} with blanks`, /line 1 is no key/],
    [`${FIRST}\n${FIRST}`, /line 2 repeats a key/],
    [Array.from({ length: HANDLE_KEYS.max + 1 }, (_, i) => `${FIRST}${i}`).join('\n'), /holds 17 keys; expected 16/],
  ];
  for (const [text, says] of wrong) {
    const read = handleKeyTexts(text);
    assert.ok('problem' in read, text.slice(0, 40));
    assert.match(read.problem, says);
    assert.ok(!read.problem.includes('first-key'));
  }
});
