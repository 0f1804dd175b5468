import assert from 'node:assert/strict';
import path from 'node:path';
import { describe, it } from 'node:test';
import { parse } from 'yaml';
import { cli, folderWith } from './support.js';

const FILES = {
  'a.yaml': 'grpc: {port: 1001}\nadmin: {token: hunter2-hunter2-hunter2}\n',
  'b.json': '{"grpc": {"maxConnections": 7}}',
  'c.yaml': 'grpc: {port: 1003}\n',
};

describe('plugin-host config', () => {
  it('prints what is in force, masked, as YAML or JSON', async (t) => {
    const cwd = folderWith(t, FILES);
    const args = ['config', '-c', 'a.yaml', '-c', 'b.json', '--set', 'log.redact=x,y', '--admin-port', '0'];
    const yaml = await cli(args, { cwd, env: { PLUGIN_HOST_GRPC_HOST: '10.0.0.1' } });
    assert.equal(yaml.code, 0);
    const tree = parse(yaml.stdout);
    assert.deepEqual(
      [tree.grpc.port, tree.grpc.host, tree.grpc.maxConnections, tree.log.redact, tree.admin.port, tree.admin.token],
      [1001, '10.0.0.1', 7, ['x', 'y'], 0, '********'],
    );
    const json = await cli([...args, '--format', 'json'], { cwd, env: { PLUGIN_HOST_GRPC_HOST: '10.0.0.1' } });
    assert.deepEqual(JSON.parse(json.stdout), tree);
    assert.doesNotMatch(yaml.stdout + json.stdout, /hunter2/);
  });

  it('says where each value comes from', async (t) => {
    const cwd = folderWith(t, FILES);
    const { stdout } = await cli(['config', '-c', 'a.yaml', '--port', '1002', '--origins'], { cwd });
    assert.match(stdout, /^grpc\.port = 1002 {2}# flag --port$/m);
    assert.match(stdout, /^admin\.token = "\*{8}" {2}# file a\.yaml:2$/m);
    assert.match(stdout, /^grpc\.maxConnections = 1000 {2}# default$/m);
    const json = await cli(['config', '-c', 'a.yaml', '--origins', '--format', 'json'], { cwd });
    assert.ok(JSON.parse(json.stdout).some((row: { key: string }) => row.key === 'grpc.port'));
  });

  it('takes files from PLUGIN_HOST_CONFIG unless --config names some, and prints the defaults', async (t) => {
    const cwd = folderWith(t, FILES);
    const env = { PLUGIN_HOST_CONFIG: ['a.yaml', 'b.json'].join(path.delimiter) };
    assert.match((await cli(['config'], { cwd, env })).stdout, /port: 1001[\s\S]*maxConnections: 7/);
    assert.match((await cli(['config', '-c', 'b.json'], { cwd, env })).stdout, /port: 8000[\s\S]*maxConnections: 7/);
    assert.match((await cli(['config', '--default'], { cwd, env })).stdout, /port: 8000/);
  });

  it('takes the files of PLUGIN_HOST_DEFAULTS always, below those that are named', async (t) => {
    const cwd = folderWith(t, FILES);
    const env = { PLUGIN_HOST_DEFAULTS: ['a.yaml', 'b.json'].join(path.delimiter) };
    assert.match((await cli(['config'], { cwd, env })).stdout, /port: 1001[\s\S]*maxConnections: 7/);
    const named = { ...env, PLUGIN_HOST_DEFAULTS: 'a.yaml', PLUGIN_HOST_CONFIG: 'c.yaml' };
    assert.match(
      (await cli(['config', '--origins'], { cwd, env: named })).stdout,
      /^grpc\.port = 1003 {2}# file c\.yaml:1$/m,
    );
    const { stdout } = await cli(['config', '-c', 'c.yaml', '--origins'], { cwd, env });
    assert.match(stdout, /^grpc\.port = 1003 {2}# file c\.yaml:1$/m);
    assert.match(stdout, /^grpc\.maxConnections = 7 {2}# file b\.json/m);
  });

  it('splits --set at the first equals sign outside of quotes', async () => {
    const args = ['--set', 'plugins.a.source=p=q', '--set', 'plugins.a.config.resourceQuotas."x=y"=3'];
    const { stdout } = await cli(['config', ...args, '--format', 'json']);
    const { plugins } = JSON.parse(stdout);
    assert.deepEqual([plugins.a.source, plugins.a.config.resourceQuotas], ['p=q', { 'x=y': 3 }]);
  });

  it('reports all problems at once and answers 3', async (t) => {
    const cwd = folderWith(t, { 'a.yaml': 'grpc: {prot: 1}\n' });
    const { code, stderr, stdout } = await cli(['config', '-c', 'a.yaml', '-c', 'gone.yaml', '--log-level', 'loud'], {
      cwd,
    });
    assert.equal(code, 3);
    assert.equal(stdout, '');
    assert.match(stderr, /3 problems/);
    assert.match(stderr, /file a\.yaml:1: grpc\.prot: there is no such key; did you mean "port"\?/);
    assert.match(stderr, /CONFIG_FILE_UNREADABLE file gone\.yaml: ENOENT/);
    assert.match(stderr, /flag --log-level: log\.level: seen "loud"/);
  });
});
