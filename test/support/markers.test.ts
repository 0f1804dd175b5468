import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { inspect } from 'node:util';
import { Markers } from './markers.js';
import { tempFolder } from './temp.js';

const markers = new Markers(['token', 'key']);
const secret = `"${markers.core('key')}"/&`;
const escaped = (prefix: string) =>
  [...Buffer.from(secret)].map((byte) => prefix + byte.toString(16).padStart(2, '0')).join('');

test('a secret that leaks is found in each form, wherever it stands, and by its name', () => {
  const forms: Readonly<Record<string, string>> = {
    plain: secret,
    'cut short': markers.core('key').slice(0, 11),
    'in capitals': secret.toUpperCase(),
    'in small letters': secret.toLowerCase(),
    json: JSON.stringify({ deep: JSON.stringify([secret]) }),
    'json, each character escaped': escaped('\\u00'),
    'a buffer in json': JSON.stringify(Buffer.from(`a${secret}`)),
    url: encodeURIComponent(secret),
    'url, each character escaped': escaped('%'),
    'url, each in capitals': escaped('%').toUpperCase(),
    'python bytes': escaped('\\x'),
    hex: Buffer.from(secret).toString('hex'),
    'hex in capitals': Buffer.from(secret).toString('hex').toUpperCase(),
    'a buffer as Node shows it': inspect(Buffer.from(secret)),
    'base64 from its first byte': Buffer.from(secret).toString('base64'),
    'base64 from its second': Buffer.from(`a${secret}`).toString('base64url'),
    'base64 from its third': Buffer.from(`ab${secret}`).toString('base64'),
  };
  const wide = Buffer.from(secret, 'utf16le');
  const all: [string, Uint8Array][] = [
    ...Object.entries(forms).map(([form, text]) => [form, Buffer.from(`before ${text} after`)] as [string, Buffer]),
    ['UTF-16', Buffer.concat([Buffer.from('b'), wide])],
    ['UTF-16, the high byte first', Buffer.concat([Buffer.from('b'), Buffer.from(wide).swap16()])],
  ];
  for (const [form, bytes] of all) {
    assert.deepEqual(markers.shownIn(bytes), ['key'], form);
    assert.throws(() => markers.assertNone(bytes, 'a log'), /a log shows secrets \(key\)/, form);
  }
});

test('of a secret that is cut behind what all begin with it is told that a part is shown', () => {
  assert.match(markers.find(`it is ${markers.sign}…`) ?? '', /shows secrets \(a part of one\): …it is /);
});

test('what shows none is passed, and what is empty is not taken for it', () => {
  markers.assertNone(`nothing to see, ${markers.sign.slice(0, 8)}`, 'a log');
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
