import assert from 'node:assert/strict';
import { cpSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { filesBelow } from '../support/files.js';
import { fromRoot } from '../support/paths.js';
import { type Finished, runNode } from '../support/spawn.js';
import { tempFolder } from '../support/temp.js';

const proto = 'proto/pluginhost/v1/plugin_host.proto';

/** Checks a copy of proto/ in which `change` was made, and nothing else. */
async function checkChanged(t: TestContext, change: (text: string) => string): Promise<Finished> {
  const folder = tempFolder(t);
  const flyteidl = path.join('node_modules', '@flyteorg', 'flyteidl', 'protos');
  for (const name of ['buf.yaml', 'proto', flyteidl]) {
    cpSync(fromRoot(name), path.join(folder, name), { recursive: true });
  }
  const file = path.join(folder, proto);
  const before = readFileSync(file, 'utf8');
  const after = change(before);
  writeFileSync(file, after);
  const end = await runNode(t, [fromRoot('scripts', 'check-proto.mjs'), '--in', folder]);
  return end;
}

test('our .proto passes the lint and breaks nothing of the baseline', async (t) => {
  assert.deepEqual(filesBelow(fromRoot('proto'), '.proto'), ['pluginhost/v1/plugin_host.proto']);
  const end = await checkChanged(t, (text) => text);
  assert.equal(end.code, 0, end.stdout + end.stderr);
});

test('the lint finds a field that nobody documented', async (t) => {
  const end = await checkChanged(t, (text) => `${text}\nmessage Planted {\n  string undocumented = 1;\n}\n`);
  assert.equal(end.code, 1);
  assert.match(end.stdout, /Field "undocumented" should have a non-empty comment/);
  assert.doesNotMatch(end.stderr, /comparison .* failed/);
});

test('the comparison finds a removed call and a field whose number moved', async (t) => {
  const removed = await checkChanged(t, (text) => text.replace(/^ {2}rpc Do\(.*$/m, ''));
  assert.equal(removed.code, 1);
  assert.match(removed.stdout, /Previously present RPC "Do" on service "PluginHost" was deleted/);
  const moved = await checkChanged(t, (text) => text.replace(/^( {2}bytes handle = )1;/m, '$191;'));
  assert.equal(moved.code, 1);
  assert.match(moved.stdout, /Previously present field "1" with name "handle"/);
  assert.match(moved.stderr, /comparison .* failed/);
});
