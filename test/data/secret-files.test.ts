import assert from 'node:assert/strict';
import { mkdirSync, renameSync, rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { SECRET_FILES, SecretFiles } from '../../src/data/secret-files.js';
import { tempFolder } from '../support/temp.js';

test('a folder of secrets is read once, and again what changed, as Kubernetes mounts it', async (t) => {
  const dir = tempFolder(t);
  mkdirSync(path.join(dir, 'group', '..2024'), { recursive: true });
  writeFileSync(path.join(dir, 'group', '..2024', 'key'), 'first value\n');
  symlinkSync('..2024', path.join(dir, 'group', '..data'));
  symlinkSync('..data/key', path.join(dir, 'group', 'key'));
  writeFileSync(path.join(dir, 'alone'), 'of no group');
  const files = new SecretFiles(dir);
  const first = await files.look();
  const [alone, key] = [path.join(dir, 'alone'), path.join(dir, 'group', 'key')];
  const found = first.fresh.map(({ file, text }) => [file, text]);
  assert.deepEqual(
    new Map(found as [string, string][]),
    new Map([
      [alone, 'of no group'],
      [key, 'first value'],
    ]),
  );
  assert.deepEqual(await files.look(), { fresh: [], gone: [], left: 0 });
  mkdirSync(path.join(dir, 'group', '..2025'));
  writeFileSync(path.join(dir, 'group', '..2025', 'key'), 'rotated value');
  symlinkSync('..2025', path.join(dir, 'group', '..new'));
  renameSync(path.join(dir, 'group', '..new'), path.join(dir, 'group', '..data'));
  assert.deepEqual(await files.look(), { fresh: [{ file: key, text: 'rotated value' }], gone: [], left: 0 });
  rmSync(alone);
  assert.deepEqual(await files.look(), { fresh: [], gone: [alone], left: 0 });
});

test('what is too large is counted and not read, and a folder that is not there, or goes, has no files', async (t) => {
  const dir = tempFolder(t);
  writeFileSync(path.join(dir, 'large'), '');
  truncateSync(path.join(dir, 'large'), SECRET_FILES.maxFileBytes + 1);
  writeFileSync(path.join(dir, 'small'), 'small value');
  const files = new SecretFiles(dir);
  const small = path.join(dir, 'small');
  assert.deepEqual(await files.look(), { fresh: [{ file: small, text: 'small value' }], gone: [], left: 1 });
  rmSync(dir, { recursive: true });
  assert.deepEqual(await files.look(), { fresh: [], gone: [small], left: 0 });
});
