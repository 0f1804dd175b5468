import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { isPlainVariable, isSecretName, SecretMasks } from '../../src/lib/secrets.js';

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
