import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { configSecrets, loadConfig } from '../../src/config/index.js';
import { tempFolder } from '../support/temp.js';

test('every secret of a configuration is masked, whatever layer and file it came from, and nothing else of it', (t) => {
  const folder = tempFolder(t);
  writeFileSync(path.join(folder, 'token'), 'token-in-a-file-of-its-own\n');
  const file = path.join(folder, 'config.json');
  const config = {
    admin: { tokenFile: './token' },
    dataStore: { s3: { endpoint: 'http://someone:password-in-a-url@localhost:9000', accessKeyId: 'an-access-key-id' } },
    plugins: {
      a: {
        source: './a.mjs',
        settings: {
          url: 'https://me:settings-password@host/',
          auth: { values: ['under-a-secret-name'] },
          mode: 'plain-setting',
        },
        environment: {
          set: { DB_PHRASE: 'set-for-the-plugin', CLUSTER: 'called-plain', TZ: 'Europe/Vienna' },
          plain: ['CLUSTER'],
        },
      },
    },
  };
  writeFileSync(file, JSON.stringify(config));
  const env = { PLUGIN_HOST_DATA_STORE_S3_SECRET_ACCESS_KEY: 'key-of-the-environment' };
  const loaded = loadConfig({ files: [file], env, cwd: folder });
  const masks = configSecrets(loaded);
  const secrets = [
    'token-in-a-file-of-its-own',
    'password-in-a-url',
    'key-of-the-environment',
    'settings-password',
    'under-a-secret-name',
    'set-for-the-plugin',
  ];
  for (const secret of secrets) assert.equal(masks.mask(secret), '[redacted]');
  const plain = 'plain-setting called-plain Europe/Vienna an-access-key-id localhost:9000';
  assert.equal(masks.mask(plain), plain);
});
