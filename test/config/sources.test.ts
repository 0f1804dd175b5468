import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { CONFIG_SCHEMA } from '../../src/config/index.js';
import { splitKey, variables } from '../../src/config/sources.js';
import { nearest } from '../../src/lib/nearest.js';
import { formatDuration, formatSize, parseDuration, parseSize } from '../../src/model/options/units.js';
import { load, problemsOf } from './support.js';

const flag = (key: string, text: string) => ({ flags: [{ flag: '--set', key, text }] });
const CONFIG = { 'a.json': '{"plugins": {"a": {"source": "p"}}}' };

describe('config sources', () => {
  it('reads variables and flags by the declared type', () => {
    const { config } = load(CONFIG, {
      env: {
        PLUGIN_HOST_GRPC_REFLECTION: 'false',
        PLUGIN_HOST_GRPC_KEEPALIVE_TIME: '45s',
        PLUGIN_HOST_SHUTDOWN_GRACE: '1500',
        PLUGIN_HOST_TASKS_ACCEPT_SHARE: '0.25',
        PLUGIN_HOST_SECRETS_ENV_PREFIXES: 'A_, B_',
        PLUGIN_HOST_LOG_REDACT: '["x","y"]',
        PLUGIN_HOST_DATA_STORE_LOCAL_ROOTS: '',
        PLUGIN_HOST_DEFAULT_FOR_TASK_TYPES: '{"sleep": "a"}',
      },
      flags: [
        { flag: '--set', key: 'plugins.a.settings.port', text: '9000' },
        { flag: '--set', key: 'plugins.a.settings.name', text: 'plain = text' },
        { flag: '--set', key: 'plugins.a.settings.quoted', text: '"9000"' },
        { flag: '--set', key: 'plugins.a.config.resourceQuotas."team.a"', text: '5' },
        { flag: '--set', key: 'plugins.a.config.readRateLimiter', text: '{"qps": 0.5}' },
        { flag: '--set', key: 'plugins.b.source', text: 'other' },
      ],
    });
    assert.equal(config.grpc.reflection, false);
    assert.equal(config.grpc.keepalive.timeMs, 45_000);
    assert.equal(config.shutdown.graceMs, 1_500);
    assert.equal(config.tasks.acceptShare, 0.25);
    assert.deepEqual(config.secrets.envPrefixes, ['A_', 'B_']);
    assert.deepEqual(config.log.redact, ['x', 'y']);
    assert.deepEqual(config.dataStore.localRoots, []);
    assert.deepEqual(config.defaultForTaskTypes, { sleep: 'a' });
    assert.deepEqual(config.plugins.a?.settings, { port: 9000, name: 'plain = text', quoted: '9000' });
    assert.deepEqual(config.plugins.a?.config.resourceQuotas, { 'team.a': 5 });
    assert.equal(config.plugins.a?.config.readRateLimiter.qps, 0.5);
    assert.equal(config.plugins.b?.source, 'other');
  });

  it('takes no near misses of a type in variables and flags', () => {
    for (const [name, text] of [
      ['GRPC_REFLECTION', 'yes'],
      ['GRPC_REFLECTION', 'TRUE'],
      ['GRPC_REFLECTION', ''],
      ['GRPC_PORT', '8000.5'],
      ['GRPC_PORT', '0x1F'],
      ['GRPC_PORT', ' 80'],
      ['GRPC_PORT', ''],
      ['GRPC_HOST', ''],
      ['SHUTDOWN_GRACE', '5 seconds'],
      ['LOG_REDACT', '["x"'],
      ['DEFAULT_FOR_TASK_TYPES', 'sleep=a'],
    ] as const) {
      const [problem] = problemsOf({}, { env: { [`PLUGIN_HOST_${name}`]: text } });
      assert.equal(problem?.code, 'CONFIG_VALUE_INVALID', `${name}=${text}`);
      assert.equal(problem?.origin, `environment variable PLUGIN_HOST_${name}`);
    }
  });

  it('refuses unknown variables of its prefix, but not what Kubernetes sets for a Service of its name', () => {
    const [problem] = problemsOf({}, { env: { PLUGIN_HOST_GRPC_PROT: '1' } });
    assert.equal(problem?.code, 'CONFIG_KEY_UNKNOWN');
    assert.match(problem?.message ?? '', /did you mean PLUGIN_HOST_GRPC_PORT\?/);
    const { config } = load(
      {},
      {
        env: {
          PLUGIN_HOST_SERVICE_HOST: '10.0.0.1',
          PLUGIN_HOST_SERVICE_PORT: '8000',
          PLUGIN_HOST_SERVICE_PORT_GRPC: '8000',
          PLUGIN_HOST_PORT: 'tcp://10.0.0.1:8000',
          PLUGIN_HOST_PORT_8000_TCP: 'tcp://10.0.0.1:8000',
          PLUGIN_HOST_PORT_8000_TCP_ADDR: '10.0.0.1',
          PLUGIN_HOST_GRPC_PORT: 'tcp://10.0.0.1:8000',
          PLUGIN_HOST_CONFIG: 'x.yaml',
        },
      },
    );
    assert.equal(config.grpc.port, 8000);
  });

  it('gives every option outside of maps a variable of its own', () => {
    const known = variables(CONFIG_SCHEMA);
    const paths = [...known.values()].map(({ path }) => path.join('.'));
    assert.equal(new Set(paths).size, paths.length);
    let options = 0;
    const count = (node: typeof CONFIG_SCHEMA | { node: string; fields?: object }): void => {
      for (const child of Object.values(node.fields ?? {})) {
        if (child.node === 'section') count(child);
        else options++;
      }
    };
    count(CONFIG_SCHEMA);
    assert.equal(known.size, options, 'two options share a variable');
    assert.equal(known.get('PLUGIN_HOST_DATA_STORE_S3_ACCESS_KEY_ID')?.path.join('.'), 'dataStore.s3.accessKeyId');
  });

  it('refuses flags whose key is no key, or goes through a single value', () => {
    for (const key of [
      '',
      '.',
      'grpc.',
      '.grpc',
      'grpc..port',
      'grpc."port',
      'nope',
      'grpc.nope',
      'grpc.port.deeper',
    ]) {
      const [problem] = problemsOf({}, flag(key, '1'));
      assert.equal(problem?.code, 'CONFIG_KEY_UNKNOWN', key);
      assert.equal(problem?.origin, 'flag --set');
    }
    assert.equal(problemsOf({}, flag('plugins.Bad!.source', 'x'))[0]?.code, 'CONFIG_KEY_UNKNOWN');
    assert.equal(problemsOf({}, flag('plugins.a', 'x'))[0]?.code, 'CONFIG_VALUE_INVALID');
    assert.equal(problemsOf({}, flag('plugins.a.required', 'true'))[0]?.key, 'plugins.a.source');
  });

  it('splits keys at dots, not inside quotes', () => {
    assert.deepEqual(splitKey('a."b.c"."d\\"e".f'), ['a', 'b.c', 'd"e', 'f']);
    assert.deepEqual(splitKey('a'), ['a']);
    assert.equal(splitKey('a.'), undefined);
  });

  it('refuses files that are missing, of another kind, malformed, repeated in keys, or too clever', () => {
    const cases: [string, string | undefined, RegExp][] = [
      ['a.json', undefined, /ENOENT/],
      ['a.toml', 'x = 1', /extension "\.toml"/],
      ['a.json', '{"grpc": {', /JSON/],
      ['a.json', '{"grpc": {}, "grpc": {}}', /unique/],
      ['a.json', '{/* no */}', /JSON/],
      ['a.yaml', 'grpc: [', /./],
      ['a.yaml', 'grpc: {}\ngrpc: {}', /unique/],
      ['a.yaml', 'grpc: {}\n---\nadmin: {}', /2 YAML documents/],
      ['a.yaml', 'grpc: !!js/function "x"', /tag/],
      ['a.yaml', 'grpc: *nowhere', /alias/i],
    ];
    for (const [name, text, message] of cases) {
      const files = text === undefined ? {} : { [name]: text };
      const [problem] = problemsOf(files, { files: [name] });
      assert.equal(problem?.code, 'CONFIG_FILE_UNREADABLE', String(text));
      assert.match(problem?.message ?? '', message);
      assert.equal(problem?.origin, `file ${name}`);
    }
    const bomb = ['a: &a [x,x,x,x,x,x,x,x,x,x]'];
    for (let i = 1; i < 9; i++)
      bomb.push(`${'abcdefghij'[i]}: &${'abcdefghij'[i]} [${Array(10).fill(`*${'abcdefghij'[i - 1]}`)}]`);
    assert.equal(problemsOf({ 'a.yaml': bomb.join('\n') })[0]?.code, 'CONFIG_FILE_UNREADABLE');
  });

  it('reads a file behind a byte order mark', () => {
    assert.equal(load({ 'a.json': '\uFEFF{"grpc": {"port": 7}}' }).config.grpc.port, 7);
    assert.equal(load({ 'a.yaml': '\uFEFFgrpc: {port: 7}' }).config.grpc.port, 7);
  });

  it('does not quote the content of a malformed file, which may hold a secret', () => {
    for (const [name, text] of [
      ['a.json', '{"admin": {"token": hunter2secret}}'],
      ['a.json', '{"admin": {"token": "hunter2secret}}'],
      ['a.yaml', 'admin: {token: hunter2secret'],
      ['a.yaml', 'admin:\n  token: "hunter2secret'],
      ['a.yaml', 'admin: !!hunter2 {token: hunter2secret}'],
    ] as const) {
      assert.doesNotMatch(JSON.stringify(problemsOf({ [name]: text })), /hunter2secret/);
    }
  });

  it('takes exactly the durations and sizes it can print', () => {
    assert.equal(parseDuration('1h30m'), 5_400_000);
    assert.equal(parseDuration('1.5s'), 1_500);
    assert.equal(parseSize('1.5KiB'), 1536);
    for (const text of ['', '5', 's', '-5s', '5 s', '5S', '1e3ms', '5sm', 'Infinityms', '５s']) {
      assert.equal(parseDuration(text), undefined, text);
    }
    for (const text of ['', '5', '5K', '5kb', '-5MiB', '0.3B', '1.0001KiB', '1e3B']) {
      assert.equal(parseSize(text), undefined, text);
    }
    fc.assert(
      fc.property(fc.nat({ max: 2 ** 40 }), (n) => {
        assert.equal(parseDuration(formatDuration(n)), n);
        assert.equal(parseSize(formatSize(n)), n);
      }),
    );
  });

  it('suggests only what is near', () => {
    assert.equal(nearest('prot', ['host', 'port', 'reflection']), 'port');
    assert.equal(nearest('zzz', ['host', 'port']), undefined);
    assert.equal(nearest('maxConections', ['maxConnections', 'maxTasks']), 'maxConnections');
  });
});
