import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { HostError } from '../../src/errors/index.js';
import { partedToken, placeToken, positionsOf } from '../../src/model/watch-token.js';

const place = fc
  .record({
    run: fc.uint8Array({ minLength: 6, maxLength: 6 }).map((bytes) => Buffer.from(bytes).toString('hex')),
    sequence: fc.oneof(fc.nat(1_000), fc.nat(), fc.integer({ min: 0, max: 10 ** 15 - 1 })),
    tellsCurrent: fc.boolean(),
  })
  .map(placeToken);

test('a token of several parts holds the position of each, and an empty one for who begins', () => {
  const positions = fc.dictionary(fc.nat(15).map(String), fc.oneof(place, fc.constant('')));
  fc.assert(
    fc.property(positions, (said) => {
      const entries = Object.entries(said).map(([part, position]) => [Number(part), position] as const);
      assert.deepEqual([...positionsOf(partedToken(entries), 16)], entries);
    }),
  );
});

test('a token of 256 parts fits into a header', () => {
  const run = 'ffffffffffff';
  const of = (sequence: number) =>
    partedToken(Array.from({ length: 256 }, (_, part) => [part, placeToken({ run, sequence, tellsCurrent: true })]));
  assert.ok(of(10 ** 9).length < 4_200, `${of(10 ** 9).length} bytes`);
  assert.ok(of(10 ** 15 - 1).length < 5_300, `${of(10 ** 15 - 1).length} bytes`);
});

test('what is no token, or one of other parts, is refused as such', () => {
  const made = partedToken([[3, 'aaaaaaaaaaaa.7']]);
  const wrong = ['', 'p.', 'aaaaaaaaaaaa.7', `${made}A`, made.slice(0, -1), `${made} `, made.replace('p.', 'q.')];
  // An empty list of positions is one.
  for (const token of wrong.filter((token) => token !== 'p.')) {
    assert.throws(() => positionsOf(token, 8), { code: 'RESUME_TOKEN_INVALID' }, token);
  }
  assert.throws(() => positionsOf(made, 2), { code: 'RESUME_TOKEN_INVALID' });
  const twice = `p.${Buffer.concat([0, 1].map(() => Buffer.from(made.slice(2), 'base64url'))).toString('base64url')}`;
  assert.throws(() => positionsOf(twice, 8), { code: 'RESUME_TOKEN_INVALID' });
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.base64String().map((text) => `p.${text}`),
      ),
      (token) => {
        try {
          assert.equal(partedToken(positionsOf(token, 256)), token);
        } catch (error) {
          assert.ok(HostError.is(error) && error.code === 'RESUME_TOKEN_INVALID', String(error));
        }
      },
    ),
  );
});
