import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HostError } from '../../src/errors/index.js';
import { attemptKeyOf, idempotencyKeyOf } from '../../src/model/attempt-key.js';
import { decodeHandle, encodeHandle, type Handle, MAX_HANDLE_OVERHEAD } from '../../src/model/handle.js';

const name = fc.string({ maxLength: 30 });
const anyHandle: fc.Arbitrary<Handle> = fc.record({
  identity: fc.record({
    plugin: name,
    taskType: name,
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
  newer[3] = 0x32;
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
