import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { TaskQuery } from '../../src/model/page.js';
import type { PluginReport } from '../../src/model/plugin-report.js';
import { makeSource, serveAdmin, TOKEN } from '../admin/support.js';
import { startServer } from '../rpc/support.js';
import { cli, folderWith } from './support.js';

const REPORT: PluginReport = {
  id: 'slurm',
  version: '1.2.3',
  kind: 'async',
  taskTypes: [
    { name: 'batch', versions: [1, 2] },
    { name: 'array', versions: [] },
  ],
  isDefault: true,
  state: 'SERVING',
  stateReason: '',
  stateCode: '',
  source: './slurm.mjs',
  config: {
    resourceQuotas: { gpu: 4 },
    readRateLimiter: { qps: 0.5, burst: 3 },
    writeRateLimiter: { qps: 20, burst: 200 },
    caching: { size: 10, resyncIntervalMs: 5000, workers: 2, maxSystemFailures: 5 },
  },
  quotas: [{ namespace: 'gpu', total: 4, used: 1, waiting: 0 }],
  liveTasks: 12,
  waitingTasks: 3,
  pid: 77,
  restarts: 1,
  rssBytes: 1000,
  environment: ['HOME'],
};

const FAILED: PluginReport = {
  ...REPORT,
  id: 'broken',
  version: '',
  kind: undefined,
  taskTypes: [],
  isDefault: false,
  state: 'FAILED',
  stateCode: 'PLUGIN_IMPORT_FAILED',
  stateReason: 'it threw:\n  line two\u001b[2J',
  config: undefined,
  liveTasks: 0,
  waitingTasks: 0,
};

describe('plugin-host plugins', () => {
  it('shows the load report as a table, with the reasons below', async (t) => {
    const fixture = await startServer(t);
    const empty = await cli(['plugins', '-a', fixture.address]);
    assert.deepEqual([empty.code, empty.stdout], [0, 'No plugins are configured.\n']);
    fixture.tasks.reports = [REPORT, FAILED];
    const { code, stdout } = await cli(['plugins', '-a', fixture.address]);
    assert.equal(code, 0);
    const lines = stdout.trimEnd().split('\n');
    assert.match(lines[0]!, /^ *PLUGIN +STATE +VERSION +TASK TYPES +LIVE +WAITING +READS +WRITES +RESTARTS$/);
    assert.match(
      lines[1]!,
      /slurm +SERVING +1\.2\.3 +batch \(v1, v2\), array \(default\) +12 +3 +0\.5\/s, 3 +20\/s, 200 +1$/,
    );
    assert.match(lines[2]!, /broken +FAILED +- +- +0 +0 +- +- +1$/);
    assert.equal(lines.at(-1), 'broken: PLUGIN_IMPORT_FAILED: it threw: line two�[2J');
    // biome-ignore lint/suspicious/noControlCharactersInRegex: no colours where there is no terminal
    assert.doesNotMatch(stdout, /\u001b/);
  });

  it('gives the whole report as JSON', async (t) => {
    const fixture = await startServer(t);
    fixture.tasks.reports = [REPORT];
    const { stdout } = await cli(['plugins', '-a', fixture.address, '--json']);
    const { plugins } = JSON.parse(stdout);
    assert.deepEqual([plugins[0].id, plugins[0].pid, plugins[0].quotas], ['slurm', 77, REPORT.quotas]);
  });
});

describe('plugin-host pause, resume, reload', () => {
  it('acts through the admin server with the configured token', async (t) => {
    const source = makeSource();
    const { url } = await serveAdmin(t, { source });
    for (const action of ['pause', 'resume', 'reload']) {
      const { code, stdout } = await cli([action, 'slurm', '--admin', url], {
        env: { PLUGIN_HOST_ADMIN_TOKEN: TOKEN },
      });
      assert.deepEqual([code, stdout], [0, `slurm: ${action} done\n`]);
    }
    assert.deepEqual(source.done, ['pause slurm', 'resume slurm', 'reload slurm']);
  });

  it('says what is wrong: no token, a wrong one, no such plugin, no server', async (t) => {
    const { url, server } = await serveAdmin(t);
    const pause = (id: string, token?: string) =>
      cli(['pause', id, '--admin', url], { env: { PLUGIN_HOST_ADMIN_TOKEN: token } });
    const missing = await pause('slurm');
    assert.equal(missing.code, 3);
    assert.match(missing.stderr, /ADMIN_TOKEN_UNSET: set admin\.token/);
    const wrong = await pause('slurm', 'another-token-of-some-length');
    assert.equal(wrong.code, 7);
    assert.match(wrong.stderr, /ADMIN_TOKEN_WRONG/);
    const unknown = await pause('nobody', TOKEN);
    assert.equal(unknown.code, 7);
    assert.match(unknown.stderr, /PLUGIN_NOT_SERVING: there is no plugin nobody/);
    await server.stop(1_000);
    const gone = await pause('slurm', TOKEN);
    assert.equal(gone.code, 7);
    assert.match(gone.stderr, /cannot be reached: .*ECONNREFUSED.*; name it with --admin/);
    for (const nonsense of ['nonsense', '127.0.0.1:9090', 'http://', 'ftp://host']) {
      const { code, stderr } = await cli(['pause', 'slurm', '--admin', nonsense]);
      assert.equal(code, 2, nonsense);
      assert.match(stderr, /expected a URL such as http/);
    }
  });
});

