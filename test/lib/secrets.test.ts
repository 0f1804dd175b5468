import assert from 'node:assert/strict';
import { test } from 'node:test';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { isPlainVariable, isSecretName, SecretMasks } from '../../src/lib/secrets.js';
import { TextMatcher } from '../../src/lib/text-matcher.js';

const SECRET = 's3cr3t/value+with=signs';

test('one list of names tells what is secret, and one what is plain', () => {
  for (const name of [
    'token',
    'API_TOKEN',
    'accessToken',
    'client_secret',
    'DB_PASSPHRASE',
    'passwd',
    'HTTP_AUTHORIZATION',
    'x-api-key',
    'Cookie',
    '_FSEC_G_K',
    'privateKey',
    'auth',
  ]) {
    assert.equal(isSecretName(name), true, name);
  }
  for (const name of ['tokensNow', 'author', 'path', 'url', 'keyword', 'tokenizer'])
    assert.equal(isSecretName(name), false, name);
  for (const name of ['PATH', 'HOME', 'LANG', 'LC_ALL', 'TZ', 'no_proxy', 'HTTPS_PROXY'])
    assert.equal(isPlainVariable(name), true, name);
  for (const name of ['SNOWFLAKE', 'MY_PATH', 'LC', 'HOME_URL']) assert.equal(isPlainVariable(name), false, name);
});

test('a secret is masked in each of its forms, and what looks like it is not', () => {
  const masks = new SecretMasks();
  masks.addOwn(SECRET);
  const base64 = Buffer.from(SECRET).toString('base64');
  for (const form of [SECRET, base64, base64.replaceAll('+', '-').replaceAll('/', '_'), encodeURIComponent(SECRET)]) {
    assert.equal(masks.mask(`a ${form} b`).includes(form.replace(/=+$/, '')), false, form);
  }
  masks.addOwn('short');
  masks.addOwn('localhost');
  assert.equal(masks.mask('short localhost s3cr3t'), 'short localhost s3cr3t');
});

const LONG = Array.from({ length: 40 }, (_, i) => `line-${i}-of-a-key/${(i * 7919).toString(36)}`);

