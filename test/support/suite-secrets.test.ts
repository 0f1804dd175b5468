import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { makeCertificate } from './certificates.js';
import { compiled } from './paths.js';
import { runNode } from './spawn.js';
import { givenIn, SUITE, searchAdmin, searchFolder, searchFor, suiteSecret, withSecrets } from './suite-secrets.js';
import { tempFolder } from './temp.js';

/**
 * A suite of one test in processes of its own, as scripts/suite.mjs runs one: `body` is the test's, with `t`, the helpers and `secret`,
 * of which no text stands here that the search of this very suite would find. Answers the notes' last line.
 */
async function suiteOf(t: TestContext, body: string): Promise<{ line: string; clean: boolean; code: number | null }> {
  const folder = tempFolder(t);
  const from = (file: string) => JSON.stringify(pathToFileURL(compiled(`test/support/${file}.ts`)).href);
  const names = ['searchAdmin', 'searchFolder', 'searchFor', 'suiteSecret', 'givenIn'].join(', ');
  const test = `
    import { test } from 'node:test'; import fs from 'node:fs'; import http from 'node:http'; import path from 'node:path';
    import { ${names} } from ${from('suite-secrets')}; import { start } from ${from('spawn')}; import { tempFolder } from ${from('temp')};
    const secret = suiteSecret('setting');
    test('of the suite', async (t) => { ${body} });`;
  const suite = `
    import { spawnSync } from 'node:child_process'; import { SearchNotes } from ${from('suite-secrets')};
    delete process.env.NODE_TEST_CONTEXT;
    const notes = new SearchNotes();
    const { status, stdout } = spawnSync(process.execPath, ['--test', 'of-suite.mjs'], { encoding: 'utf8' });
    const { line, clean } = notes.close();
    process.stdout.write(Buffer.from(JSON.stringify({ line, clean, code: status, stdout })).toString('base64').split('').reverse().join(''));`;
  writeFileSync(path.join(folder, 'of-suite.mjs'), test);
  writeFileSync(path.join(folder, 'suite.mjs'), suite);
  const { stdout, stderr } = await runNode(t, ['suite.mjs'], { cwd: folder, env: { SECRETS_SEARCHED: undefined } });
  assert.equal(stderr, '');
  return JSON.parse(Buffer.from(stdout.split('').reverse().join(''), 'base64').toString('utf8'));
}

const serving = `
  const server = http.createServer((request, response) => response.end(pages[request.url] ?? 'nothing')).listen(0, '127.0.0.1');
  await new Promise((resolve) => server.once('listening', resolve));
  t.after(() => server.close());
  await searchAdmin('http://127.0.0.1:' + server.address().port);`;

/** Where a secret is planted -> the body of the test that plants it. */
const PLANTS: Readonly<Record<string, string>> = {
  log: `const { finished } = start(t, process.execPath, ['-e', 'console.error(process.env.TOLD)'], { env: { TOLD: Buffer.from(secret).toString('hex') } }); await finished;`,
  metrics: `const pages = { '/metrics': 'a_total{of="' + secret + '"} 1' }; ${serving}`,
  listing: `const pages = { '/v1/tasks': JSON.stringify({ tasks: [{ error: encodeURIComponent(secret) }] }) }; ${serving}`,
  error: `const pages = { '/v1/no-such-path': Buffer.from('x' + secret).toString('base64') }; ${serving}`,
  state: `fs.writeFileSync(path.join(tempFolder(t), '000003.log'), Buffer.concat([Buffer.from([7]), Buffer.from(secret, 'utf16le')]));`,
};

for (const [kind, body] of Object.entries(PLANTS)) {
  test(`a secret that is planted in a ${kind} fails the file of its test, and the suite, with its name`, async (t) => {
    const { line, clean, code } = await suiteOf(t, body);
    assert.equal(clean, false);
    assert.equal(code, 1);
    assert.match(
      line,
      new RegExp(`secrets: searched .*${kind} [1-9].*\\nFAILED secrets: .*shows secrets \\(setting\\)`),
    );
  });
}

test('a suite that shows none passes, and says what was searched', async (t) => {
  const body = `
    const { finished } = start(t, process.execPath, ['-e', 'console.log("nothing to see")']); await finished;
    const folder = tempFolder(t);
    fs.writeFileSync(path.join(folder, 'state'), 'a state');
    fs.writeFileSync(givenIn(path.join(folder, 'config.json')), secret);
    const pages = {}; ${serving}`;
  const { line, clean, code } = await suiteOf(t, body);
  assert.deepEqual([clean, code], [true, 0], line);
  assert.match(line, /^secrets: searched error 1, listing 7, log 1, metrics 1, state 1; \d+ bytes; none is shown$/);
});

/** Fails where nothing is found. What is found is noted for this suite, too, unless it is kept off. */
function findsIn(t: TestContext, search: () => void, what: RegExp): void {
  const notes = process.env.SECRETS_SEARCHED;
  delete process.env.SECRETS_SEARCHED;
  t.after(() => {
    if (notes !== undefined) process.env.SECRETS_SEARCHED = notes;
  });
  assert.throws(search, what);
}

test('a private key that was made for a test is found as its text and as its bytes, and not where it lies as a file', (t) => {
  const { key } = makeCertificate({ name: 'of a test' });
  const folder = tempFolder(t);
  writeFileSync(path.join(folder, 'server.key'), key);
  searchFolder(folder);
  findsIn(t, () => searchFor('log', 'a log', JSON.stringify({ key })), /a log shows .*a private key/);
  const bytes = Buffer.from(key.replace(/-----.*-----/g, ''), 'base64');
  findsIn(t, () => searchFor('log', 'a log', bytes), /a log shows .*a private key/);
});

test('a daemon is given what its configuration leaves out, and keeps what it says', () => {
  const bare = withSecrets({}) as Record<string, Record<string, unknown>>;
  assert.equal(bare.admin?.token, suiteSecret('adminToken'));
  assert.equal(bare.log?.level, 'trace');
  assert.ok(
    readFileSync(path.join(String(bare.secrets?.dir), 'suite', 'key'), 'utf8').includes(SUITE.core('secretFile')),
  );
  const own = { admin: { tokenFile: 'a' }, log: { level: 'info' }, dataStore: { s3: {} }, secrets: { dir: 'b' } };
  assert.deepEqual(withSecrets(own), own);
});

test('an admin port that is gone shows nothing, and is no failure', async () => {
  const server = http.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  await searchAdmin(`http://127.0.0.1:${port}`);
  assert.equal(givenIn('a/b'), 'a/b');
});
