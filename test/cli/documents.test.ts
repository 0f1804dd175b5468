import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { describe, it } from 'node:test';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { loadConfig } from '../../src/config/index.js';
import { DEFAULT_HOST_LIMITS } from '../../src/host/limits.js';
import { DEFAULT_FIELD_LIMITS } from '../../src/rpc/fields.js';
import { ownFiles } from '../support/files.js';
import { compiled, fromRoot } from '../support/paths.js';
import { runNode, start } from '../support/spawn.js';
import { folderWith } from './support.js';

const MAIN = compiled('src/main.ts');
const README = readFileSync(fromRoot('README.md'), 'utf8');

/** The code block of a document whose first line begins with this comment. */
function block(firstLine: string, document = README): string {
  const found = [...document.matchAll(/```\w+\n([\s\S]*?)```/g)].map(([, text]) => text as string);
  const match = found.find((text) => text.startsWith(firstLine));
  assert.ok(match, `no code block starts with ${firstLine}`);
  return match;
}

describe('README', () => {
  it('shows a plugin of 30 lines that loads and runs a task when pasted, with the config and task shown', async (t) => {
    const plugin = block('// jobs.mjs');
    assert.ok(plugin.trim().split('\n').length <= 30);
    const jobs = new Map<string, unknown>();
    const requests: string[] = [];
    const service = http.createServer(async (request, response) => {
      const id = request.url!.split('/').at(-1)!;
      requests.push(`${request.method} ${request.url}`);
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      if (request.method === 'PUT') {
        const { numbers } = JSON.parse(Buffer.concat(chunks).toString());
        jobs.set(id, { id, state: 'done', result: numbers.reduce((a: number, b: number) => a + b) });
      }
      const job = jobs.get(id);
      response.writeHead(job === undefined ? 404 : 200, { 'content-type': 'application/json' });
      response.end(JSON.stringify(job ?? {}));
    });
    await new Promise<void>((resolve) => service.listen(0, '127.0.0.1', resolve));
    t.after(() => service.close());
    const { port } = service.address() as AddressInfo;
    const config = block('# config.yaml');
    const task = /echo '(\{.*\})' > task\.json/.exec(README)?.[1];
    assert.ok(task !== undefined && config.includes('http://127.0.0.1:8080'));
    const cwd = folderWith(t, {
      'jobs.mjs': plugin,
      'config.yaml': config.replace('127.0.0.1:8080', `127.0.0.1:${port}`),
      'task.json': task,
    });
    const check = await runNode(t, [MAIN, 'check', '--config', 'config.yaml'], { cwd });
    assert.equal(check.code, 0, check.stdout + check.stderr);
    assert.match(check.stdout, /^jobs +SERVING .* job .*5\/s, 20/m);
    const flags = ['--port', '0', '--admin-port', '0', '--set', 'shutdown.drainDelay=0ms'];
    const daemon = start(t, process.execPath, [MAIN, 'serve', '--config', 'config.yaml', ...flags], { cwd });
    const [, address] = await daemon.waitFor(/"event":"daemon\.ready","grpc":"([^"]+)"/);
    const run = await runNode(t, [MAIN, 'run', 'task.json'], { cwd, env: { PLUGIN_HOST_ADDRESS: address } });
    assert.deepEqual([run.code, run.stdout], [0, 'result: 6\n'], run.stderr);
    assert.match(requests[0]!, /^PUT \/jobs\/[a-z0-9-]{10,48}$/);
    daemon.child.kill('SIGTERM');
    assert.equal((await daemon.finished).code, 0);
  });

  it('has only links that lead somewhere, like every document', () => {
    const documents = ownFiles().filter((file) => file.endsWith('.md'));
    assert.ok(documents.length >= 15);
    for (const file of documents) {
      const text = readFileSync(fromRoot(file), 'utf8');
      for (const [, target] of text.matchAll(/\]\((?!https?:)([^)#]+)/g)) {
        assert.ok(existsSync(path.join(path.dirname(fromRoot(file)), target as string)), `${file}: ${target}`);
      }
    }
  });
});

describe('docs/writing-plugins.md', () => {
  const text = readFileSync(fromRoot('docs/writing-plugins.md'), 'utf8');

  it('shows a plugin and a test of it that passes when both are pasted, and a file that loads as the daemon loads it', async (t) => {
    const cwd = folderWith(t, {
      'queue.mjs': block('// queue.mjs', text),
      'queue.test.mjs': block('// queue.test.mjs', text),
    });
    mkdirSync(path.join(cwd, 'node_modules'));
    symlinkSync(fromRoot('.'), path.join(cwd, 'node_modules', 'webapi-plugin-host'), 'dir');
    // Inside a test run Node's runner would report to its parent instead of printing.
    const tested = await runNode(t, ['--test', 'queue.test.mjs'], { cwd, env: { NODE_TEST_CONTEXT: undefined } });
    assert.equal(tested.code, 0, tested.stdout);
    assert.match(tested.stdout, /pass 1\b/);
    const set = ['--set', 'plugins.queue.source=./queue.mjs'];
    const skipped = await runNode(t, [MAIN, 'check', ...set], { cwd });
    assert.match(skipped.stdout, /^queue +SKIPPED [\s\S]*neither settings\.url nor QUEUE_URL is set/m);
    const loaded = await runNode(t, [MAIN, 'check', ...set], { cwd, env: { QUEUE_URL: 'http://127.0.0.1:1' } });
    assert.match(loaded.stdout, /^queue +SERVING +1\.0\.0 +query \(v1, v2\), report +.*2\/s, 10/m);
  });

  it('names every method of the contract', () => {
    const source = readFileSync(fromRoot('src/plugin-api/plugin.ts'), 'utf8');
    const body = /export interface AsyncPlugin[\s\S]*?\n}\n/.exec(source)?.[0] ?? '';
    const methods = [...body.matchAll(/^ {2}(\w+)\??[(:]/gm)].map(([, name]) => name as string);
    assert.ok(methods.length >= 9 && methods.includes('create'));
    for (const name of methods) assert.ok(text.includes(name), name);
  });
});

describe('docs/operations.md', () => {
  const text = readFileSync(fromRoot('docs/operations.md'), 'utf8');

  it('has the table of exit codes that the program has', () => {
    const rows = [...text.matchAll(/^\| (\d+) +\| (.+?) +\|$/gm)].map(([, code, meaning]) => [code, meaning]);
    assert.deepEqual(rows, Object.entries(EXIT_CODES));
  });

  it('names the defaults that are in force', () => {
    const { shutdown, grpc, admin } = loadConfig({ cwd: '/' }).config;
    assert.ok(text.includes(`\`${grpc.host}:${grpc.port}\``) && text.includes(`\`${admin.host}:${admin.port}\``));
    for (const [key, ms] of [
      ['drainDelay', shutdown.drainDelayMs],
      ['grace', shutdown.graceMs],
      ['forceAfter', shutdown.forceAfterMs],
    ] as const) {
      assert.match(text, new RegExp(`shutdown\\.${key}\`[ (,]+${ms / 1000} s\\)`), key);
    }
    for (const document of [text, README]) {
      const [, seconds] = /terminationGracePeriodSeconds: (\d+)/.exec(document)!;
      assert.ok(Number(seconds) * 1000 > shutdown.forceAfterMs);
    }
  });

  it('alerts on metrics that exist', async () => {
    const { METRICS } = await import('../../src/telemetry/index.js');
    const named = [...text.matchAll(/pluginhost_\w+/g)].map(([name]) => name);
    assert.ok(named.length >= 6);
    assert.deepEqual(
      named.filter((name) => !(name in METRICS)),
      [],
    );
  });
});

describe('docs/native-api.md', () => {
  const text = readFileSync(fromRoot('docs/native-api.md'), 'utf8');

  it('has the bounds on fields that are in force', () => {
    const shown = new Map(
      [...text.matchAll(/^\| (.+?) +\| ([\d,]+)( KiB)? +\|$/gm)].map(([, field, number, kib]) => [
        field,
        Number(number!.replaceAll(',', '')) * (kib === undefined ? 1 : 1024),
      ]),
    );
    const limits = DEFAULT_FIELD_LIMITS;
    assert.deepEqual(Object.fromEntries(shown), {
      '`generated_name`, task type, plugin id': limits.nameBytes,
      'project, domain, namespace': limits.scopeBytes,
      'other ids of the execution': limits.nameBytes,
      'the name of a declared output': limits.nameBytes,
      '`template.custom`': limits.customBytes,
      '`metadata` as a whole': limits.metadataBytes,
      '`output_prefix`, `input_prefix`': limits.uriBytes,
      '`handle`': limits.handleBytes,
      '`reason` of Delete': limits.reasonBytes,
      '`connection` as a whole': limits.connectionBytes,
    });
    assert.ok(text.includes(`declare ${limits.outputs.toLocaleString('en-US')} outputs`));
    assert.ok(
      text.includes(`${DEFAULT_FIELD_LIMITS.watchEntries.toLocaleString('en-US')} plugins and as many handles`),
    );
  });
});

describe('docs/plugin-processes.md', () => {
  const text = readFileSync(fromRoot('docs/plugin-processes.md'), 'utf8');

  it('has the supervisor’s figures that are in force', () => {
    const seconds = (ms: number) => String(ms / 1_000);
    const { restartInitialMs, restartMaxMs, crashWindowMs, quarantineMs, maxCrashes } = DEFAULT_HOST_LIMITS;
    for (const said of [
      `A process that has not answered one for ${seconds(DEFAULT_HOST_LIMITS.hangMs)} s`,
      `one that is silent for ${seconds(DEFAULT_HOST_LIMITS.silentMs)} s`,
      `above ${DEFAULT_HOST_LIMITS.maxAbandonedCalls.toLocaleString('en-US')} its process`,
      `${DEFAULT_HOST_LIMITS.logLinesPerSecond} a second`,
      `back-off (${seconds(restartInitialMs)} s to ${seconds(restartMaxMs)} s)`,
      `after ${maxCrashes} crashes in ${crashWindowMs / 60_000} minutes`,
      `quarantined for ${quarantineMs / 60_000} minutes`,
    ]) {
      assert.ok(text.replaceAll(/\s+/g, ' ').includes(said), said);
    }
  });
});
