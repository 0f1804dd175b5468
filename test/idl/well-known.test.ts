import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HostError } from '../../src/errors/index.js';
import { loadFlyteidlCore } from '../../src/idl/load-core.js';
import { structFromJson, structToJson } from '../../src/idl/struct.js';
import { durationToMs, msToDuration, msToTimestamp, timestampToMs } from '../../src/idl/well-known.js';
import type { JsonObject } from '../../src/lib/json.js';

const idl = loadFlyteidlCore();
const struct = idl.codec('google.protobuf.Struct');
const timestamp = idl.codec('google.protobuf.Timestamp');
const duration = idl.codec('google.protobuf.Duration');

test('every JSON object survives as a Struct', () => {
  const objects = fc.dictionary(fc.string(), fc.jsonValue(), { noNullPrototype: true });
  fc.assert(
    fc.property(objects, (json) => {
      const back = structToJson(struct.decode(struct.encode(structFromJson(json as JsonObject))));
      assert.deepEqual(back, json);
    }),
  );
  const odd = JSON.parse('{"__proto__":{"a":1},"":[[]]}');
  assert.deepEqual(structToJson(struct.decode(struct.encode(structFromJson(odd)))), odd);
  assert.deepEqual(structToJson(null), {});
  assert.deepEqual(structToJson(structFromJson({ kept: 1, dropped: undefined as never }) as never).dropped, undefined);
});

test('what is not JSON is refused with its path', () => {
  for (const [value, pattern] of [
    [{ a: [1, 2n] }, /^Struct\.a\[1\]: expected JSON, got a value of type bigint/],
    [{ a: { b: Number.NaN } }, /^Struct\.a\.b: expected JSON, got the number NaN/],
    [{ a: new Date(0) }, /^Struct\.a: .*\[object Date\]/],
    [{ a: () => 1 }, /of type function/],
    [[1], /^Struct: .*an array/],
    [null, /^Struct: .*\[object Null\]/],
  ] as const) {
    assert.throws(
      () => structFromJson(value as never),
      (error) => HostError.is(error) && error.code === 'ENCODE_INVALID' && pattern.test(error.message),
    );
  }
});

test('times keep their milliseconds, before and after 1970', () => {
  const time = fc.integer({ min: -62_135_596_800_000, max: 253_402_300_799_999 });
  fc.assert(
    fc.property(time, (ms) => {
      const message = timestamp.decode(timestamp.encode(msToTimestamp(ms)));
      assert.ok(message.nanos >= 0 && message.nanos < 1e9);
      assert.equal(timestampToMs(message), ms);
    }),
  );
  assert.equal(timestampToMs(null), null);
  assert.equal(timestampToMs({ seconds: '-1', nanos: 999_999_999 }), -1);
  assert.throws(() => msToTimestamp(Number.NaN), HostError.is);
});

test('durations keep their milliseconds and have parts of one sign', () => {
  fc.assert(
    fc.property(fc.integer({ min: -1e12, max: 1e12 }), (ms) => {
      const message = duration.decode(duration.encode(msToDuration(ms)));
      assert.ok(Number(message.seconds) * message.nanos >= 0);
      assert.equal(durationToMs(message), ms);
    }),
  );
  assert.equal(durationToMs({ seconds: '1', nanos: 500_000 }), 1000.5);
  assert.equal(durationToMs(undefined), null);
  assert.throws(() => msToDuration(Number.POSITIVE_INFINITY), HostError.is);
});
