import assert from 'node:assert/strict';
import { test } from 'node:test';
import { BackWriter } from '../../src/idl/back-writer.js';
import { encodeVarint, lenField } from '../../src/idl/wire.js';

const number = (field: number, value: number) => Buffer.concat([encodeVarint(field * 8), encodeVarint(value)]);

test('a message that is written from its end is the one that is written from its start', () => {
  const writer = new BackWriter();
  const numbers = [1, 127, 128, 16_383, 16_384, 2 ** 32 - 1, 2 ** 32, 2 ** 49, Number.MAX_SAFE_INTEGER];
  const texts = ['a', 'ä\u{1F600}\0', 'x'.repeat(127), 'y'.repeat(128), 'é'.repeat(9_000)];
  for (const value of numbers) {
    for (const text of texts) {
      writer.begin();
      writer.text(2_047, text);
      const before = writer.size;
      writer.number(16, value);
      writer.text(3, text);
      writer.fields(number(1, 5));
      writer.embed(2, before);
      writer.number(1, value);
      const embedded = Buffer.concat([number(1, 5), lenField(3, text), number(16, value)]);
      const expected = Buffer.concat([number(1, value), lenField(2, embedded), lenField(2_047, text)]);
      assert.deepEqual(writer.finish(), expected, `${value} and ${text.length} characters`);
    }
  }
});

test('what is empty is left out, but an embedded message that is empty is there', () => {
  const writer = new BackWriter();
  writer.begin();
  writer.number(3, 0);
  writer.text(2, '');
  writer.embed(1, 0);
  assert.deepEqual(writer.finish(), Buffer.from([0x0a, 0]));
});

test('a message keeps its bytes when another one is written', () => {
  const writer = new BackWriter();
  const write = (text: string) => {
    writer.begin();
    writer.text(1, text);
    return writer.finish();
  };
  const first = write('first');
  assert.deepEqual(write('other'), lenField(1, 'other'));
  assert.deepEqual(first, lenField(1, 'first'));
});

test('half a surrogate pair has no UTF-8 and is refused', () => {
  const writer = new BackWriter();
  writer.begin();
  assert.throws(() => writer.text(1, 'a\ud83d'), { code: 'ENCODE_INVALID' });
});
