import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { SecretMasks } from '../../src/lib/secrets.js';
import { TextMatcher } from '../../src/lib/text-matcher.js';

const MASK = '[redacted]';

const VALUE = fc.string({ unit: 'binary', minLength: 12, maxLength: 40 });
const letters = fc.string({ unit: fc.constantFrom('a', 'b', 'c'), minLength: 8, maxLength: 14 });

test('a secret of the process itself stays masked after any number of others, and the others are bounded', () => {
  const masks = new SecretMasks();
  masks.addOwn('own-secret-value');
  for (let i = 0; i < 6_000; i++) masks.add(`request-secret-${i}-end`);
  assert.equal(masks.mask('own-secret-value request-secret-5999-end'), `${MASK} ${MASK}`);
  assert.equal(masks.reveals('request-secret-0-end'), false);
});

test('a secret is masked in base64 at any place, in URLs and in JSON; short and ordinary values are not', () => {
  fc.assert(
    fc.property(VALUE, fc.string({ maxLength: 5 }), fc.string({ maxLength: 5 }), (secret, before, after) => {
      fc.pre(new Set(secret).size > 1);
      const masks = new SecretMasks();
      masks.addOwn(secret);
      const around = Buffer.from(before + secret + after);
      for (const form of [secret, encodeURIComponent(Buffer.from(secret).toString()), JSON.stringify(secret)]) {
        assert.ok(masks.mask(`<${form}>`).includes(MASK), form);
      }
      for (const as of ['base64', 'base64url'] as const) {
        const text = around.toString(as);
        const left = masks.mask(text).split(MASK).join('');
        assert.ok(
          left.length <= text.length - Math.floor((Buffer.byteLength(secret) * 8) / 6) + 2,
          `${text} → ${left}`,
        );
      }
    }),
  );
  const masks = new SecretMasks();
  for (const value of ['short', 'localhost', 'Production', '--------', '        ']) masks.addOwn(value);
  assert.equal(masks.mask('short localhost Production -------- '), 'short localhost Production -------- ');
});

test('the matcher replaces what a search text by text would, the longest first', () => {
  fc.assert(
    fc.property(
      fc.array(letters, { minLength: 1, maxLength: 8 }),
      fc.array(letters, { maxLength: 8 }),
      (texts, pieces) => {
        const matcher = new TextMatcher();
        for (const one of texts) matcher.add(one);
        const text = [...pieces, ...texts, ...pieces].join('');
        const longest = [...texts].sort((a, b) => b.length - a.length);
        let wanted = '';
        for (let at = 0; at < text.length; ) {
          const hit = longest.find((one) => text.startsWith(one, at));
          wanted += hit === undefined ? text[at] : '#';
          at += hit?.length ?? 1;
        }
        assert.equal(matcher.replace(text, '#'), wanted);
      },
    ),
  );
});

test('wherever a text is cut, openAt holds back the start of a secret and nothing of it is let go', () => {
  fc.assert(
    fc.property(
      fc.string({ minLength: 8, maxLength: 600 }),
      fc.string(),
      fc.string(),
      fc.nat(),
      (secret, a, b, where) => {
        fc.pre(new Set(secret).size > 1);
        const matcher = new TextMatcher();
        matcher.add(secret);
        const text = a + secret + b;
        const cut = a.length + 1 + (where % (secret.length - 1));
        assert.ok(matcher.openAt(text.slice(0, cut)) <= a.length);
      },
    ),
  );
});
