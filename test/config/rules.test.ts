import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import {
  CONFIG_SCHEMA,
  configReference,
  configWarnings,
  defaultTree,
  effectiveOptions,
  effectiveTree,
  loadConfig,
} from '../../src/config/index.js';
import { load, problemsOf } from './support.js';

const MIB = 1024 * 1024;
const TOKEN = 'a-token-of-some-length';

describe('config rules', () => {
  it('refuses values that contradict each other, naming both places', () => {
    const cases: [string, string][] = [
      ['shutdown: {forceAfter: 10s, grace: 9s}', 'shutdown.forceAfter, shutdown.drainDelay, shutdown.grace'],
      ['refresh: {minInterval: 1h}', 'refresh.minInterval, refresh.idleMaxInterval'],
      ['tasks: {orphanGrace: 30s}', 'tasks.orphanGrace, tasks.visibilityGrace'],
      ['grpc: {defaultDeadline: 30m}', 'grpc.defaultDeadline, grpc.maxDeadline'],
      [
        'grpc: {maxUnfinishedRequestBytes: 64MiB, maxReceiveMessageBytes: 64MiB}',
        'grpc.maxUnfinishedRequestBytes, grpc.maxReceiveMessageBytes',
      ],
      ['grpc: {port: 9090}', 'grpc.port, admin.port'],
      ['tasks: {maxInlineOutputBytes: 64MiB}', 'tasks.maxInlineOutputBytes, grpc.maxSendMessageBytes'],
      ['dataStore: {s3: {accessKeyId: x}}', 'dataStore.s3.accessKeyId, dataStore.s3.secretAccessKey'],
      ['dataStore: {s3: {secretAccessKey: x}}', 'dataStore.s3.accessKeyId, dataStore.s3.secretAccessKey'],
      ['plugins: {a: {source: p, required: true, enabled: false}}', 'plugins.a.required, plugins.a.enabled'],
      [
        'plugins: {a: {source: p, isolation: worker, nodeOptions: [--x]}}',
        'plugins.a.nodeOptions, plugins.a.isolation',
      ],
      [
        'plugins: {a: {source: p, environment: {pass: [X], set: {X: y}}}}',
        'plugins.a.environment.pass, plugins.a.environment.set.X',
      ],
      ['grpc: {tls: {certFile: c}}', 'grpc.tls.certFile, grpc.tls.keyFile'],
      ['admin: {tls: {keyFile: k}}', 'admin.tls.certFile, admin.tls.keyFile'],
      ['grpc: {tls: {clientCaFile: c}}', 'grpc.tls.clientCaFile, grpc.tls.certFile'],
      ['admin: {tls: {certFile: c, keyFile: k, clientNames: [CN=a]}}', 'admin.tls.clientNames, admin.tls.clientCaFile'],
      ['grpc: {plaintext: anywhere, tls: {certFile: c, keyFile: k}}', 'grpc.plaintext, grpc.tls.certFile'],
      ['{cluster: {enabled: true}, grpc: {host: 10.0.0.1, plaintext: anywhere}}', 'cluster.enabled, state.engine'],
      [
        '{cluster: {enabled: true}, state: {engine: postgres}, grpc: {plaintext: anywhere}}',
        'cluster.enabled, grpc.host',
      ],
      [
        '{cluster: {enabled: true}, state: {engine: postgres}, grpc: {host: 10.0.0.1}}',
        'cluster.enabled, grpc.plaintext',
      ],
      [
        '{cluster: {enabled: true}, state: {engine: postgres}, grpc: {host: 10.0.0.1, tls: {certFile: c, keyFile: k}}}',
        'cluster.enabled, grpc.tls.clientCaFile',
      ],
      ['defaultForTaskTypes: {sleep: nobody}', 'defaultForTaskTypes.sleep'],
      ['plugins: {a: {source: p, sandbox: {user: u}}}', 'plugins.a.sandbox.user, sandbox.group'],
      ['{sandbox: {group: g}, plugins: {a: {source: p}}}', 'sandbox.user, sandbox.group'],
      ['plugins: {a: {source: p, sandbox: {network: false}}}', 'plugins.a.sandbox.network, sandbox.permissions'],
      [
        '{sandbox: {permissions: true}, plugins: {a: {source: p, isolation: worker}}}',
        'sandbox.permissions, plugins.a.isolation',
      ],
    ];
    for (const [text, key] of cases) {
      const problems = problemsOf({ 'a.yaml': text });
      assert.deepEqual(
        problems.map((problem) => [problem.code, problem.key]),
        [['CONFIG_CONFLICT', key]],
        text,
      );
      assert.match(problems[0]?.message ?? '', /file a\.yaml:1/);
    }
    load({ 'a.yaml': 'grpc: {maxUnfinishedRequestBytes: 65MiB, maxReceiveMessageBytes: 64MiB}' });
    load({ 'a.yaml': '{sandbox: {user: u}, plugins: {a: {source: p, sandbox: {group: g}}}}' });
    load({ 'a.yaml': '{sandbox: {permissions: true}, plugins: {a: {source: p, isolation: worker, enabled: false}}}' });
    load({
      'a.yaml':
        '{sandbox: {permissions: true}, plugins: {a: {source: p, isolation: worker, sandbox: {permissions: false}}}}',
    });
    load({ 'a.yaml': 'grpc: {port: 0, host: 0.0.0.0}\nadmin: {port: 0}' });
    load({ 'a.yaml': 'grpc: {port: 9090, host: 10.0.0.1}\nadmin: {host: 10.0.0.2}' });
  });

  it('warns of what is allowed and probably not meant', () => {
    const warningsOf = (text: string) => configWarnings(load({ 'a.yaml': text }).config);
    assert.deepEqual(warningsOf('plugins: {a: {source: p}}'), []);
    for (const host of ['127.0.0.1', '127.9.9.9', '"::1"', 'localhost']) {
      assert.deepEqual(warningsOf(`plugins: {a: {source: p}}\ngrpc: {host: ${host}}`), []);
    }
    for (const host of ['0.0.0.0', '"::"', '10.0.0.1', '127.0.0.1.example.org']) {
      const plain = `plugins: {a: {source: p}}\ngrpc: {host: ${host}}`;
      assert.match(warningsOf(plain)[0] ?? '', /only health is answered to other machines; .*grpc\.plaintext/);
      const anywhere = `plugins: {a: {source: p}}\ngrpc: {host: ${host}, plaintext: anywhere}`;
      assert.match(warningsOf(anywhere)[0] ?? '', /with no authentication/);
      const tls = `plugins: {a: {source: p}}\ngrpc: {host: ${host}, tls: {certFile: c, keyFile: k}}`;
      assert.deepEqual(warningsOf(tls), []);
    }
    assert.match(warningsOf('plugins: {a: {source: p}}\nadmin: {plaintext: anywhere}')[0] ?? '', /set admin\.tls/);
    assert.match(warningsOf('plugins: {a: {source: p, enabled: false}}')[0] ?? '', /no plugin is configured/);
  });

  it('reads a secret from its file, trimmed, and not both ways', () => {
    const loaded = load(
      { 'a.yaml': 'admin: {tokenFile: /run/token}', '/run/token': `${TOKEN}\n` },
      { files: ['a.yaml'] },
    );
    assert.equal(loaded.config.admin.token, TOKEN);
    assert.deepEqual(
      problemsOf({ 'a.yaml': `admin: {tokenFile: /run/token, token: ${TOKEN}}` }).map(({ code }) => code),
      ['CONFIG_CONFLICT'],
    );
    assert.equal(problemsOf({ 'a.yaml': 'admin: {tokenFile: /nowhere}' })[0]?.code, 'CONFIG_FILE_UNREADABLE');
    const [short] = problemsOf({ 'a.yaml': 'admin: {tokenFile: /t}', '/t': 'hunter2' }, { files: ['a.yaml'] });
    assert.equal(short?.code, 'CONFIG_VALUE_INVALID');
    assert.doesNotMatch(short?.message ?? '', /hunter2/);
  });

  it('prints what is in force without a secret in it', () => {
    const secret = 'hunter2-hunter2-hunter2';
    const loaded = load(
      {
        'a.yaml': [
          'plugins:',
          '  a:',
          '    source: p',
          `    environment: {set: {TOKEN: ${secret}}}`,
          `    settings: {apiKey: ${secret}, nested: {password: ${secret}, list: [{auth_token: ${secret}}]},`,
          `      url: "https://user:${secret}@host/", credentials: {user: me, other: ${secret}}, plain: shown}`,
          `dataStore: {s3: {accessKeyId: id, secretAccessKey: ${secret}, endpoint: "https://user:${secret}@host/"}}`,
        ].join('\n'),
      },
      { env: { PLUGIN_HOST_ADMIN_TOKEN: secret } },
    );
    const printed = JSON.stringify([effectiveOptions(loaded.effective), effectiveTree(loaded.effective)]);
    assert.doesNotMatch(printed, /hunter2/);
    assert.match(printed, /"plain":"shown"/);
    assert.equal(loaded.config.plugins.a?.environment.set.TOKEN, secret);
    const again = problemsOf({ 'printed.json': JSON.stringify(effectiveTree(loaded.effective)) });
    assert.deepEqual(
      again.map(({ key }) => key),
      [
        'admin.token',
        'plugins.a.settings.apiKey',
        'plugins.a.settings.nested.password',
        'plugins.a.settings.credentials.user',
        'plugins.a.settings.credentials.other',
        'plugins.a.environment.set.TOKEN',
        'dataStore.s3.secretAccessKey',
      ],
      'what is printed with a mask does not pass for the configuration',
    );
    for (const { message } of again) assert.match(message, /^seen the mask/);
  });

  it('does not show a sensitive value that is wrong', () => {
    const secrets = ['short', 'with blanks in it that are long', ['hunter2-hunter2-hunter2']];
    for (const token of secrets) {
      const problems = problemsOf({ 'a.json': JSON.stringify({ admin: { token } }) });
      assert.doesNotMatch(JSON.stringify(problems), /short|blanks|hunter2/);
    }
  });

  it('loads what it printed to the same configuration', () => {
    const first = load({
      'a.yaml':
        'plugins: {a: {source: p, settings: {x: [1, {y: 2}]}, config: {caching: {resyncInterval: 90s}}}}\ngrpc: {port: 7}',
    });
    const second = load({ 'b.json': JSON.stringify(effectiveTree(first.effective)) });
    assert.deepEqual(second.config, first.config);
    assert.deepEqual(load({ 'c.json': JSON.stringify(defaultTree()) }).config, loadConfig({ cwd: '/' }).config);
  });

  it('compiles a plugin entry with only what the operator set', () => {
    const { config } = load({
      'a.yaml': [
        'plugins:',
        '  one: {source: p}',
        '  two:',
        '    source: ./q.mjs',
        '    memoryLimit: 1GiB',
        '    isolation: shared:team',
        '    config: {caching: {resyncInterval: 10s, workers: 3}, writeRateLimiter: {qps: 0.5}, resourceQuotas: {gpu: 4}}',
      ].join('\n'),
    });
    const one = config.plugins.one!;
    const unset = { qps: undefined, burst: undefined };
    const counts = { size: undefined, resyncIntervalMs: undefined, workers: undefined, maxSystemFailures: undefined };
    const none = { resourceQuotas: {}, readRateLimiter: unset, writeRateLimiter: unset, caching: counts };
    assert.deepEqual(one.config, none);
    assert.deepEqual([one.memoryLimitBytes, one.isolation, one.loadTimeoutMs], [512 * MIB, 'process', 30_000]);
    const two = config.plugins.two!;
    assert.deepEqual(two.config, {
      resourceQuotas: { gpu: 4 },
      readRateLimiter: unset,
      writeRateLimiter: { ...unset, qps: 0.5 },
      caching: { ...counts, workers: 3, resyncIntervalMs: 10_000 },
    });
    assert.deepEqual([two.source, two.memoryLimitBytes, two.isolation], ['/cwd/q.mjs', 1024 * MIB, 'shared:team']);
    assert.equal(problemsOf({ 'a.yaml': 'plugins: {a: {source: p, memoryLimit: 100000001B}}' }).length, 1);
    assert.equal(problemsOf({ 'a.yaml': 'plugins: {a: {source: p, isolation: shared}}' }).length, 1);
  });

  it('documents every option', () => {
    const reference = configReference();
    for (const { key } of effectiveOptions(new Map())) assert.ok(reference.includes(`\`${key}\``), key);
    assert.ok(reference.includes('`plugins.<id>.config.readRateLimiter.qps`'));
    const undocumented: string[] = [];
    const visit = (node: { doc?: string; fields?: object; value?: object }, at: string): void => {
      if (!node.doc || node.doc.length < 5) undocumented.push(at);
      for (const [key, child] of Object.entries(node.fields ?? {})) visit(child, `${at}.${key}`);
      if (node.value !== undefined) visit(node.value, `${at}.*`);
    };
    visit(CONFIG_SCHEMA, '');
    assert.deepEqual(undocumented, []);
  });
});
