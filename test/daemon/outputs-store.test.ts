import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { OutputsStore } from '../../src/daemon/outputs.js';
import { tempFolder } from '../support/temp.js';

test('a replica that works no more writes no outputs over those of who took over, also where it lost its lease in the midst of it', async (t) => {
  const root = tempFolder(t);
  let works = true;
  const outputs = new OutputsStore({ localRoots: [root], maxObjectBytes: 1_000_000 }, () => works);
  t.after(() => outputs.close());
  const write = (text: string) => outputs.writer!(path.join(root, 'prefix'), Buffer.from(text));
  const file = path.join(root, 'prefix', 'outputs.pb');
  works = false;
  await assert.rejects(write('never'), { code: 'LEASE_LAPSED', retryable: true });
  assert.equal(existsSync(file), false);
  works = true;
  await write('mine');
  const late = write('late');
  works = false;
  await assert.rejects(late, { code: 'LEASE_LAPSED' });
  works = true;
  assert.equal(readFileSync(file, 'utf8'), 'mine');
  await write('mine again');
  assert.equal(readFileSync(file, 'utf8'), 'mine again');
});
