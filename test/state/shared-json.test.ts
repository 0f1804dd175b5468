import assert from 'node:assert/strict';
import { test } from 'node:test';
import { record, text, unless } from '../../src/state/facts/fields.js';
import { SharedJson } from '../../src/state/facts/shared-json.js';

interface Said {
  readonly a: string;
  readonly b: string;
}
const said = () => new SharedJson<Said>(record<Said>({ a: text, b: unless('', text) }));

test('equal texts are read as one frozen object, others as their own, in whatever order they come', () => {
  const shared = said();
  const bytes = (a: string) => shared.write({ a, b: '' });
  const first = shared.read(bytes('x'), 'said');
  assert.deepEqual(first, { a: 'x', b: '' });
  assert.ok(Object.isFrozen(first));
  const other = shared.read(bytes('läuft \u{1f680}'), 'said');
  assert.equal(other.a, 'läuft \u{1f680}');
  assert.equal(shared.read(Buffer.from(bytes('x')), 'said'), first);
  assert.equal(shared.read(bytes('läuft \u{1f680}'), 'said'), other);
});

test('what was read does not change with the bytes that it was read from', () => {
  const shared = said();
  const bytes = Buffer.from(shared.write({ a: 'x', b: '' }));
  shared.read(bytes, 'said');
  bytes[bytes.indexOf('x')] = 'y'.charCodeAt(0);
  assert.equal(shared.read(bytes, 'said').a, 'y');
  assert.equal(shared.read(shared.write({ a: 'x', b: '' }), 'said').a, 'x');
});

test('what is too long to be that of many, and more than are kept, is read all the same', () => {
  const shared = said();
  const long = 'l'.repeat(5_000);
  assert.equal(shared.read(shared.write({ a: long, b: '' }), 'said').a, long);
  for (let i = 0; i < 10_000; i++)
    assert.equal(shared.read(shared.write({ a: String(i), b: 'b' }), 'said').a, String(i));
});

test('a value that may change is written as it is each time, one that cannot is written once', () => {
  const shared = said();
  const value = { a: 'x', b: '' };
  shared.write(value);
  value.a = 'y';
  assert.equal(shared.read(shared.write(value), 'said').a, 'y');
  const fixed = Object.freeze({ a: 'z', b: '' });
  assert.equal(shared.write(fixed), shared.write(fixed));
});

test('what is no such text is refused, and nothing of it is kept', () => {
  const shared = said();
  for (const bad of ['null', '{}', '[', '"x"', ''])
    assert.throws(() => shared.read(Buffer.from(bad), 'said'), Error, bad);
  assert.equal(shared.read(Buffer.from('{"a":"1"}'), 'said').a, '1');
});
