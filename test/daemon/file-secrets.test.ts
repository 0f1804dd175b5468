import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { truncateSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { loadConfig } from '../../src/config/index.js';
import { fileSecrets } from '../../src/daemon/file-secrets.js';
import { tempFolder } from '../support/temp.js';

const skip = process.platform === 'win32';

test('the secrets of files are found, and one that is missing, no file or far too large holds none and holds nobody up', {
  skip,
}, async (t) => {
  const folder = tempFolder(t);
  const at = (name: string) => path.join(folder, name);
  writeFileSync(at('token'), 'the-token-of-an-engine\n');
  writeFileSync(at('password'), 'the-password\n');
  writeFileSync(at('large'), '');
  truncateSync(at('large'), 64 * 1024 * 1024);
  // Nobody ever writes to it.
  execFileSync('mkfifo', [at('pipe')]);
  const flags = Object.entries({
    'tokens.engine.file': at('token'),
    'tokens.engine.may': 'run',
    'tokens.piped.file': at('pipe'),
    'tokens.piped.may': 'run',
    'handles.keysFile': at('large'),
    'state.postgres.passwordFile': at('password'),
    'state.postgres.keyFile': at('missing'),
    'state.postgres.certFile': at('missing'),
  }).map(([key, text]) => ({ flag: '--set', key, text }));
  const { config } = loadConfig({ cwd: folder, flags });
  assert.deepEqual(await fileSecrets(config), ['the-token-of-an-engine', 'the-password']);
});
