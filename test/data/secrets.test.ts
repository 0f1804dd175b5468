import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { inspect } from 'node:util';
import { makeSecretManager, type SecretSources } from '../../src/data/secrets.js';
import { HostError } from '../../src/errors/index.js';

let dir: string;
before(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'secrets-'));
  await mkdir(path.join(dir, 'Db'));
  await mkdir(path.join(dir, 'small'));
  await writeFile(path.join(dir, 'Db', 'Password'), 'from-file\n');
  await writeFile(path.join(dir, 'small', 'key'), 'two\nlines\r\n');
  await writeFile(path.join(dir, 'alone'), 'no group');
});
after(() => rm(dir, { recursive: true }));

const manager = (sources: Partial<SecretSources> = {}, files: string | undefined = dir) =>
  makeSecretManager({ envPrefixes: ['_FSEC_', 'FLYTE_SECRET_'], dir: files }, { environment: {}, ...sources });

test('the request comes first, then the environment by prefix order, then files', async () => {
  const environment: Record<string, string> = { _FSEC_DB_PASSWORD: 'first', FLYTE_SECRET_DB_PASSWORD: 'second' };
  const requestSecrets = { Db_Password: 'from-request' };
  assert.equal(await manager({ environment, requestSecrets }).get('Db', 'Password'), 'from-request');
  assert.equal(await manager({ environment }).get('Db', 'Password'), 'first');
  delete environment._FSEC_DB_PASSWORD;
  assert.equal(await manager({ environment }).get('Db', 'Password'), 'second');
  assert.equal(await manager().get('Db', 'Password'), 'from-file');
});

test('a secret without a group, request secrets by key alone, files in small letters, one line end dropped', async () => {
  assert.equal(await manager().get('', 'alone'), 'no group');
  assert.equal(await manager({ environment: { _FSEC_ALONE: 'env' } }).get('', 'alone'), 'env');
  assert.equal(await manager({ requestSecrets: { token: 't' } }).get('api', 'token'), 't');
  assert.equal(await manager({ requestSecrets: { token: 'no', 'api/token': 'yes' } }).get('api', 'token'), 'yes');
  assert.equal(await manager().get('SMALL', 'KEY'), 'two\nlines');
  assert.equal(await manager({ environment: { _FSEC_E: '' } }).get('', 'e'), '');
});

test('a missing secret says group, key and every place, and no value', async () => {
  const sources = { environment: { _FSEC_OTHER: 'hunter2' }, requestSecrets: { other: 'hunter2' } };
  await assert.rejects(manager(sources).get('Db', 'Absent'), (error: unknown) => {
    assert.ok(HostError.is(error));
    assert.equal(error.code, 'SECRET_NOT_FOUND');
    for (const part of [
      '"Absent"',
      '"Db"',
      '_FSEC_DB_ABSENT',
      'FLYTE_SECRET_DB_ABSENT',
      path.join(dir, 'db', 'absent'),
    ]) {
      assert.ok(error.message.includes(part), `${part} in ${error.message}`);
    }
    assert.match(error.message, /the request's secrets \(Db_Absent, Db\/Absent, Absent\)/);
    assert.doesNotMatch(inspect(error), /hunter2/);
    return true;
  });
  const nowhere = makeSecretManager({ envPrefixes: [] }, { environment: {} });
  await assert.rejects(nowhere.get('g', 'k'), /no place is configured/);
});

test('names cannot leave the folder or reach inherited members', async () => {
  await writeFile(path.join(path.dirname(dir), `${path.basename(dir)}-outside`), 'outside');
  const secrets = manager({ requestSecrets: {} });
  for (const [group, key] of [
    ['..', `${path.basename(dir)}-outside`],
    ['Db', '../alone'],
    ['Db/..', 'alone'],
    ['Db', ''],
    ['', '..'],
    ['Db', 'a\0b'],
    ['Db', 7 as never],
  ] as const) {
    await assert.rejects(secrets.get(group, key), (error) => HostError.is(error) && error.code === 'SECRET_NOT_FOUND');
  }
  for (const name of ['toString', 'constructor', '__proto__']) {
    await assert.rejects(manager({ requestSecrets: {} }, undefined).get('', name), /is in none of|none of/);
  }
  await rm(path.join(path.dirname(dir), `${path.basename(dir)}-outside`));
});

test('neither inspecting nor serializing a manager shows a secret', () => {
  const secrets = manager({ environment: { _FSEC_A: 'hunter2' }, requestSecrets: { b: 'hunter2' } });
  assert.doesNotMatch(inspect(secrets, { depth: 9, showHidden: true }) + JSON.stringify(secrets), /hunter2/);
});

test('a folder or a pipe in place of the file counts as absent, a rotated file is read anew', async () => {
  await mkdir(path.join(dir, 'Db', 'folder'));
  await assert.rejects(manager().get('Db', 'folder'), /is in none of/);
  execFileSync('mkfifo', [path.join(dir, 'Db', 'pipe')]);
  await assert.rejects(manager().get('Db', 'pipe'), /is in none of/);
  const secrets = manager();
  const file = path.join(dir, 'small', 'rotating');
  await writeFile(file, 'old');
  assert.equal(await secrets.get('small', 'rotating'), 'old');
  await writeFile(file, 'new');
  assert.equal(await secrets.get('small', 'rotating'), 'new');
});

test('an oversized secret file is refused, an aborted call ends', async () => {
  await writeFile(path.join(dir, 'small', 'huge'), Buffer.alloc(1024 * 1024 + 1, 'x'));
  await assert.rejects(manager().get('small', 'huge'), /at most 1 MiB/);
  const options = { signal: AbortSignal.abort() };
  await assert.rejects(
    manager().get('Db', 'Password', options),
    (error) => HostError.is(error) && error.code === 'CALL_CANCELLED',
  );
});