describe('plugin-host tasks', () => {
  it('says which parts it has looked at where replicas share the tasks, and that a task may be at another one', async (t) => {
    const tasks = () => ({ rows: [ROW], next: undefined });
    const { url } = await serveAdmin(t, { source: makeSource({ tasks, covers: () => 'parts 0-2 of 8' }) });
    const listed = await cli(['tasks', '--admin', url], { env });
    assert.equal(listed.code, 0);
    assert.match(
      listed.stderr,
      /^Of the replica that was asked alone: it has parts 0-2 of 8, so ask the others as well/,
    );
    const whole = await cli(['tasks', '--admin', url, '--json'], { env });
    assert.equal(JSON.parse(whole.stdout).covers, 'parts 0-2 of 8');
    const nowhere = makeSource({ tasks: () => ({ rows: [], next: undefined }), covers: () => 'no part of 8' });
    const empty = await serveAdmin(t, { source: nowhere });
    const { code, stderr } = await cli(['tasks', '--admin', empty.url, '52'], { env });
    assert.equal(code, 7);
    assert.match(stderr, /no task in memory has an id .* it has no part of 8, so ask the others/);
  });

  const env = { PLUGIN_HOST_ADMIN_TOKEN: TOKEN };
  const ROW = {
    id: '52c640e4-1',
    plugin: 'slurm',
    taskType: 'batch',
    phase: 'WAITING_FOR_RESOURCES',
    reason: 'an operator paused\u001b plugin slurm',
    created: '2026-01-02T03:04:05.000Z',
    error: null,
    handle: 'AAAA',
  };
  const FAILED_ROW = {
    ...ROW,
    id: '52c6ffff-1',
    phase: 'PERMANENT_FAILURE',
    error: { code: 'Oops', message: 'no room' },
  };

  it('lists tasks with why they are where they are, passes filters on, and says how to see more', async (t) => {
    const asked: TaskQuery[] = [];
    const tasks = (query: TaskQuery) => {
      asked.push(query);
      return {
        rows: asked.length === 1 ? [ROW, FAILED_ROW, { id: 'x-1', unshown: 'half a surrogate' }] : [],
        next: asked.length === 1 ? 'm.7' : undefined,
      };
    };
    const { url } = await serveAdmin(t, { source: makeSource({ tasks }) });
    const filters = [
      '--plugin',
      'slurm',
      '--phase',
      'RUNNING',
      '--stage',
      'live',
      '--project',
      'p',
      '--limit',
      '3',
      '--after',
      'm.4',
    ];
    const listed = await cli(['tasks', '--admin', url, ...filters], { env });
    assert.equal(listed.code, 0, listed.stderr);
    assert.match(listed.stdout, /^ID +PLUGIN +TASK TYPE +PHASE +CREATED +WHY$/m);
    assert.match(
      listed.stdout,
      /^52c640e4-1 +slurm +batch +WAITING_FOR_RESOURCES +2026-\S+ +an operator paused� plugin slurm$/m,
    );
    assert.match(listed.stdout, /^52c6ffff-1 .* PERMANENT_FAILURE .* \[Oops\] no room$/m);
    assert.match(listed.stdout, /^x-1 +- +- +- +- +half a surrogate$/m);
    assert.equal(listed.stderr, 'There are more: --after m.7\n');
    const expected = { plugin: 'slurm', phase: 'RUNNING', stage: 'live', project: 'p', limit: 3, after: 'm.4' };
    assert.deepEqual(asked[0], { ...expected, id: undefined });
    const none = await cli(['tasks', '--admin', url], { env });
    assert.deepEqual([none.code, none.stdout], [0, 'No such tasks are in memory.\n']);
    const wrong = await cli(['tasks', '--admin', url, '--phase', 'running'], { env });
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /Allowed choices are .*RUNNING/);
  });

  it('goes on to the next pages while there are fewer tasks than asked for, also past a page that has none', async (t) => {
    const pages = new Map([
      ['', { rows: [ROW], next: 'm.1' }],
      ['m.1', { rows: [], next: 'm.2' }],
      ['m.2', { rows: [FAILED_ROW], next: undefined }],
    ]);
    const limits: number[] = [];
    const tasks = ({ after, limit }: TaskQuery) => {
      limits.push(limit);
      return pages.get(after) ?? { rows: [], next: undefined };
    };
    const { url } = await serveAdmin(t, { source: makeSource({ tasks }) });
    const listed = await cli(['tasks', '--admin', url, '--limit', '9', '--json'], { env });
    assert.deepEqual(JSON.parse(listed.stdout), { tasks: [ROW, FAILED_ROW], next: null });
    assert.deepEqual(limits, [9, 8, 8]);
    const one = await cli(['tasks', FAILED_ROW.id, '--admin', url, '--json'], { env });
    assert.deepEqual(JSON.parse(one.stdout), FAILED_ROW);
  });

  it('shows one whole by its id or the beginning of it, and none where that is not one task', async (t) => {
    const tasks = ({ id = '' }: TaskQuery) => ({
      rows: [ROW, FAILED_ROW, { ...ROW, id: '52c640e4-12' }].filter((row) => row.id.startsWith(id)),
      next: undefined,
    });
    const { url } = await serveAdmin(t, { source: makeSource({ tasks }) });
    const show = (id: string, ...more: string[]) => cli(['tasks', id, '--admin', url, ...more], { env });
    const exact = await show('52c640e4-1');
    assert.equal(exact.code, 0, exact.stderr);
    assert.match(exact.stdout, /^id: 52c640e4-1$/m);
    assert.match(exact.stdout, /^handle: AAAA$/m);
    const short = await show('52c6f', '--json');
    assert.deepEqual(JSON.parse(short.stdout), FAILED_ROW);
    for (const [id, says] of [
      ['52c640', /TASK_UNKNOWN: 2 tasks have an id that begins with "52c640"/],
      ['nope', /TASK_UNKNOWN: no task in memory has/],
    ] as const) {
      const { code, stderr } = await show(id);
      assert.equal(code, 7);
      assert.match(stderr, says);
    }
  });
});

