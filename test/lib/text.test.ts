import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { cutText } from '../../src/lib/text.js';

test('a text is cut between characters, and as late as the bound allows', () => {
  assert.equal(cutText('ab😀', 3), 'ab');
  assert.equal(cutText('ab😀', 4), 'ab😀');
  fc.assert(
    fc.property(fc.string({ unit: 'binary' }), fc.nat({ max: 30 }), (text, max) => {
      const cut = cutText(text, max);
      assert.ok(text.startsWith(cut) && cut.length <= max);
      assert.ok(cut === text || cut.length >= max - 1);
      assert.equal(Buffer.from(cut).toString(), cut, 'it survives UTF-8');
    }),
  );
});
