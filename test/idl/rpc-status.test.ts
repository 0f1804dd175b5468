import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import pb from 'protobufjs';
import { decodeRpcStatus, encodeRpcStatus } from '../../src/idl/rpc-status.js';
import { lenField } from '../../src/idl/wire.js';

/** The messages as their public .proto files declare them. */
const root = pb.parse(`
  syntax = "proto3";
  message Status { int32 code = 1; string message = 2; repeated Any details = 3; }
  message Any { string type_url = 1; bytes value = 2; }
  message ErrorInfo { string reason = 1; string domain = 2; map<string, string> metadata = 3; }
  message RetryInfo { Duration retry_delay = 1; }
  message Duration { int64 seconds = 1; int32 nanos = 2; }
  message BadRequest { repeated Violation field_violations = 1; }
  message Violation { string field = 1; string description = 2; }
`).root;

const read = (type: string, bytes: Uint8Array) => {
  const message = root.lookupType(type);
  return message.toObject(message.decode(bytes), { longs: Number, arrays: true, objects: true });
};

const status = {
  code: 8,
  message: 'full',
  errorInfo: { reason: 'STORE_FULL', domain: 'pluginhost', metadata: { a: 'b', ü: '' } },
  retryAfterMs: 2500,
  violations: [{ field: 'task.type', description: 'is empty' }],
};

test('the bytes are google.rpc.Status with its details, as any protobuf library reads them', () => {
  const outer = read('Status', encodeRpcStatus(status));
  assert.deepEqual([outer.code, outer.message], [8, 'full']);
  const details = Object.fromEntries(
    outer.details.map(({ typeUrl, value }: { typeUrl: string; value: Uint8Array }) => [typeUrl, value]),
  );
  const of = (type: string) => read(type, details[`type.googleapis.com/google.rpc.${type}`]);
  assert.deepEqual(of('ErrorInfo'), status.errorInfo);
  assert.deepEqual(of('RetryInfo'), { retryDelay: { seconds: 2, nanos: 500_000_000 } });
  assert.deepEqual(of('BadRequest'), { fieldViolations: status.violations });
});

test('what is written is read again, whatever the texts', () => {
  const text = fc.string({ unit: 'grapheme' });
  const plain = { noNullPrototype: true } as const;
  fc.assert(
    fc.property(
      fc.record(
        {
          code: fc.nat(16),
          message: text,
          errorInfo: fc.option(fc.record({ reason: text, domain: text, metadata: fc.dictionary(text, text) }, plain), {
            nil: undefined,
          }),
          retryAfterMs: fc.option(fc.nat(), { nil: undefined }),
          violations: fc.array(fc.record({ field: text, description: text }, plain)),
        },
        plain,
      ),
      (given) => {
        const back = decodeRpcStatus(encodeRpcStatus(given));
        const metadata = (info: typeof given.errorInfo) => Object.entries(info?.metadata ?? {});
        assert.deepEqual(metadata(back.errorInfo), metadata(given.errorInfo));
        assert.deepEqual(
          { ...back, errorInfo: { ...back.errorInfo, metadata: 0 } },
          { ...given, errorInfo: { ...given.errorInfo, metadata: 0 } },
        );
      },
    ),
  );
});

test('details of other types are passed over, and bytes that are none are refused', () => {
  const other = Buffer.concat([lenField(1, 'type.googleapis.com/google.rpc.Help'), lenField(2, 'x')]);
  const back = decodeRpcStatus(Buffer.concat([encodeRpcStatus(status), lenField(3, other)]));
  assert.deepEqual(back, status);
  assert.throws(() => decodeRpcStatus(Buffer.from('0aff', 'hex')), { code: 'REQUEST_UNDECODABLE' });
});
