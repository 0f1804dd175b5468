import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { effectiveOptions, loadConfig } from '../../src/config/index.js';
import { load, problemsOf } from './support.js';

const originOf = (loaded: ReturnType<typeof load>, key: string) =>
  effectiveOptions(loaded.effective).find((option) => option.key === key)?.origin;

describe('config layers', () => {
  it('has a default for everything but plugins, frozen at every depth', () => {
    const { config } = loadConfig({ cwd: '/' });
    assert.equal(config.grpc.port, 8000);
    assert.equal(config.grpc.maxReceiveMessageBytes, 64 * 1024 * 1024);
    assert.equal(config.shutdown.drainDelayMs, 5_000);
    assert.deepEqual(config.plugins, {});
    const visit = (value: unknown): void => {
      if (typeof value !== 'object' || value === null) return;
      assert.ok(Object.isFrozen(value));
      for (const part of Object.values(value)) visit(part);
    };
    visit(config);
    assert.throws(() => {
      (config.grpc as { port: number }).port = 1;
    }, TypeError);
  });

  it('lets flags win over the environment, that over later files, those over earlier files, and says so', () => {
    const loaded = load(
      {
        'a.yaml': 'grpc:\n  port: 1001\n  host: 10.0.0.1\n  maxConnections: 5\nadmin:\n  port: 2001\n',
        'b.json': '{"grpc": {"port": 1002, "maxConnections": 6}}',
      },
      {
        env: { PLUGIN_HOST_GRPC_PORT: '1003', PLUGIN_HOST_GRPC_MAX_CONCURRENT_STREAMS: '7', OTHER: 'x' },
        flags: [{ flag: '--port', key: 'grpc.port', text: '1004' }],
      },
    );
    const { grpc, admin } = loaded.config;
    assert.deepEqual(
      [grpc.port, grpc.host, grpc.maxConnections, grpc.maxConcurrentStreams, admin.port],
      [1004, '10.0.0.1', 6, 7, 2001],
    );
    assert.equal(originOf(loaded, 'grpc.port'), 'flag --port');
    assert.equal(originOf(loaded, 'grpc.host'), 'file a.yaml:3');
    assert.equal(originOf(loaded, 'grpc.maxConnections'), 'file b.json:1');
    assert.equal(
      originOf(loaded, 'grpc.maxConcurrentStreams'),
      'environment variable PLUGIN_HOST_GRPC_MAX_CONCURRENT_STREAMS',
    );
    assert.equal(originOf(loaded, 'grpc.reflection'), 'default');
  });

  it('merges maps by key, replaces lists, and gives back an option that a later layer sets to null', () => {
    const { config } = load({
      'a.yaml':
        'plugins:\n  a: {source: ./a.mjs, settings: {url: x, deep: {one: 1, two: 2}}, config: {readRateLimiter: {qps: 2}}}\n' +
        'grpc: {maxUnfinishedRequestBytes: 1GiB}\nsecrets: {envPrefixes: [A_, B_]}\n',
      'b.yaml':
        'plugins:\n  b: {source: pkg}\n  a: {settings: {deep: {two: [3], three: {}}}, config: {readRateLimiter: {burst: 9}}}\n' +
        'grpc: {maxUnfinishedRequestBytes: null}\nsecrets: {envPrefixes: [C_]}\n',
    });
    assert.deepEqual(Object.keys(config.plugins), ['a', 'b']);
    assert.deepEqual(config.plugins.a?.settings, { url: 'x', deep: { one: 1, two: [3], three: {} } });
    assert.deepEqual(config.plugins.a?.config.readRateLimiter, { qps: 2, burst: 9 });
    assert.equal(config.grpc.maxUnfinishedRequestBytes, undefined);
    assert.deepEqual(config.secrets.envPrefixes, ['C_']);
  });

  it('lets a scalar in settings replace an object of an earlier layer, and the other way round', () => {
    const plugin = (settings: string) => `{"plugins": {"a": {"source": "p", "settings": ${settings}}}}`;
    const settingsOf = (first: string, second: string) =>
      load({ 'a.json': plugin(first), 'b.json': plugin(second) }).config.plugins.a?.settings;
    assert.deepEqual(settingsOf('{"x": {"y": 1, "z": 2}}', '{"x": 5}'), { x: 5 });
    assert.deepEqual(settingsOf('{"x": 5}', '{"x": {"y": 1}}'), { x: { y: 1 } });
    assert.deepEqual(settingsOf('{"x": {"y": 1}}', '{"x": {}}'), { x: {} });
  });

  it('refuses a whole number in settings that has more digits than a number keeps, and takes any other', () => {
    const plugin = (value: string) => ({
      'a.json': `{"plugins": {"a": {"source": "p", "settings": {"x": [${value}]}}}}`,
    });
    for (const value of ['12345678901234567890', '-9007199254740993', '1234567890123456789e3']) {
      const [problem] = problemsOf(plugin(value));
      assert.equal(problem?.key, 'plugins.a.settings.x');
      assert.match(JSON.stringify(problem), /with more digits than a number keeps/, value);
    }
    for (const value of [
      '9007199254740991',
      '1e18',
      '1e30',
      '-5e20',
      '0.12345678901234567',
      '1.7976931348623157e308',
    ]) {
      assert.deepEqual(load(plugin(value)).config.plugins.a?.settings, { x: [Number(value)] });
    }
  });

  it('takes plugins as a list, each with its id', () => {
    const { config } = load({ 'a.yaml': 'plugins:\n- {id: one, source: p}\n- {id: two, source: q, required: true}\n' });
    assert.equal(config.plugins.one?.source, 'p');
    assert.equal(config.plugins.two?.required, true);
    assert.deepEqual(
      problemsOf({
        'a.yaml':
          'plugins:\n- {id: one, source: p}\n- {id: one, source: q}\n- {source: r}\n- 5\n- {id: two, sauce: q}\n',
      }).map(({ code, origin, key }) => [code, origin, key]),
      [
        ['CONFIG_CONFLICT', 'file a.yaml:3', 'plugins.1'],
        ['CONFIG_VALUE_INVALID', 'file a.yaml:4', 'plugins.2.id'],
        ['CONFIG_VALUE_INVALID', 'file a.yaml:5', 'plugins.3'],
        ['CONFIG_KEY_UNKNOWN', 'file a.yaml:6', 'plugins.two.sauce'],
      ],
    );
  });

  it('takes relative paths from the file they are written in, and from the working directory elsewhere', () => {
    const { config } = load(
      {
        'conf/a.yaml':
          'plugins: {a: {source: ./p.mjs}, b: {source: some-package}, c: {source: ../q}, d: {source: /abs}}\n' +
          'dataStore: {localRoots: [data, /srv]}\n',
      },
      { flags: [{ flag: '--set', key: 'secrets.dir', text: 'sec' }] },
    );
    assert.deepEqual(
      Object.values(config.plugins).map((plugin) => plugin.source),
      ['/cwd/conf/p.mjs', 'some-package', '/cwd/q', '/abs'],
    );
    assert.deepEqual(config.dataStore.localRoots, ['/cwd/conf/data', '/srv']);
    assert.equal(config.secrets.dir, '/cwd/sec');
  });

  it('takes an empty file for no settings', () => {
    assert.equal(load({ 'a.yaml': '', 'b.yaml': '# nothing\n' }).config.grpc.port, 8000);
  });
});
