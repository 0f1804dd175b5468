import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Markers } from './markers.js';
import { tempFolder } from './temp.js';

const markers = new Markers(['token', 'key']);
const secret = `"${markers.core('key')}"/&`;

test('a secret that leaks is found in each form, wherever it stands, and by its name', () => {
  const forms = {
    plain: secret,
    'cut short': markers.core('key').slice(0, 10),
    json: JSON.stringify({ deep: JSON.stringify([secret]) }),
    url: encodeURIComponent(secret),
    hex: Buffer.from(secret).toString('hex'),
    'base64 from its first byte': Buffer.from(secret).toString('base64'),
    'base64 from its second': Buffer.from(`a${secret}`).toString('base64url'),
    'base64 from its third': Buffer.from(`ab${secret}`).toString('base64'),
  };
  for (const [form, text] of Object.entries(forms)) {
    const within = `before ${text} after`;
    assert.deepEqual(markers.shownIn(within), ['key'], form);
    assert.throws(() => markers.assertNone(within, 'a log'), /a log shows secrets/, form);
  }
});

test('what shows none is passed, and what is empty is not taken for it', () => {
  markers.assertNone('nothing to see, Walk', 'a log');
  assert.throws(() => markers.assertNone('', 'a log'), /a log is empty/);
});

test('files are searched as bytes, and a folder without any is no proof', (t) => {
  const folder = tempFolder(t);
  assert.throws(() => markers.assertNoneBelow(folder), /holds no files/);
  writeFileSync(path.join(folder, 'clean'), Buffer.from([0, 255, 1]));
  markers.assertNoneBelow(folder);
  writeFileSync(path.join(folder, 'state'), Buffer.concat([Buffer.from([0, 255]), Buffer.from(secret)]));
  assert.throws(() => markers.assertNoneBelow(folder), /state shows secrets/);
});
