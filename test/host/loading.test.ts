import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { HostError } from '../../src/errors/index.js';
import { completeEntry } from '../../src/host/load/entry.js';
import { createPluginHost } from '../../src/host/plugin-host.js';
import { systemClock } from '../../src/lib/clock.js';
import type { WrittenPluginEntry } from '../../src/model/options/plugin.js';
import { act, isAlive, resourceArgs, startHost, untilState } from './support.js';

const BOUND = { timeout: 60_000 };
const GOOD = `load: () => ({ async create() { return { resourceMeta: 1 } }, async get() {}, async delete() {} })`;

/** A folder of its own with these files, outside every node_modules. */
function folder(t: TestContext, files: Record<string, string>): string {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'plugin-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(dir, name)), { recursive: true });
    writeFileSync(path.join(dir, name), text);
  }
  return dir;
}

const module = (fields: string): string => `export default { ${fields} }`;

/** What a plugin file holds -> the code and words of its error. */
const FAULTY: Record<string, { text: string; code: string; says: RegExp; entry?: Partial<WrittenPluginEntry> }> = {
  'a syntax error': {
    text: 'export default {',
    code: 'PLUGIN_IMPORT_FAILED',
    says: /importing it threw: Unexpected .*p\.mjs:1: export default \{/,
  },
  'a syntax error below the first line': {
    text: `export const a = 1;\n\nexport default { id: 'p' load: 1 };\n`,
    code: 'PLUGIN_IMPORT_FAILED',
    says: /importing it threw: Unexpected identifier.* \(\/.*p\.mjs:3: export default \{ id: 'p' load: 1 \};\)/,
  },
  'an import of what the host does not export': {
    text: `\nimport { phase } from 'webapi-plugin-host'; ${module('')}`,
    code: 'PLUGIN_IMPORT_FAILED',
    says: /does not provide an export named 'phase' \(\/.*p\.mjs:2: import \{ phase \}/,
  },
  'an import that throws': {
    text: `throw new TypeError('no good day')`,
    code: 'PLUGIN_IMPORT_FAILED',
    says: /p\.mjs: importing it threw: no good day \(\/.*p\.mjs:1\)/,
  },
  'an import of something missing': {
    text: `import 'is-not-installed'; ${module('')}`,
    code: 'PLUGIN_IMPORT_FAILED',
    says: /Cannot find package 'is-not-installed'/,
  },
  'an import that exits': { text: 'process.exit(3)', code: 'PLUGIN_IMPORT_FAILED', says: /ended with exit code 3/ },
  'an import that never ends': {
    text: `await new Promise(() => {}); ${module('')}`,
    code: 'PLUGIN_IMPORT_TIMEOUT',
    says: /importing it took longer than 500 ms/,
    entry: { loadTimeout: 500 },
  },
  'an import that spins': {
    text: 'for (;;) {}',
    code: 'PLUGIN_IMPORT_TIMEOUT',
    says: /importing it took longer than 500 ms \(loadTimeout\)/,
    entry: { loadTimeout: 500 },
  },
  'no default export': {
    text: 'export const id = 1',
    code: 'PLUGIN_SHAPE_INVALID',
    says: /default export is missing; expected an object with id/,
  },
  'no API version': { text: module(`id: 'p'`), code: 'PLUGIN_SHAPE_INVALID', says: /apiVersion is missing/ },
  'another API version': {
    text: module(`id: 'p', apiVersion: 2, anything: 'else'`),
    code: 'PLUGIN_API_VERSION_UNKNOWN',
    says: /written for plugin API version 2, this daemon speaks 1/,
  },
  'a bad id': {
    text: module(`id: 'My Plugin', apiVersion: 1, taskTypes: ['x'], ${GOOD}`),
    code: 'PLUGIN_SHAPE_INVALID',
    says: /id is "My Plugin"; expected a plugin id: lower-case/,
  },
  'no task types': {
    text: module(`id: 'p', apiVersion: 1, taskTypes: [], ${GOOD}`),
    code: 'PLUGIN_SHAPE_INVALID',
    says: /taskTypes is an empty list/,
  },
  'a version that no engine can ask for': {
    text: module(`id: 'p', apiVersion: 1, taskTypes: [{ name: 'x', versions: [1, 2 ** 31] }], ${GOOD}`),
    code: 'PLUGIN_SHAPE_INVALID',
    says: /taskTypes\[0\]\.versions is a list of 2; expected a list of whole numbers from 0 to 2147483647/,
  },
  'a limit out of range': {
    text: module(`id: 'p', apiVersion: 1, taskTypes: ['x'], config: { readRateLimiter: { qps: 0 } }, ${GOOD}`),
    code: 'PLUGIN_CONFIG_INVALID',
    says: /plugin p: definition.config.readRateLimiter.qps is 0; expected a number from 0.001 to 100000/,
  },
  'an unknown limit': {
    text: module(`id: 'p', apiVersion: 1, taskTypes: ['x'], config: { caching: { sise: 1 } }, ${GOOD}`),
    code: 'PLUGIN_CONFIG_INVALID',
    says: /plugin p: definition\.config\.caching\.sise: no such key; known are size, resyncInterval/,
  },
  'a load that throws': {
    text: module(`id: 'p', apiVersion: 1, taskTypes: ['x'], load() { throw new Error('no cluster') }`),
    code: 'PLUGIN_LOAD_FAILED',
    says: /load\(\) threw: no cluster/,
  },
  'a load that exits': {
    text: module(`id: 'p', apiVersion: 1, taskTypes: ['x'], load() { process.exit(0) }`),
    code: 'PLUGIN_LOAD_FAILED',
    says: /its process ended with exit code 0/,
  },
  'a load that never ends': {
    text: module(`id: 'p', apiVersion: 1, taskTypes: ['x'], load: () => new Promise(() => {})`),
    code: 'PLUGIN_IMPORT_TIMEOUT',
    // On a busy machine the import alone may take all of the time that both share.
    says: /(?:importing it|load\(\)) took longer than/,
    entry: { loadTimeout: 3_000 },
  },
  'a load that gives nothing': {
    text: module(`id: 'p', apiVersion: 1, taskTypes: ['x'], load() {}`),
    code: 'PLUGIN_SHAPE_INVALID',
    says: /what load\(\) answered is missing/,
  },
  'a plugin without delete': {
    text: module(`id: 'p', apiVersion: 1, taskTypes: ['x'], load: () => ({ create() {}, get() {} })`),
    code: 'PLUGIN_SHAPE_INVALID',
    says: /delete is missing; expected a function/,
  },
  'a plugin that is sync and async': {
    text: module(`id: 'p', apiVersion: 1, taskTypes: ['x'], load: () => ({ do() {}, get() {} })`),
    code: 'PLUGIN_SHAPE_INVALID',
    says: /a plugin is sync or async/,
  },
  'a batch of no size': {
    text: module(
      `id: 'p', apiVersion: 1, taskTypes: ['x'], load: () => ({ create() {}, get() {}, delete() {}, getMany: { maxBatch: 0, read() {} } })`,
    ),
    code: 'PLUGIN_SHAPE_INVALID',
    says: /getMany\.maxBatch is 0/,
  },
};

for (const [what, { text, code, says, entry }] of Object.entries(FAULTY)) {
  test(`${what} is a clear error that leaves no process behind, and other plugins serve`, BOUND, async (t) => {
    const dir = folder(t, { 'p.mjs': text });
    const { report, host, plugin, pids } = await startHost(t, [
      { source: path.join(dir, 'p.mjs'), ...entry },
      { source: './steady.mjs' },
    ]);
    const [bad, good] = report.results;
    assert.equal(bad!.outcome, 'failed');
    assert.equal(bad!.error!.code, code);
    assert.match(bad!.error!.message, says);
    assert.equal(good!.outcome, 'loaded');
    assert.deepEqual(report.fatal, [], 'a plugin that is not required does not end the start');
    assert.equal((await plugin('steady').call('get', resourceArgs({ job: 'a' }), { deadlineMs: undefined })).ok, true);
    const failed = host.plugin('p');
    if (failed !== undefined) {
      assert.equal(failed.state, code === 'PLUGIN_IMPORT_TIMEOUT' ? 'restarting' : 'failed');
      assert.equal(failed.stateCode, code);
      assert.equal(failed.pid, undefined);
    }
    await host.stop(0);
    for (const pid of pids) assert.equal(isAlive(pid), false);
  });
}

test('a source that is not there, or is no module, is told before anything is started', BOUND, async (t) => {
  const dir = folder(t, { 'notes.txt': '', 'empty/readme.md': '', 'broken/package.json': '{"main":"gone.js"}' });
  const sources = ['./missing.mjs', 'no-such-package', '@scope/none', './notes.txt', './empty', './broken', '../x/..'];
  const { report } = await startHost(
    t,
    sources.map((source) => ({ source })),
    { baseDir: dir },
  );
  assert.deepEqual(
    report.results.map(({ error }) => error?.code),
    [
      'PLUGIN_SOURCE_NOT_FOUND',
      'PLUGIN_SOURCE_NOT_FOUND',
      'PLUGIN_SOURCE_NOT_FOUND',
      'PLUGIN_SOURCE_UNSUPPORTED',
      'PLUGIN_SOURCE_NOT_FOUND',
      'PLUGIN_SOURCE_NOT_FOUND',
      'PLUGIN_SOURCE_NOT_FOUND',
    ],
  );
  assert.match(report.results[0]!.error!.message, /missing\.mjs: there is no file .*missing\.mjs; check the source/);
});

test('a required plugin that fails is fatal, and its error names it', BOUND, async (t) => {
  const { report } = await startHost(t, [{ source: './none.mjs', required: true }]);
  assert.deepEqual(
    report.fatal.map(({ code }) => code),
    ['PLUGIN_SOURCE_NOT_FOUND'],
  );
});

test('a plugin that skips itself is no failure, required or not, and serves no task type', BOUND, async (t) => {
  const dir = folder(t, {
    'p.mjs': `import { SkipPluginError } from 'webapi-plugin-host';
      export default { id: 'p', apiVersion: 1, taskTypes: ['x'], load() { throw new SkipPluginError('no credentials'); } }`,
  });
  const { report, host } = await startHost(t, [{ source: path.join(dir, 'p.mjs'), required: true }]);
  assert.equal(report.results[0]!.outcome, 'skipped');
  assert.match(report.results[0]!.error!.message, /no credentials/);
  assert.deepEqual(report.fatal, []);
  assert.equal(host.plugin('p')!.state, 'skipped');
  assert.throws(() => host.route('x', 0), { code: 'TASK_TYPE_UNKNOWN' });
});

test(
  'a plugin that fails before it tells its task types is routed to for those that it served before',
  BOUND,
  async (t) => {
    const dir = folder(t, { 'p.mjs': `throw new Error('no good day')` });
    const before = { id: 'p', taskTypes: [{ name: 'x', versions: undefined }], isDefault: false };
    let known = [before];
    const entries = [{ source: path.join(dir, 'p.mjs'), id: 'p' }, { source: './steady.mjs' }];
    const { host, plugin } = await startHost(t, entries, { servedBefore: () => known });
    assert.deepEqual([host.route('x', 0).id, host.route('x', 0).state], ['p', 'failed']);
    assert.equal(host.route('steady_task', 5).id, 'steady');
    assert.throws(() => host.route('y', 0), { code: 'TASK_TYPE_UNKNOWN' });
    // As where a replica takes over a state.
    known = [{ ...before, taskTypes: [{ name: 'y', versions: undefined }] }];
    host.reroute();
    assert.equal(host.route('y', 0).id, 'p');
    writeFileSync(path.join(dir, 'p.mjs'), module(`id: 'p', apiVersion: 1, taskTypes: ['z'], ${GOOD}`));
    await host.reload('p');
    assert.equal(plugin('p').state, 'serving');
    assert.equal(host.route('z', 0).id, 'p');
    assert.throws(() => host.route('y', 0), { code: 'TASK_TYPE_UNKNOWN' }, 'it has told what it serves now');
  },
);

test(
  'of two plugins with one id the first keeps it; another id in the entry serves the module twice',
  BOUND,
  async (t) => {
    const { report, host } = await startHost(
      t,
      [{ source: './steady.mjs' }, { source: './steady.mjs' }, { source: './steady.mjs', id: 'second' }],
      { defaultForTaskTypes: { steady_task: 'second', steady_versions: 'steady' } },
    );
    assert.deepEqual(
      report.results.map(({ outcome, error }) => error?.code ?? outcome),
      ['loaded', 'PLUGIN_ID_TAKEN', 'loaded'],
    );
    assert.deepEqual(report.fatal, []);
    assert.equal(host.route('steady_task', 5).id, 'second');
    assert.equal(host.route('steady_versions', 2).id, 'steady');
  },
);

test('two plugins for one task type are a conflict at the start that names both', BOUND, async (t) => {
  const { report } = await startHost(t, [{ source: './steady.mjs' }, { source: './steady.mjs', id: 'second' }]);
  assert.deepEqual(
    report.fatal.map(({ code }) => code),
    ['ROUTE_CONFLICT', 'ROUTE_CONFLICT'],
  );
  assert.match(report.fatal[0]!.message, /steady_task is claimed by steady, second/);
});

const AS_IMPORT = `import { definePlugin, phases } from 'webapi-plugin-host';
  export default definePlugin({ id: 'p', apiVersion: 1, taskTypes: ['x'], load: () => ({
    create: async () => ({ resourceMeta: {} }), get: async () => phases.running({ reason: 'up' }), delete: async () => {} }) });`;
const AS_REQUIRE = AS_IMPORT.replace(
  `import { definePlugin, phases } from 'webapi-plugin-host';`,
  `const { definePlugin, phases } = require('webapi-plugin-host');`,
).replace('export default', 'module.exports =');
const AS_TRANSPILED = AS_REQUIRE.replace(
  'module.exports =',
  `Object.defineProperty(exports, '__esModule', { value: true }); exports.default =`,
);

const SOURCES: Record<string, { files: Record<string, string>; source: WrittenPluginEntry['source'] }> = {
  'a .mjs file': { files: { 'p.mjs': AS_IMPORT }, source: './p.mjs' },
  'a .js file of an ES module package': {
    files: { 'p.js': AS_IMPORT, 'package.json': '{"type":"module"}' },
    source: { file: 'p.js' },
  },
  'a .cjs file': { files: { 'p.cjs': AS_REQUIRE }, source: './p.cjs' },
  'a CommonJS file compiled from an ES module': { files: { 'p.cjs': AS_TRANSPILED }, source: './p.cjs' },
  'a folder with an index file': { files: { 'dir/index.mjs': AS_IMPORT }, source: './dir' },
  'a folder with a main': {
    files: { 'dir/package.json': '{"main":"lib/p.mjs"}', 'dir/lib/p.mjs': AS_IMPORT },
    source: { folder: 'dir' },
  },
  'a folder with exports': {
    files: {
      'dir/package.json': '{"exports":{".":{"types":"./p.d.ts","import":"./p.mjs"}},"main":"none.js"}',
      'dir/p.mjs': AS_IMPORT,
    },
    source: './dir',
  },
  'a package': {
    files: { 'node_modules/@me/p/package.json': '{"exports":"./p.mjs"}', 'node_modules/@me/p/p.mjs': AS_IMPORT },
    source: '@me/p',
  },
  'a subpath of a package': {
    files: { 'node_modules/q/package.json': '{}', 'node_modules/q/plugins/p.cjs': AS_REQUIRE },
    source: { package: 'q/plugins/p.cjs' },
  },
};

for (const [what, { files, source }] of Object.entries(SOURCES)) {
  test(
    `${what} loads from outside the host's package and gets the host's own copy of the contract`,
    BOUND,
    async (t) => {
      const { report, plugin } = await startHost(t, [{ source }], { baseDir: folder(t, files) });
      assert.equal(report.results[0]!.error, undefined);
      const outcome = await plugin('p').call('get', resourceArgs({}), { deadlineMs: undefined });
      assert.equal(outcome.ok && outcome.value.reason, 'up');
    },
  );
}

const stripsTypes = Boolean((process.features as { typescript?: unknown }).typescript);
test('a .ts file loads where the runtime strips types, and is a clear error elsewhere', BOUND, async (t) => {
  const dir = folder(t, { 'p.ts': AS_IMPORT.replace(`id: 'p'`, `id: 'p' as string`) });
  const { report } = await startHost(t, [{ source: './p.ts' }], { baseDir: dir });
  if (stripsTypes) {
    assert.equal(report.results[0]!.error, undefined);
  } else {
    assert.equal(report.results[0]!.error!.code, 'PLUGIN_SOURCE_UNSUPPORTED');
    assert.match(report.results[0]!.error!.message, /cannot load \.ts files; use Node 22\.18 or newer/);
  }
});

test('settings are checked by the schema of the plugin; the error has paths and no values', BOUND, async (t) => {
  const schema = `settings: { '~standard': { version: 1, vendor: 'test', validate: (value) =>
      typeof value.url === 'string' && value.password === undefined ? { value: { url: value.url.toUpperCase() } }
      : { issues: [{ message: 'bad value ' + value.password, path: ['auth', { key: 0 }, 'password'] }] } } }`;
  const dir = folder(t, {
    'p.mjs': `import { phases } from 'webapi-plugin-host';
      export default { id: 'p', apiVersion: 1, taskTypes: ['x'], ${schema}, load: ({ settings }) => ({
        async create() { return { resourceMeta: 1 } }, async get() { return phases.running({ reason: settings.url }) }, async delete() {} }) }`,
  });
  const good = await startHost(t, [{ source: './p.mjs', settings: { url: 'http://x' } }], { baseDir: dir });
  const outcome = await good.plugin('p').call('get', resourceArgs(1), { deadlineMs: undefined });
  assert.equal(outcome.ok && outcome.value.reason, 'HTTP://X');

  const bad = await startHost(t, [{ source: './p.mjs', settings: { password: 'hunter22' } }], { baseDir: dir });
  const error = bad.report.results[0]!.error!;
  assert.equal(error.code, 'PLUGIN_SETTINGS_INVALID');
  assert.match(error.message, /settings\.auth\[0\]\.password: bad value \[redacted\]/);
  assert.doesNotMatch(JSON.stringify([bad.logs, bad.changes]), /hunter22/);
});

test(
  'a plugin process sees the variables that are declared, configured or say how the network is reached, and no others',
  BOUND,
  async (t) => {
    const env = {
      UNRULY_URL: 'u',
      OTHER: 'no',
      PASSED: 'yes',
      PATH: '/bin',
      FLYTE_SECRET_A_B: 's',
      NO_PROXY: 'a.example',
    };
    const { plugin } = await startHost(
      t,
      [{ source: './unruly.mjs', environment: { pass: ['PASSED', 'ABSENT'], set: { SET: 'here' } } }],
      { env },
    );
    const outcome = await act(plugin('unruly'), 'environment');
    // By its mark what the process starts is found.
    const { PLUGIN_HOST_PROCESS_MARK: mark, ...variables } = (outcome.ok && outcome.value.customInfo) || {};
    assert.match(String(mark), /^[0-9a-f]{32}$/);
    assert.deepEqual(variables, {
      UNRULY_URL: 'u',
      PASSED: 'yes',
      SET: 'here',
      FLYTE_SECRET_A_B: 's',
      NO_PROXY: 'a.example',
    });
    assert.deepEqual(plugin('unruly').environment, ['FLYTE_SECRET_A_B', 'NO_PROXY', 'PASSED', 'SET', 'UNRULY_URL']);
  },
);

test('a host that is stopped while it loads starts nothing more and leaves no process behind', BOUND, async (t) => {
  const dir = folder(t, { 'p.mjs': `console.log(process.pid); await new Promise(() => {});` });
  const pids: number[] = [];
  let printed: () => void = () => undefined;
  const up = new Promise<void>((resolve) => {
    printed = resolve;
  });
  const host = createPluginHost({
    entries: Array.from({ length: 6 }, () => completeEntry({ source: path.join(dir, 'p.mjs') })),
    clock: systemClock,
    random: () => 0.5,
    data: { dataStore: { localRoots: [], maxObjectBytes: 1 }, secrets: { envPrefixes: [] }, maxOutputBytes: 1 },
    limits: { stopStepMs: 200, startConcurrency: 2 },
    events: {
      log: ({ source, message }) => {
        if (source !== 'stdout') return;
        pids.push(Number(message));
        if (pids.length === 2) printed();
      },
      metric: () => undefined,
      lifecycle: () => undefined,
      changed: () => undefined,
    },
  });
  const starting = host.start();
  await up;
  await host.stop(0);
  const { results } = await starting;
  assert.deepEqual(pids.filter(isAlive), []);
  assert.equal(pids.length, 2, 'nothing was started after the stop');
  assert.ok(results.every(({ outcome }) => outcome === 'failed'));
});

test('a plugin whose process cannot be started fails by itself, at the start and after a crash', BOUND, async (t) => {
  const impossible = 'hunter22\0';
  const env: Record<string, string> = { A: impossible, B: 'fine' };
  const { report, plugin } = await startHost(
    t,
    [
      { source: './unruly.mjs', environment: { pass: ['A'] } },
      { source: './steady.mjs', environment: { pass: ['B'] } },
    ],
    { env },
  );
  const [passed, loaded] = report.results;
  assert.equal(passed?.error?.code, 'PLUGIN_IMPORT_FAILED');
  assert.match(passed?.error?.message ?? '', /unruly\.mjs: its process could not be started: .*null bytes/);
  assert.throws(
    () => completeEntry({ source: './unruly.mjs', environment: { set: { C: impossible } } }),
    (error: HostError) =>
      error.code === 'CONFIG_VALUE_INVALID' &&
      error.message.includes('environment.set.C') &&
      !error.message.includes('hunter22'),
  );
  assert.doesNotMatch(`${passed?.error?.message}`, /hunter22/);
  assert.equal(loaded?.outcome, 'loaded');
  const steady = plugin('steady');
  env.B = impossible;
  const reasons: string[] = [];
  const again = new Promise<void>((resolve) => {
    steady.onStateChange(({ reason }) => {
      reasons.push(reason);
      if (reasons.length === 2) resolve();
    });
  });
  process.kill(steady.pid as number, 'SIGKILL');
  await again;
  assert.match(reasons[1] ?? '', /did not come up again: .*could not be started/);
  env.B = 'fine again';
  await untilState(steady, 'serving');
});
