import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { peekHandle } from '../../src/rpc/native/status-bytes.js';
import { idl } from './support.js';

const codec = idl.codec('pluginhost.v1.StatusRequest');

test('the short way to the handle finds what the codec finds, or nothing', () => {
  const request = fc.record({
    handle: fc.uint8Array({ minLength: 1, maxLength: 400 }).map((bytes) => Buffer.from(bytes)),
    outputPrefix: fc.string({ maxLength: 300 }),
  });
  fc.assert(fc.property(request, (message) => assert.deepEqual(peekHandle(codec.encode(message)), message.handle)));
  const mutated = fc.tuple(request, fc.nat(), fc.nat(255), fc.nat(3)).map(([message, at, value, cut]) => {
    const bytes = Buffer.from(codec.encode(message));
    bytes[at % Math.min(bytes.length, 8)] = value;
    return bytes.subarray(0, bytes.length - cut);
  });
  fc.assert(
    fc.property(mutated, (bytes) => {
      const found = peekHandle(bytes);
      if (found === undefined) return;
      let decoded: { handle: Buffer };
      try {
        decoded = codec.decode(bytes) as never;
      } catch {
        return;
      }
      assert.deepEqual(found, decoded.handle);
    }),
    { numRuns: 2000 },
  );
});
