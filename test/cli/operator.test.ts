import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import type { PluginReport } from '../../src/tasks/types.js';
import { makeSource, serveAdmin, TOKEN } from '../admin/support.js';
import { startServer } from '../rpc/support.js';
import { cli } from './support.js';

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
    await server.stop();
    const gone = await pause('slurm', TOKEN);
    assert.equal(gone.code, 7);
    assert.match(gone.stderr, /cannot be reached: .*ECONNREFUSED/);
    for (const nonsense of ['nonsense', '127.0.0.1:9090', 'http://', 'ftp://host']) {
      const { code, stderr } = await cli(['pause', 'slurm', '--admin', nonsense]);
      assert.equal(code, 2, nonsense);
      assert.match(stderr, /expected a URL such as http/);
    }
  });
});
