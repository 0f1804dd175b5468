import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import type { AddressInfo } from 'node:net';
import { type TestContext, test } from 'node:test';
import { createJobService } from '../../plugins/demo/job-service.js';
import { compiled, fromRoot } from '../support/paths.js';
import { run, start } from '../support/spawn.js';
import { tempFolder, writeTree } from '../support/temp.js';

/** Draws on a pseudo-terminal what a command prints; part of util-linux, which Debian always has. CI must not pass without it. */
const SCRIPT = '/usr/bin/script';
const skip = existsSync(SCRIPT) || process.env.CI === 'true' ? false : `there is no ${SCRIPT}`;

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
      `jobs: PLUGIN_LOAD_FAILED: plugin ${folder}/jobs.mjs: load() threw: baseUrl of the HTTP client is "127.0.0.1:8080"; expected an absolute URL such as https://jobs.example.com/api`,
  },
  'a syntax error in .mjs': syntax('jobs.mjs'),
  'a syntax error in .js': {
    ...syntax('jobs.js'),
    files: { ...syntax('jobs.js').files, 'package.json': '{"type":"module"}' },
  },
  'a setting that is missing': {
    files: { 'jobs.mjs': plugin, 'config.yaml': 'plugins:\n  jobs: { source: ./jobs.mjs }\n' },
    args: check,
    code: 4,
    says: (folder) =>
      `jobs: PLUGIN_LOAD_FAILED: plugin ${folder}/jobs.mjs: load() threw: baseUrl of the HTTP client is missing; expected an absolute URL such as https://jobs.example.com/api`,
  },
  'an optional part of the plugin with a typo': {
    files: {
      'jobs.mjs': plugin.replace('apiVersion', 'enviroment: [], apiVersion'),
      'config.yaml': config('jobs.mjs'),
    },
    args: check,
    code: 0,
    says: (folder) => `${folder}/jobs.mjs (plugin): nothing reads "enviroment"; did you mean "environment"?`,
  },
  'a method with a typo': {
    files: { 'jobs.mjs': plugin.replace('async create(', 'async craete('), 'config.yaml': config('jobs.mjs') },
    args: check,
    code: 4,
    says: (folder) => `jobs: PLUGIN_SHAPE_INVALID: plugin ${folder}/jobs.mjs: create is missing; expected a function`,
  },
  'a value of the wrong type': {
    files: {
      'jobs.mjs': plugin,
      'config.yaml': `${config('jobs.mjs')}    config: { readRateLimiter: { qps: five } }\n`,
    },
    args: check,
    code: 3,
    says: () =>
      '  CONFIG_VALUE_INVALID file config.yaml:5: plugins.jobs.config.readRateLimiter.qps: seen "five", expected a number from 0.001 to 100000',
  },
  'YAML that is none': {
    files: { 'config.yaml': 'plugins:\n  jobs: { source: ./jobs.mjs\n' },
    args: check,
    code: 3,
    says: () =>
      '  CONFIG_FILE_UNREADABLE file config.yaml: Flow map in block collection must be sufficiently indented and end with a } at line 3, column 1',
  },
  'a task file that is no YAML': {
    files: { 'task.yaml': 'type: job\n  custom: 3\n' },
    args: ['run', 'task.yaml'],
    code: 2,
    says: () =>
      'plugin-host: task.yaml is no valid YAML: Nested mappings are not allowed in compact mappings at line 1, column 7',
  },
  'an address without a port': {
    files: { 'task.json': '{"type": "job"}' },
    args: ['run', 'task.json', '--address', 'localhost'],
    code: 2,
    says: () =>
      "plugin-host: option '-a, --address <host:port>' argument 'localhost' is invalid. expected host:port, such as 127.0.0.1:8000, or a target such as dns:///name:8000.",
  },
  'an option of a command with a typo': {
    files: {},
    args: ['tasks', '--configg', 'config.yaml'],
    code: 2,
    says: () => "plugin-host: unknown option '--configg'",
  },
  "a task's id for its handle": {
    files: {},
    args: ['delete', '48655ba1f8192eba88d6392f98a594f3-1', '--address', '127.0.0.1:1'],
    code: 2,
    says: () =>
      "plugin-host: HANDLE_MALFORMED: the handle is not one that `run` printed; 48655ba1f8192eba88d6392f98a594f3-1 is a task's id: plugin-host tasks 48655ba1f8192eba88d6392f98a594f3-1 shows its handle",
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
    assert.doesNotMatch(seen.text, /\bundefined\b|\[object |node:internal|\/dist\/src\//);
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

test('on a terminal, a first daemon is led through what works and what does not, each told where it is seen', {
  skip,
}, async (t) => {
  const folder = tempFolder(t);
  const service = createJobService();
  await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve));
  t.after(() => service.close());
  const { port } = service.address() as AddressInfo;
  const entry = (file: string, url: string) => `  ${file}: { source: ./${file}.mjs, settings: { url: "${url}" } }\n`;
  const named = (id: string) => plugin.replace("id: 'jobs'", `id: '${id}'`).replace("['job']", `['${id}']`);
  writeTree(folder, {
    'jobs.mjs': named('jobs'),
    'away.mjs': named('away'),
    'task.json': '{"type": "jobs", "custom": {"what": "sum", "numbers": [1, 2, 3]}}',
    'wrong.json': '{"type": "jobs", "custom": {"what": "sum"}}',
    'away.json': '{"type": "away"}',
    'nobody.json': '{"type": "nobody"}',
    'typo.json': '{"typ": "jobs"}',
  });
  const token = 'a-token-of-the-operator';
  const parts =
    'grpc: { port: 0 }\nadmin: { host: 127.0.0.1, port: 0 }\nstate: { engine: none }\nshutdown: { drainDelay: 0s }\n';
  const plugins = `plugins:\n${entry('jobs', `http://127.0.0.1:${port}`)}${entry('away', 'http://127.0.0.1:1')}`;
  writeTree(folder, { 'serve.yaml': `${parts}${plugins}` });
  const env = { PLUGIN_HOST_ADMIN_TOKEN: token };
  const daemon = start(t, process.execPath, [compiled('src/main.ts'), 'serve', '-c', 'serve.yaml'], {
    cwd: folder,
    env,
  });
  const [, grpc = '', admin = ''] = await daemon.waitFor(/"daemon\.ready","grpc":"([^"]+)","admin":"([^"]+)"/);
  const ports = { grpc: grpc.split(':')[1], admin: admin.split(':')[1] };
  const auth = `token: ${token}`;
  const here = `grpc: { port: ${ports.grpc} }\nadmin: { host: 127.0.0.1, port: ${ports.admin}, ${auth} }\n`;
  // As somebody writes it who takes the one port for the other.
  const crossed = `grpc: { port: ${ports.admin} }\nadmin: { host: 127.0.0.1, port: ${ports.grpc}, ${auth} }\n`;
  const elsewhere = `admin: { host: 127.0.0.1, port: ${port}, ${auth} }\n`;
  writeTree(folder, { 'here.yaml': here, 'crossed.yaml': crossed, 'elsewhere.yaml': elsewhere });

  const says = async (args: string, code: number, expected: RegExp, config = 'here.yaml') => {
    const seen = await onTerminal(t, folder, [...args.split(' '), '-c', config]);
    assert.match(seen.text, expected, args);
    assert.equal(seen.code, code, `${args}: ${seen.text}`);
    assert.doesNotMatch(seen.text, /\bundefined\b|\[object |node:internal|Resolution note/, args);
  };
  await says('run task.json', 0, /^result: 6$/m);
  await says('run wrong.json', 10, /HTTP400 \(USER\): PUT \S+: HTTP 400: expected a body such as \{"what": "sum"/);
  await says(
    'run away.json --timeout 2s',
    13,
    /WAITING_FOR_RESOURCES.*connect ECONNREFUSED 127\.0\.0\.1:1[\s\S]*goes on/,
  );
  await says('run nobody.json', 7, /TASK_TYPE_UNKNOWN: no plugin serves task type "nobody"; served are: away, jobs/);
  await says('run typo.json', 2, /REQUEST_FIELD_INVALID: typo\.json: .* has no field typ; it has id, type,/);
  await says('pause job', 7, /PLUGIN_UNKNOWN: no plugin is called "job"; there are: jobs, away/);
  await says('tasks --plugin job', 7, /PLUGIN_UNKNOWN: no plugin is called "job"; there are: jobs, away/);
  await says('pause jobs', 0, /^jobs: pause done$/m);
  await says('run task.json --timeout 1s', 13, /WAITING_FOR_RESOURCES - an operator paused plugin jobs/);
  await says('plugins', 0, /^jobs +PAUSED [\s\S]*^jobs: paused by an operator$/m);
  await says('tasks --plugin jobs', 0, /WAITING_FOR_RESOURCES .* an operator paused plugin jobs$/m);
  await says('resume jobs', 0, /^jobs: resume done$/m);
  await says(
    'run task.json',
    7,
    /UNAVAILABLE: no daemon can be reached at \S+ \(.*speaks no gRPC; is it the admin port\?\)/,
    'crossed.yaml',
  );
  await says(
    'tasks',
    7,
    /cannot be reached: .*speaks no HTTP; is it the gRPC port\?; name it with --admin/,
    'crossed.yaml',
  );
  await says('tasks', 7, /is no admin server of a daemon \(HTTP 404\); name it with --admin/, 'elsewhere.yaml');
});

test('on a terminal, the demo shows its tasks in colours and is ended in order by Ctrl-C', { skip }, async (t) => {
  const command = `'${process.execPath}' '${fromRoot('scripts', 'demo.mjs')}'`;
  const demo = start(t, SCRIPT, ['-qec', command, '/dev/null'], {
    env: { NO_COLOR: undefined, FORCE_COLOR: undefined },
  });
  // biome-ignore lint/suspicious/noControlCharactersInRegex: the colours of a terminal
  await demo.waitFor(/\u001b\[32mSUCCESS/);
  demo.child.stdin.write('\u0003');
  const { code, stdout } = await demo.finished;
  assert.equal(code, 130, stdout);
  assert.doesNotMatch(stdout, /\n\s+at |\[object |\bundefined\b/);
});