describe('every command that talks to a daemon', () => {
  const COMMANDS = ['run', 'follow', 'delete', 'plugins', 'tasks', 'pause', 'resume', 'reload'];

  it('takes --config, --set, --address and --admin', async () => {
    for (const command of COMMANDS) {
      const { stdout } = await cli([command, '--help']);
      for (const option of ['--config', '--set', '--address', '--admin']) {
        assert.ok(stdout.includes(`${option} <`), `${command} ${option}`);
      }
    }
  });

  it('finds it by the address, else by the configuration that is named, else by the environment', async (t) => {
    const fixture = await startServer(t);
    fixture.tasks.reports = [REPORT];
    const [host, port] = fixture.address.split(':');
    const cwd = folderWith(t, {
      'here.yaml': `grpc: { host: ${host}, port: ${port} }\n`,
      'gone.yaml': 'grpc: { host: 0.0.0.0, port: 1 }\n',
      'any.yaml': 'grpc: { port: 0 }\n',
    });
    const nowhere = { PLUGIN_HOST_ADDRESS: '127.0.0.1:1' };
    for (const [args, env] of [
      [['-a', fixture.address, '-c', 'gone.yaml'], nowhere],
      [['-c', 'here.yaml'], nowhere],
      [['-c', 'gone.yaml', '--set', `grpc.port=${port}`], {}],
      [[], { PLUGIN_HOST_ADDRESS: fixture.address, PLUGIN_HOST_CONFIG: 'gone.yaml' }],
      [[], { PLUGIN_HOST_CONFIG: 'here.yaml' }],
    ] as const) {
      const { code, stderr } = await cli(['plugins', ...args], { cwd, env });
      assert.equal(code, 0, `${args}: ${stderr}`);
    }
    const gone = await cli(['plugins', '-c', 'gone.yaml'], { cwd });
    assert.equal(gone.code, 7);
    assert.match(gone.stderr, /no daemon can be reached at 127\.0\.0\.1:1 .*--address or --config/);
    const any = await cli(['plugins', '-c', 'any.yaml'], { cwd });
    assert.equal(any.code, 2);
    assert.match(any.stderr, /grpc\.port is 0, any free port: .*--address/);
  });

  it('finds the admin port by --admin, else where the address and the configuration say', async (t) => {
    const source = makeSource();
    const { url } = await serveAdmin(t, { source });
    const { port } = new URL(url);
    const cwd = folderWith(t, { 'd.yaml': `admin: { host: 0.0.0.0, port: ${port}, token: ${TOKEN} }\n` });
    for (const args of [
      ['-c', 'd.yaml'],
      ['-c', 'd.yaml', '-a', 'localhost:8000'],
      ['-c', 'd.yaml', '-a', 'dns:///localhost:8000'],
    ]) {
      const { code, stderr } = await cli(['pause', 'slurm', ...args], { cwd });
      assert.equal(code, 0, `${args}: ${stderr}`);
    }
    const elsewhere = await cli(['pause', 'slurm', '-c', 'd.yaml', '--admin', 'http://127.0.0.1:1'], { cwd });
    assert.equal(elsewhere.code, 7);
    assert.equal(source.done.length, 3);
  });

  it('is told by each in the same words when a value is none, or leads nowhere', async (t) => {
    const cwd = folderWith(t, {
      'task.json': '{"type": "t"}',
      'nowhere.yaml': `grpc: { port: 1 }\nadmin: { port: 2, token: ${TOKEN} }\n`,
      'any.yaml': `grpc: { port: 0 }\nadmin: { port: 0, token: ${TOKEN} }\n`,
      'flaw.yaml': 'grpc: { prot: 1 }\n',
    });
    const handle = Buffer.from('a handle of nobody').toString('base64url');
    const subject: Readonly<Record<string, string>> = { run: 'task.json', follow: handle, delete: handle };
    const overAdmin = ['tasks', 'pause', 'resume', 'reload'];
    for (const command of COMMANDS) {
      const what = subject[command] ?? (['pause', 'resume', 'reload'].includes(command) ? 'slurm' : undefined);
      const says = async (args: readonly string[], code: number, expected: RegExp, env = {}) => {
        const seen = await cli([command, ...(what === undefined ? [] : [what]), ...args], { cwd, env });
        assert.match(seen.stderr, expected, `${command} ${args}`);
        assert.equal(seen.code, code, `${command} ${args}: ${seen.stderr}`);
      };
      await says(['--config', 'absent.yaml'], 3, /CONFIG_FILE_UNREADABLE .*absent\.yaml/);
      await says(
        ['--config', 'flaw.yaml'],
        3,
        /CONFIG_KEY_UNKNOWN .*flaw\.yaml:1: grpc\.prot: .* did you mean "port"\?/,
      );
      await says(['--set', 'grpc.prot=1'], 3, /CONFIG_KEY_UNKNOWN .*grpc\.prot/);
      for (const address of [
        'localhost',
        'http://127.0.0.1:8000',
        'https://h:1',
        'a b:1',
        ':x',
        '127.0.0.1:123456',
        '',
      ]) {
        await says(
          ['--address', address],
          2,
          /argument '.*' is invalid\. expected host:port, such as 127\.0\.0\.1:8000/,
        );
      }
      for (const admin of ['127.0.0.1:9090', 'localhost', 'http://', 'ftp://h']) {
        await says(
          ['--admin', admin],
          2,
          /argument '.*' is invalid\. expected a URL such as http:\/\/127\.0\.0\.1:9090/,
        );
      }
      if (overAdmin.includes(command)) {
        await says(
          ['-c', 'nowhere.yaml'],
          7,
          /the admin server at http:\/\/127\.0\.0\.1:2 cannot be reached: .*; name it with --admin/,
        );
        await says(['-c', 'nowhere.yaml', '-a', 'localhost:7'], 7, /at http:\/\/localhost:2 cannot be reached/);
        await says(
          ['-c', 'nowhere.yaml', '--admin', 'http://127.0.0.1:3'],
          7,
          /at http:\/\/127\.0\.0\.1:3 cannot be reached/,
        );
        await says(['-c', 'any.yaml'], 2, /admin\.port is 0, any free port: .*--admin/);
        await says([], 3, /ADMIN_TOKEN_UNSET: set admin\.token/);
      } else {
        await says(
          ['-c', 'nowhere.yaml'],
          7,
          /no daemon can be reached at 127\.0\.0\.1:1 \(connect ECONNREFUSED 127\.0\.0\.1:1\); start one/,
        );
        await says(['-c', 'nowhere.yaml', '-a', '127.0.0.1:3'], 7, /no daemon can be reached at 127\.0\.0\.1:3 /);
        await says(['-c', 'any.yaml'], 2, /grpc\.port is 0, any free port: .*--address/);
        await says([], 2, /PLUGIN_HOST_ADDRESS is "localhost"; expected host:port/, {
          PLUGIN_HOST_ADDRESS: 'localhost',
        });
      }
    }
  });
});
