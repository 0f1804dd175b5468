import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { loadPluginHost } from '../../src/idl/load.js';
import { structFromJson, structToJson } from '../../src/idl/struct.js';
import type { JsonObject } from '../../src/lib/json.js';

const idl = loadPluginHost();
const template = idl.codec('flyteidl.core.TaskTemplate');
const literals = idl.codec('flyteidl.core.LiteralMap');

test('a template in JSON form becomes its message, in either spelling of the names', () => {
  const decoded = template.decode(
    template.encodeJson({
      type: 'demo',
      task_type_version: 3,
      metadata: { timeout: '90.5s', retries: { retries: 2 }, discoverable: true },
      custom: { a: [1, null, { b: 'c' }], d: true },
      container: { image: 'i', args: ['x'], resources: { requests: [{ name: 'CPU', value: '1' }] } },
      config: { k: 'v' },
      interface: { outputs: { variables: { o: { type: { simple: 'INTEGER' } } } } },
      securityContext: null,
    }),
  );
  assert.equal(decoded.taskTypeVersion, 3);
  assert.deepEqual(decoded.metadata.timeout, { seconds: '90', nanos: 500_000_000 });
  assert.deepEqual(structToJson(decoded.custom), { a: [1, null, { b: 'c' }], d: true });
  assert.equal(decoded.container.resources.requests[0].name, 'CPU');
  assert.equal(decoded.interface.outputs.variables.o.type.simple, 'INTEGER');
  assert.equal(decoded.securityContext, null);
});

test('literals in JSON form: 64-bit integers as text, bytes in base64, times and durations as text', () => {
  const { literals: map } = literals.decode(
    literals.encodeJson({
      literals: {
        i: { scalar: { primitive: { integer: '9007199254740993' } } },
        t: { scalar: { primitive: { datetime: '2026-01-31T12:00:00.25+01:00' } } },
        d: { scalar: { primitive: { duration: '-1.5s' } } },
        b: { scalar: { binary: { value: 'AQI=', tag: 'x' } } },
        s: { scalar: { generic: { x: 1 } } },
      },
    }),
  );
  assert.equal(map.i.scalar.primitive.integer, '9007199254740993');
  assert.deepEqual(map.t.scalar.primitive.datetime, { seconds: '1769857200', nanos: 250_000_000 });
  assert.deepEqual(map.d.scalar.primitive.duration, { seconds: '-1', nanos: -500_000_000 });
  assert.deepEqual(map.b.scalar.binary.value, Buffer.from([1, 2]));
  assert.deepEqual(structToJson(map.s.scalar.generic), { x: 1 });
});

test('a wrapper is its value alone, as protobuf prints it, or stands in a field named value', () => {
  for (const json of [false, { value: false }]) {
    const decoded = template.decode(template.encodeJson({ type: 'demo', metadata: { generatesDeck: json } }));
    assert.deepEqual(decoded.metadata.generatesDeck, { value: false });
  }
  const wrong = { type: 'demo', metadata: { generatesDeck: 'no' } };
  assert.throws(() => template.encodeJson(wrong), /generatesDeck/);
});

test('wrong forms are refused with the path of the field', () => {
  const cases: [unknown, RegExp][] = [
    [{ typ: 'x' }, /TaskTemplate has no field typ; it has id, type/],
    [{ metadata: { timeout: '90' } }, /TaskTemplate\.metadata\.timeout: expected a duration such as "1\.5s", got "90"/],
    [{ custom: [1] }, /TaskTemplate\.custom: expected an object, got \[1\]/],
    [{ container: { args: 'x' } }, /TaskTemplate\.container\.args: expected an array/],
    [{ interface: { outputs: { variables: [] } } }, /variables: expected an object/],
    [{ task_type_version: 1, taskTypeVersion: 2 }, /twice, in both spellings/],
    ['x', /TaskTemplate: expected an object/],
    [{ container: { resources: { requests: [{ name: 'CPUX' }] } } }, /"?CPUX"? is not a value of enum/],
    [{ type: 5 }, /TaskTemplate\.type/],
    [{ __proto__: null, constructor: {} }, /has no field constructor/],
  ];
  for (const [json, message] of cases) assert.throws(() => template.encodeJson(json), message);
  const binary = (value: unknown) => ({ literals: { b: { scalar: { binary: { value } } } } });
  assert.throws(
    () => literals.encodeJson(binary('not base64!')),
    /literals\[b\]\.scalar\.binary\.value: expected bytes/,
  );
  const time = { literals: { t: { scalar: { primitive: { datetime: '2026-13-31T12:00:00Z' } } } } };
  assert.throws(() => literals.encodeJson(time), /expected a time such as/);
});

test('encoded parts stand for themselves', () => {
  const typedInterface = idl.codec('flyteidl.core.TypedInterface').encodeJson({ inputs: {} });
  assert.deepEqual(
    template.encodeJson({ type: 'a', interface: typedInterface }),
    template.encodeJson({ type: 'a', interface: { inputs: {} } }),
  );
});

test('any JSON object survives as a Struct', () => {
  const struct = idl.codec('google.protobuf.Struct');
  fc.assert(
    fc.property(fc.dictionary(fc.string({ unit: 'grapheme' }), fc.jsonValue({ noUnicodeString: false })), (object) => {
      const json = JSON.parse(JSON.stringify(object)) as JsonObject;
      assert.deepEqual(
        JSON.stringify(structToJson(struct.decode(struct.encode(structFromJson(json))))),
        JSON.stringify(json),
      );
    }),
  );
  assert.throws(() => structFromJson({ a: Number.NaN }), { code: 'ENCODE_INVALID' });
});
