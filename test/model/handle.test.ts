import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HostError } from '../../src/errors/index.js';
import { attemptKeyOf, idempotencyKeyOf } from '../../src/model/attempt-key.js';
import {
  decodeHandle,
  encodeHandle,
  type Handle,
  MAX_HANDLE_OVERHEAD,
  partitionOf,
  type ReadHandle,
} from '../../src/model/handle.js';
import { forge, headerOf, madeUp, mutated } from './made-up-handles.js';

/** What Create takes: any text but control characters, which have no place in a listing. */
const name = fc.string({ unit: 'grapheme', maxLength: 30 }).map((text) => text.replace(/\p{Cc}/gu, ''));
const id = fc.stringMatching(/^[a-z][a-z0-9-]{0,39}$/);
const anyHandle: fc.Arbitrary<Handle> = fc.record({
  identity: fc.record({
    plugin: id,
    taskType: id,
    taskTypeVersion: fc.integer({ min: 0, max: 1000 }),
    key: fc.stringMatching(/^[0-9a-f]{32}$/),
    incarnation: fc.integer({ min: 1, max: 1e6 }),
    project: name,
    domain: name,
    namespace: name,
    quotaNamespace: name,
    createdAtMs: fc.integer({ min: 0, max: 4e12 }),
    outputNames: fc.option(fc.array(name, { maxLength: 5 }), { nil: undefined }),
  }),
  meta: fc.option(
    fc.uint8Array({ maxLength: 2000 }).map((bytes) => Buffer.from(bytes)),
    { nil: undefined },
  ),
});

const sample: Handle = {
  identity: {
    plugin: 'slurm',
    taskType: 'slurm_job',
    taskTypeVersion: 0,
    key: attemptKeyOf({ name: 'a', executionId: '' }),
    incarnation: 1,
    project: 'flytesnacks',
    domain: 'development',
    namespace: 'flytesnacks-development',
    quotaNamespace: 'default',
    createdAtMs: 1_790_000_000_000,
    outputNames: ['o0', 'o1'],
  },
  meta: Buffer.from('{"jobId":17}'),
};

function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    assert.ok(HostError.is(error), String(error));
    return error.code;
  }
  return 'nothing was thrown';
}

test('a handle comes back as it was encoded, and equal handles are equal bytes', () => {
  fc.assert(
    fc.property(anyHandle, (handle) => {
      const bytes = encodeHandle(handle);
      assert.deepEqual(bytes, encodeHandle({ identity: { ...handle.identity }, meta: handle.meta }));
      const back = decodeHandle(bytes);
      assert.deepEqual(back.meta, handle.meta);
      const { outputNames, ...rest } = back.identity;
      const { outputNames: given, ...wanted } = handle.identity;
      assert.deepEqual(rest, wanted);
      if (outputNames !== undefined) assert.deepEqual(outputNames, given);
    }),
  );
});

test('names of outputs give way so that a usual handle stays within its bound, and the rest is kept', () => {
  const outputNames = Array.from({ length: 60 }, (_, i) => `output_number_${i}`);
  const bytes = encodeHandle({ identity: { ...sample.identity, outputNames }, meta: undefined });
  assert.ok(bytes.length <= MAX_HANDLE_OVERHEAD, `${bytes.length} bytes`);
  assert.equal(decodeHandle(bytes).identity.outputNames, undefined);
  assert.ok(encodeHandle(sample).length <= MAX_HANDLE_OVERHEAD + (sample.meta?.length ?? 0));
  assert.deepEqual(decodeHandle(encodeHandle(sample)).identity.outputNames, ['o0', 'o1']);
});

test('a signed handle has 107 bytes and its names; those that are longer together than a handle’s bound leaves are kept whole', () => {
  const signer = { keyId: 1, mac: () => Buffer.alloc(16) };
  const size = (length: number) => {
    const name = 'a'.repeat(length);
    const names = {
      plugin: name.slice(0, 40),
      taskType: name,
      project: name,
      domain: name,
      namespace: name,
      quotaNamespace: name,
    };
    const of = { ...names, key: 'k'.repeat(32), taskTypeVersion: 0, incarnation: 1, createdAtMs: 1_764_200_000_000 };
    const bytes = encodeHandle({ identity: { ...of, outputNames: ['o0'] }, meta: undefined }, signer);
    assert.deepEqual(decodeHandle(bytes).identity, { ...of, outputNames: length < 32 ? ['o0'] : undefined });
    return bytes.length;
  };
  assert.deepEqual([size(20), size(32), size(63)], [107 + 6 * 20 + ',["o0"]'.length, 107 + 6 * 32, 107 + 40 + 5 * 63]);
});

test('a truncated or altered handle is refused, wherever it was cut or changed', () => {
  const bytes = encodeHandle(sample);
  for (let length = 0; length < bytes.length; length++) {
    assert.equal(
      codeOf(() => decodeHandle(bytes.subarray(0, length))),
      'HANDLE_MALFORMED',
      `cut at ${length}`,
    );
  }
  for (let at = 4; at < bytes.length; at++) {
    const altered = Buffer.from(bytes);
    altered[at] = (altered[at] ?? 0) ^ 0x20;
    assert.equal(
      codeOf(() => decodeHandle(altered)),
      'HANDLE_MALFORMED',
      `altered at ${at}`,
    );
  }
});

