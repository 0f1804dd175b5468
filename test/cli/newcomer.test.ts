import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { compiled, fromRoot } from '../support/paths.js';
import { run } from '../support/spawn.js';
import { tempFolder, writeTree } from '../support/temp.js';

/** Draws on a pseudo-terminal what a command prints; part of util-linux, which Debian always has. */
const SCRIPT = '/usr/bin/script';
const skip = existsSync(SCRIPT) ? false : `there is no ${SCRIPT}`;

const plugin = /```js\n\/\/ jobs\.mjs\n([\s\S]*?)```/.exec(readFileSync(fromRoot('README.md'), 'utf8'))?.[1] ?? '';
const config = (source: string, url = 'http://127.0.0.1:8080') =>
  `plugins:\n  jobs:\n    source: ./${source}\n    settings: { url: "${url}" }\n`;

/** What a newcomer sees, without colours. */
async function onTerminal(t: TestContext, cwd: string, args: readonly string[]) {
  const command = [process.execPath, compiled('src/main.ts'), ...args].map((part) => `'${part}'`).join(' ');
  const { code, stdout } = await run(t, SCRIPT, ['-qec', command, '/dev/null'], { cwd, env: { COLUMNS: '400' } });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the colours of a terminal
  const text = stdout.replaceAll('\r', '').replace(/\u001b\[[0-9;?]*[a-zA-Z]/g, '');
  return { code, text, lines: text.split('\n') };
}

/** One mistake: the files, the command, its exit code and the sentence that it is told by. */
interface Mistake {
  readonly files: Readonly<Record<string, string>>;
  readonly args: readonly string[];
  readonly code: number;
  readonly says: (folder: string) => string;
}

const broken = plugin.replace('return { resourceMeta: { id } };', 'return { resourceMeta: { id };');
const check = ['check', '--config', 'config.yaml'];
const syntax = (file: string): Mistake => ({
  files: { [file]: broken, 'config.yaml': config(file) },
  args: check,
  code: 4,
  says: (folder) =>
    `jobs: PLUGIN_IMPORT_FAILED: plugin ${folder}/${file}: importing it threw: Unexpected token ';' (${folder}/${file}:12: return { resourceMeta: { id };)`,
});

const MISTAKES: Readonly<Record<string, Mistake>> = {
  'a key with a typo': {
    files: { 'config.yaml': config('jobs.mjs').replace('source', 'sorce') },
    args: check,
    code: 3,
    says: () =>
      '  CONFIG_KEY_UNKNOWN file config.yaml:3: plugins.jobs.sorce: there is no such key; did you mean "source"?',
  },
  'a plugin file that is missing': {
    files: { 'config.yaml': config('job.mjs') },
    args: check,
    code: 4,
    says: (folder) =>
      `jobs: PLUGIN_SOURCE_NOT_FOUND: plugin ${folder}/job.mjs: there is no file ${folder}/job.mjs; check the source of the entry`,
  },
  'a URL without its scheme': {
    files: { 'jobs.mjs': plugin, 'config.yaml': config('jobs.mjs', '127.0.0.1:8080') },
    args: check,
    code: 4,
    says: (folder) =>
      `jobs: PLUGIN_LOAD_FAILED: plugin ${folder}/jobs.mjs: load() threw: baseUrl of the HTTP client is no absolute URL such as https://jobs.example.com/api`,
  },
  'a syntax error in .mjs': syntax('jobs.mjs'),
  'a syntax error in .js': {
    ...syntax('jobs.js'),
    files: { ...syntax('jobs.js').files, 'package.json': '{"type":"module"}' },
  },
  'a daemon that does not run': {
    files: { 'task.json': '{"type": "job"}' },
    args: ['run', 'task.json', '--address', '127.0.0.1:1'],
    code: 7,
    says: () =>
      'plugin-host: UNAVAILABLE: no daemon can be reached at 127.0.0.1:1 (connect ECONNREFUSED 127.0.0.1:1); start one with plugin-host serve, or name it with --address or --config',
  },
  'a task file that is missing': {
    files: {},
    args: ['run', 'task.json'],
    code: 2,
    says: (folder) =>
      `plugin-host: task.json cannot be read: ENOENT: no such file or directory, open '${folder}/task.json'`,
  },
  'a command with a typo': {
    files: {},
    args: ['runn', 'task.json'],
    code: 2,
    says: () => "plugin-host: unknown command 'runn'",
  },
};

for (const [name, { files, args, code, says }] of Object.entries(MISTAKES)) {
  test(`on a terminal, ${name} is told in a sentence that says what to mend`, { skip }, async (t) => {
    assert.notEqual(broken, plugin, 'the README has another plugin now');
    const folder = tempFolder(t);
    writeTree(folder, files);
    const seen = await onTerminal(t, folder, args);
    assert.ok(seen.lines.includes(says(folder)), `expected\n${says(folder)}\nand saw\n${seen.text}`);
    assert.equal(seen.code, code);
    assert.doesNotMatch(seen.text, /\bundefined\b|\[object |node:internal/);
  });
}

test('a syntax error in a TypeScript plugin names file and line, where Node can load one', { skip }, async (t) => {
  const folder = tempFolder(t);
  const typed = broken.replace('load({ settings })', 'load({ settings }: { settings: any })');
  writeTree(folder, { 'jobs.ts': typed, 'config.yaml': config('jobs.ts') });
  const { text, code } = await onTerminal(t, folder, check);
  const [major, minor] = process.versions.node.split('.').map(Number) as [number, number];
  const loads = major > 22 || (major === 22 && minor >= 18);
  const says = loads
    ? /jobs: PLUGIN_IMPORT_FAILED: plugin \S+\/jobs\.ts: importing it threw: .+ \(\S+\/jobs\.ts:12: return \{ resourceMeta: \{ id \};\)/
    : /jobs: PLUGIN_SOURCE_UNSUPPORTED: plugin \S+\/jobs\.ts: Node [\d.]+ cannot load \.ts files; use Node 22\.18 or newer, or compile it to JavaScript/;
  assert.match(text, says);
  assert.equal(code, 4);
});