for (const [what, secret] of [
  ['a word with marks', `s3cr3t/é"'\\ ~!*()+=`],
  ['a key of several lines', `-----BEGIN KEY-----\n${LONG.join('\n')}\n-----END KEY-----\n`],
  ['a key with the lines of another system', LONG.join('\r\n')],
] as const) {
  test(`${what} is masked in each form that writers of JSON, URLs, base64 and hex give it, and by its lines`, () => {
    const masks = new SecretMasks();
    masks.addOwn(secret);
    const bytes = Buffer.from(secret);
    const base64 = bytes.toString('base64');
    const url = encodeURIComponent(secret);
    const json = JSON.stringify(secret);
    const forms: Readonly<Record<string, string>> = {
      text: secret,
      json,
      'json twice': JSON.stringify(json),
      'json in ascii': json.replace(/[^ -~]/g, (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, '0')}`),
      'json with slashes': json.replaceAll('/', '\\/'),
      url,
      'url in small letters': url.replace(/%../g, (code) => code.toLowerCase()),
      query: new URLSearchParams({ q: secret }).toString().slice(2),
      path: encodeURI(secret),
      'path of other languages': url.replace(/[!'()*]/g, (c) => `%${c.charCodeAt(0).toString(16).toUpperCase()}`),
      base64,
      'base64 in lines of 64': base64.replace(/.{64}/g, '$&\n'),
      'base64 in lines of 76': base64.replace(/.{76}/g, '$&\n'),
      'base64 of user and password': Buffer.from(`user:${secret}`).toString('base64'),
      base64url: bytes.toString('base64url'),
      hex: bytes.toString('hex'),
      'hex in capitals': bytes.toString('hex').toUpperCase(),
      'a buffer as Node shows it': inspect(bytes).replace(/^<Buffer | \.\.\. \d+ more bytes|>$/g, ''),
    };
    for (const [name, form] of Object.entries(forms)) {
      const left = masks.mask(form).replaceAll('[redacted]', '').replaceAll('%20', '');
      assert.ok(left.length <= 12 || (left.length < 30 && left.length <= form.length / 4), `${name}: ${left}`);
    }
  });
}

test('passwords in URLs of variables and settings are secrets, and so is what stands under a secret name', () => {
  const masks = new SecretMasks();
  masks.addVariables({ HTTP_PROXY: 'http://user:pr0xy%2Dpass@proxy:3128', HOME: '/opt/someone' });
  masks.addSettings({
    url: 'https://me:url-password@host/',
    auth: { values: ['list-of-secrets'] },
    plain: 'ordinary text',
  });
  const masked = masks.mask(
    'pr0xy%2Dpass pr0xy-pass url-password list-of-secrets ordinary text proxy:3128 /opt/someone',
  );
  assert.equal(masked, '[redacted] [redacted] [redacted] [redacted] ordinary text proxy:3128 /opt/someone');
});

test('no text that was masked holds a secret, whatever the secrets are', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ minLength: 8, maxLength: 30 }), { minLength: 1, maxLength: 20 }),
      fc.string(),
      (secrets, between) => {
        const masks = new SecretMasks();
        for (const secret of secrets) masks.addOwn(secret);
        const masked = masks.mask(secrets.join(between));
        assert.equal(masks.reveals(masked.replaceAll('[redacted]', '\u0000')), false);
      },
    ),
  );
});

test('variables that the operator calls plain are not masked, by name or prefix, and all others are', () => {
  const masks = new SecretMasks();
  const variables = {
    CLUSTER_NAME: 'production-eu',
    APP_MODE: 'batch-mode',
    APPLE: 'apple-value',
    cluster_name: 'small-letters',
  };
  masks.addVariables(variables, ['CLUSTER_NAME', 'APP_*']);
  assert.equal(
    masks.mask('production-eu batch-mode apple-value small-letters'),
    'production-eu batch-mode [redacted] [redacted]',
  );
});

const WORDS = fc
  .string({ unit: fc.constantFrom(...'kq7Z'), minLength: 8, maxLength: 60 })
  .filter((text) => new Set(text).size > 2);

test('where a long text is cut no part of a secret is left, in none of its forms', () => {
  fc.assert(
    fc.property(WORDS, fc.nat({ max: 120 }), fc.nat({ max: 4 }), (secret, before, form) => {
      const masks = new SecretMasks();
      masks.addOwn(secret);
      const base64 = Buffer.from(secret).toString('base64');
      const shown = [secret, base64, base64.replaceAll('=', ''), JSON.stringify(secret).slice(1, -1), secret][
        form
      ] as string;
      const kept = masks.maskStart(`${'-'.repeat(before)}${shown}${'-'.repeat(200)}`, 100);
      for (let at = 0; at + 4 <= shown.length; at++) assert.equal(kept.includes(shown.slice(at, at + 4)), false, kept);
    }),
  );
});

test('what the mark of a cut has left of a secret is masked, and an ordinary word before one is not', () => {
  const masks = new SecretMasks();
  masks.addOwn('open-sesame-and-close');
  assert.equal(masks.mask('seen "open-ses…; expected a number'), 'seen "[redacted]…; expected a number');
  assert.equal(masks.mask('seen "so…" and the ope… and open…'), 'seen "so…" and the ope… and [redacted]…');
});

test('who has too many secrets is told so, the newest stay masked, and so does all that it was given', () => {
  const forgotten: number[] = [];
  const masks = new SecretMasks({ onForgotten: (secrets) => forgotten.push(secrets) });
  masks.addOwn('given-at-the-start');
  for (let i = 0; i < 2_000; i++) masks.addRead(`read-secret-${i}-end`);
  assert.deepEqual(forgotten, []);
  // Read again: it is one of the newest.
  masks.addRead('read-secret-0-end');
  masks.addRead('one-more-than-there-is-room-for');
  assert.ok((forgotten[0] ?? 0) > 0);
  for (const kept of [
    'given-at-the-start',
    'read-secret-0-end',
    'read-secret-1999-end',
    'one-more-than-there-is-room-for',
  ]) {
    assert.equal(masks.mask(kept), '[redacted]');
  }
  assert.equal(masks.mask('read-secret-1-end'), 'read-secret-1-end');
  const told = forgotten.length;
  for (let i = 0; i < 3_000; i++) masks.add(`came-with-a-call-${i}`);
  assert.equal(forgotten.length, told, 'those that came with calls give way, as is documented');
  assert.equal(masks.mask('read-secret-0-end given-at-the-start'), '[redacted] [redacted]');
});

test('what a place held before is masked for some exchanges more, and all that any place holds for good', () => {
  const forgotten: number[] = [];
  const masks = new SecretMasks({ onForgotten: (secrets) => forgotten.push(secrets) });
  const masked = (text: string) => masks.mask(text) === '[redacted]';
  const key = (number: number) => `key-number-${number}-end`;
  masks.hold('one', [key(0), 'held-by-two-places']);
  masks.hold('other', ['held-by-two-places', 'held-by-the-other']);
  masks.addRead('read-once-and-held-nowhere');
  for (let number = 1; number <= 1_000; number++) {
    masks.hold('one', [key(number)]);
    assert.ok(masked(key(number)) && masked(key(number - 1)));
  }
  assert.ok(masked(key(950)));
  assert.ok(!masked(key(900)), 'rotation takes no memory');
  assert.ok(masked('held-by-two-places') && masked('held-by-the-other') && masked('read-once-and-held-nowhere'));
  masks.hold('one', [key(900)]);
  assert.ok(masked(key(900)), 'what comes again is masked again');
  masks.hold('one', []);
  assert.ok(masked(key(900)));
  assert.deepEqual(forgotten, [], 'nobody lacks what was exchanged');
});

test('the masks are built anew once by the next text, however many secrets were exchanged before it', () => {
  let built = 0;
  const newMatcher = () => {
    built++;
    return new TextMatcher();
  };
  const masks = new SecretMasks({ newMatcher });
  const keys = (turn: number) => Array.from({ length: 500 }, (_, number) => `key-${number}-of-turn-${turn}-end`);
  masks.hold('file', keys(0));
  assert.equal(masks.mask(keys(0)[499]!), '[redacted]');
  assert.equal(built, 1);
  masks.hold('file', keys(1));
  for (const key of keys(1)) assert.equal(masks.mask(key), '[redacted]');
  assert.equal(built, 2, 'of 500 that were exchanged at once 436 are masked no more');
  for (let turn = 2; turn <= 20; turn++) masks.hold('file', keys(turn));
  assert.equal(built, 2, 'nobody has looked at a text meanwhile');
  for (const key of keys(20)) assert.equal(masks.mask(key), '[redacted]');
  assert.equal(masks.mask(keys(1)[0]!), keys(1)[0]);
  assert.equal(built, 3);
});

test('where a text ends with a secret, and the end of that may begin another, the first one is held back as a whole', () => {
  const first = 'Pq7RtV93kLmZ0xWyUb5NcJd2';
  const next = '2-of-the-daemon';
  const third = 'Jd-is-a-third-one';
  const sets: readonly (readonly [readonly string[], readonly string[]])[] = [
    [[first], [next]],
    [[next], [first]],
    [[first, third], [next]],
    [[third], [next, first]],
  ];
  for (const [own, theirs] of sets) {
    const also = new SecretMasks();
    for (const one of theirs) also.addOwn(one);
    const masks = new SecretMasks({ also });
    for (const one of own) masks.addOwn(one);
    // Within one set the first one is found whole, and what it ends with begins nothing.
    const whole = [own, theirs].some((set) => set.includes(first) && set.includes(next));
    assert.equal(masks.openAt(`...${first}`), whole ? 3 + first.length : 3);
    assert.equal(masks.openAt(`...${first}.`), 3 + first.length + 1);
    const text = `${'.'.repeat(20)}${first}${'.'.repeat(20)}`;
    for (let cut = 0; cut < text.length; cut++) {
      const start = masks.maskStart(text, cut).replace('[redacted]', '');
      assert.match(start, /^\.*…$/, `cut at ${cut}`);
    }
  }
});

test('a text that ends as a secret begins is looked at no more often for it, however often it says the same', (t) => {
  const also = new SecretMasks();
  also.addOwn('x-of-the-daemon');
  const masks = new SecretMasks({ also });
  masks.addOwn('xx-of-the-plugin');
  const looks = [
    t.mock.method(TextMatcher.prototype, 'openAt'),
    t.mock.method(TextMatcher.prototype, 'hitOver'),
  ] as const;
  assert.equal(masks.openAt('x'.repeat(65_536)), 65_534);
  assert.deepEqual(
    looks.map((look) => look.mock.callCount()),
    // Each set for itself, and the two together.
    [2, 3],
  );
});

test('secrets of another are masked as well, also those that it learns later', () => {
  const daemon = new SecretMasks();
  const masks = new SecretMasks({ also: daemon });
  masks.addOwn('of-the-process');
  daemon.addOwn('of-the-daemon');
  assert.equal(masks.mask('of-the-process of-the-daemon'), '[redacted] [redacted]');
  assert.equal(masks.maskStart('..........of-the-daemon', 15), '..........…');
  assert.equal(masks.reveals('of-the-daemon'), true);
  assert.equal(daemon.mask('of-the-process'), 'of-the-process');
});