test('foreign bytes are malformed, and a handle of a newer format says so', () => {
  for (const foreign of ['', '{"job_id": "7"}', '\x80\x04\x95', 'wp']) {
    assert.equal(
      codeOf(() => decodeHandle(Buffer.from(foreign, 'latin1'))),
      'HANDLE_MALFORMED',
      foreign,
    );
  }
  const newer = encodeHandle(sample);
  newer[3] = 0x33;
  assert.equal(
    codeOf(() => decodeHandle(newer)),
    'HANDLE_VERSION_UNKNOWN',
  );
});

test('attempt keys tell names and execution ids apart, also where their texts run together', () => {
  const keys = [
    attemptKeyOf({ name: 'a', executionId: 'b' }),
    attemptKeyOf({ name: 'ab', executionId: '' }),
    attemptKeyOf({ name: 'a\nb', executionId: '' }),
    attemptKeyOf({ name: '', executionId: 'ab' }),
  ];
  assert.equal(new Set(keys).size, keys.length);
  assert.match(idempotencyKeyOf(keys[0] ?? '', 12), /^[a-z0-9-]{1,48}$/);
});

test('a made-up or mutated handle under a right checksum is refused, or says nothing that could not be encoded and shown', () => {
  let passed = 0;
  fc.assert(
    fc.property(fc.oneof(madeUp(sample), mutated(sample)), (bytes) => {
      let handle: ReadHandle;
      try {
        handle = decodeHandle(bytes);
      } catch (error) {
        assert.ok(HostError.is(error) && /^HANDLE_(MALFORMED|VERSION_UNKNOWN)$/.test(error.code), String(error));
        assert.ok(!/\p{Cs}/u.test(error.message));
        return;
      }
      passed += 1;
      const { outputNames = [], ...fields } = handle.identity;
      for (const value of [...Object.values(fields), ...outputNames]) {
        if (typeof value === 'string') assert.ok(!/\p{Cs}/u.test(value) && Buffer.byteLength(value) <= 1024);
        else assert.ok(Number.isSafeInteger(value) && value >= 0);
      }
      assert.doesNotThrow(() => new Date(handle.identity.createdAtMs).toISOString());
      if (bytes[3] !== 0x31 && handle.signedWith === undefined) {
        assert.deepEqual(encodeHandle(handle), bytes, 'one handle has one spelling');
      }
    }),
    { numRuns: 3_000 },
  );
  assert.ok(passed > 50, `${passed} passed, so that the property is not about refusals alone`);
});

test('each field of a handle is checked, and the refusal names it', () => {
  const header = headerOf(sample);
  const wrong: [at: number, value: unknown, says: RegExp][] = [
    [0, 'x', /neither/],
    [1, 'Slurm', /plugin/],
    [2, 'a\u0000', /task type/],
    [3, 1e300, /task type version/],
    [4, '__proto__', /key/],
    [5, -5, /incarnation/],
    [5, 1.5, /incarnation/],
    [6, '\ud800', /project/],
    [7, 'd'.repeat(257), /domain/],
    [8, 'a\nb', /namespace/],
    [9, 'q\ud800', /quota namespace/],
    [10, 8.64e15, /creation time/],
    [11, ['\udfff'], /output names/],
    [12, 'more', /as this daemon writes it/],
  ];
  for (const [at, value, says] of wrong) {
    const altered = [...header];
    altered[at] = value;
    for (const format of [1, 2] as const) {
      assert.throws(
        () => decodeHandle(forge(altered, undefined, format)),
        (error) => HostError.is(error) && error.code === 'HANDLE_MALFORMED' && says.test(error.message),
        `${at}: ${JSON.stringify(value)}`,
      );
    }
  }
  assert.equal(
    codeOf(() => decodeHandle(forge(['a', ...header.slice(1)]))),
    'HANDLE_MALFORMED',
    'an accepted handle carries no meta',
  );
  assert.equal(
    codeOf(() => decodeHandle(forge(header, Buffer.alloc(64 * 1024)))),
    'HANDLE_MALFORMED',
  );
});

test('handles of the first format are read as before, and are not signed', () => {
  for (const meta of [sample.meta, undefined]) {
    const back = decodeHandle(forge(headerOf({ ...sample, meta }), meta ?? Buffer.alloc(0), 1));
    assert.deepEqual(back.identity, sample.identity);
    assert.deepEqual(back.meta, meta);
    assert.equal(back.signedWith, undefined);
    assert.equal(back.partition, partitionOf(sample.identity.key));
  }
});

test('a partition is one of 256, the same for the same key, and all of them are used', () => {
  const seen = new Set(Array.from({ length: 5_000 }, (_, i) => partitionOf(`node-${i}`)));
  assert.equal(seen.size, 256);
  for (const partition of seen) {
    const bytes = encodeHandle({ ...sample, partition });
    assert.equal(decodeHandle(bytes).partition, partition);
  }
  assert.equal(decodeHandle(encodeHandle(sample)).partition, partitionOf(sample.identity.key));
});
