import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { describe, it } from 'node:test';
import { EXIT_CODES } from '../../src/cli/exit-codes.js';
import { loadConfig } from '../../src/config/index.js';
import { DEFAULT_HOST_LIMITS } from '../../src/host/limits.js';
import { DEFAULT_FIELD_LIMITS } from '../support/defaults.js';
import { ownFiles } from '../support/files.js';
import { codeBlock } from '../support/markdown.js';
import { compiled, fromRoot } from '../support/paths.js';
import { runNode } from '../support/spawn.js';
import { folderWith } from './support.js';

const MAIN = compiled('src/main.ts');
const README = readFileSync(fromRoot('README.md'), 'utf8');

describe('every document', () => {
  it('has only links that lead somewhere', () => {
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
      'queue.mjs': codeBlock(text, '// queue.mjs'),
      'queue.test.mjs': codeBlock(text, '// queue.test.mjs'),
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
