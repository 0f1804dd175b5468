import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { completeEntry } from '../../src/host/load/entry.js';
import { pickVariables } from '../../src/host/load/environment.js';
import { mergePluginConfig, readPluginConfig } from '../../src/host/load/plugin-config.js';
import { buildRoutes, type Routable } from '../../src/host/load/routing.js';
import { HealthWatch } from '../../src/host/process/health-watch.js';
import { ManualClock } from '../../src/lib/clock.js';
import { DEFAULT_PLUGIN_CONFIG } from '../../src/model/options/plugin.js';
import { toFailure } from '../../src/sandbox/failures.js';
import { Redactor } from '../../src/sandbox/redactor.js';
import { ChildLogger, ChildMetrics } from '../../src/sandbox/telemetry.js';

const plugin = (id: string, taskTypes: Routable['taskTypes'], isDefault = false): Routable => ({
  id,
  defined: true,
  taskTypes,
  isDefault,
});
const every = (name: string) => ({ name, versions: undefined });

test('a task type goes to the plugin of its version, and an unknown one to the default', () => {
  const { routes, errors } = buildRoutes(
    [
      plugin('old', [{ name: 'spark', versions: [0, 1] }]),
      plugin('new', [{ name: 'spark', versions: [2] }, every('ray')]),
      plugin('rest', [], true),
    ],
    {},
  );
  assert.deepEqual(errors, []);
  assert.equal(routes.lookup('spark', 1), 'old');
  assert.equal(routes.lookup('spark', 2), 'new');
  assert.equal(routes.lookup('ray', 99), 'new');
  assert.equal(routes.lookup('anything', 0), 'rest');
  assert.throws(() => routes.lookup('spark', 3), {
    code: 'TASK_TYPE_VERSION_UNKNOWN',
    message: /version 3 of task type spark; served versions are: 0, 1, 2/,
  });
});

test('an unknown task type names those that are served, also when it is named like a method', () => {
  const { routes } = buildRoutes([plugin('a', [every('spark'), every('ray')])], {});
  for (const name of ['toString', '__proto__', 'spar', '']) {
    assert.throws(() => routes.lookup(name, 0), { code: 'TASK_TYPE_UNKNOWN', message: /served are: ray, spark/ });
  }
});

test('overlapping claims are conflicts unless defaultForTaskTypes decides', () => {
  const plugins = [
    plugin('a', [every('x')]),
    plugin('b', [{ name: 'x', versions: [1] }]),
    plugin('c', [], true),
    plugin('d', [], true),
  ];
  const { errors } = buildRoutes(plugins, {});
  assert.deepEqual(
    errors.map(({ code }) => code),
    ['ROUTE_CONFLICT', 'ROUTE_CONFLICT'],
  );
  const toA = buildRoutes(plugins.slice(0, 3), { x: 'a' });
  assert.deepEqual([toA.errors.length, toA.routes.lookup('x', 1), toA.routes.lookup('x', 2)], [0, 'a', 'a']);
  const toB = buildRoutes(plugins.slice(0, 3), { x: 'b' });
  assert.deepEqual([toB.errors.length, toB.routes.lookup('x', 1), toB.routes.lookup('x', 2)], [0, 'b', 'a']);
});

test('defaultForTaskTypes that names nobody, or somebody else, is an error', () => {
  const { errors } = buildRoutes([plugin('a', [every('x')])], { x: 'z', y: 'a' });
  assert.deepEqual(
    errors.map(({ code, message }) => `${code} ${message.split(';')[0]}`),
    [
      'ROUTE_TARGET_UNKNOWN defaultForTaskTypes.x: there is no plugin z (there are: a)',
      'ROUTE_TARGET_UNKNOWN defaultForTaskTypes.y: plugin a does not serve it',
    ],
  );
});

test('a plugin that failed before it told its task types has those that defaultForTaskTypes gives it', () => {
  const failed = { ...plugin('late', []), defined: false };
  const given = { ray: 'late', spark: 'late' };
  const { routes, errors } = buildRoutes([failed, plugin('a', [every('spark'), every('dask')])], given);
  assert.deepEqual(errors, []);
  assert.equal(routes.lookup('ray', 7), 'late');
  assert.equal(routes.lookup('spark', 0), 'late');
  assert.equal(routes.lookup('dask', 0), 'a');
  assert.throws(() => routes.lookup('other', 0), {
    code: 'TASK_TYPE_UNKNOWN',
    message: /failed before they told their task types: late$/,
  });
  const withDefault = buildRoutes([failed, plugin('rest', [], true)], given);
  assert.deepEqual(
    ['ray', 'other'].map((type) => withDefault.routes.lookup(type, 0)),
    ['late', 'rest'],
  );
});

test('without errors every claimed version has exactly one plugin, and it claims it', () => {
  const version = fc.integer({ min: 0, max: 3 });
  const claim = fc.record({
    name: fc.constantFrom('x', 'y'),
    versions: fc.option(fc.uniqueArray(version, { minLength: 1 }), { nil: undefined }),
  });
  const plugins = fc
    .array(fc.uniqueArray(claim, { maxLength: 2, selector: (one) => one.name }), { maxLength: 4 })
    .map((all) => all.map((taskTypes, i) => plugin(`p${i}`, taskTypes)));
  const preferred = fc.dictionary(fc.constantFrom('x', 'y'), fc.constantFrom('p0', 'p1', 'p2'));
  fc.assert(
    fc.property(plugins, preferred, (all, byType) => {
      const { routes, errors } = buildRoutes(all, byType);
      if (errors.length > 0) return;
      for (const name of ['x', 'y']) {
        for (const v of [0, 1, 2, 3]) {
          const claimants = all.filter(({ taskTypes }) =>
            taskTypes.some((type) => type.name === name && (type.versions?.includes(v) ?? true)),
          );
          if (claimants.length === 0) assert.throws(() => routes.lookup(name, v));
          else {
            const chosen = routes.lookup(name, v);
            assert.ok(claimants.some(({ id }) => id === chosen));
            if (claimants.some(({ id }) => id === byType[name])) assert.equal(chosen, byType[name]);
          }
        }
      }
    }),
  );
});

test('limits: the operator wins over the definition, the definition over the defaults, key by key', () => {
  const merged = mergePluginConfig(
    'plugin p',
    {
      readRateLimiter: { qps: 0.5 },
      caching: { resyncInterval: '1.5m', workers: 2 },
      resourceQuotas: { cpu: 1, gpu: 1 },
    },
    readPluginConfig(
      { readRateLimiter: { burst: 7 }, caching: { workers: 3 }, resourceQuotas: { gpu: 9 } },
      'plugin p: config',
    ),
  );
  assert.deepEqual(merged, {
    resourceQuotas: { cpu: 1, gpu: 9 },
    readRateLimiter: { qps: 0.5, burst: 7 },
    writeRateLimiter: DEFAULT_PLUGIN_CONFIG.writeRateLimiter,
    caching: { ...DEFAULT_PLUGIN_CONFIG.caching, resyncIntervalMs: 90_000, workers: 3 },
  });
  assert.deepEqual(mergePluginConfig('p', undefined, undefined), DEFAULT_PLUGIN_CONFIG);
});

test('limits outside their range are refused with key, value and range, and never clamped', () => {
  const wrong: [unknown, RegExp][] = [
    [
      { readRateLimiter: { qps: 0.0001 } },
      /p: config\.readRateLimiter\.qps is 0\.0001; expected a number from 0\.001 to 100000/,
    ],
    [{ readRateLimiter: { qps: Number.NaN } }, /qps is NaN/],
    [{ writeRateLimiter: { burst: 1.5 } }, /burst is 1\.5; expected an integer from 1 to 10000/],
    [{ writeRateLimiter: { burst: '20' } }, /burst is "20"/],
    [{ caching: { size: 500_001 } }, /caching\.size is 500001; .* to 500000/],
    [{ caching: { resyncInterval: '4s' } }, /resyncInterval is "4s"; .*from 5s to 1h/],
    [{ caching: { resyncInterval: '30 s' } }, /resyncInterval is "30 s"/],
    [{ caching: { resyncInterval: -1 } }, /resyncInterval is -1/],
    [{ caching: { maxSystemFailures: 101 } }, /from 0 to 100/],
    [{ resourceQuotas: { gpu: -1 } }, /resourceQuotas\.gpu is -1/],
    [{ resourceQuotas: [] }, /resourceQuotas is an empty list; expected an object/],
    [{ caching: { resyncIntervalMs: 5_000 } }, /no such key/],
    ['fast', /config is "fast"/],
  ];
  for (const [config, message] of wrong) {
    assert.throws(() => readPluginConfig(config, 'p: config'), { code: 'PLUGIN_CONFIG_INVALID', message });
  }
});

test('an entry outside its ranges is refused with the key', () => {
  const wrong: [object, RegExp][] = [
    [{ isolation: 'thread' }, /isolation is "thread"; expected process, worker, or shared:<group>/],
    [{ isolation: 'shared:' }, /isolation/],
    [{ id: 'Up' }, /id is "Up"/],
    [{ memoryLimit: '63MiB' }, /memoryLimit is "63MiB"; expected a size from 64MiB/],
    [{ loadTimeout: '30' }, /loadTimeout is "30"; expected a duration from 100ms to 1h/],
    [{ isolation: 'worker', nodeOptions: ['--x'] }, /nodeOptions/],
  ];
  for (const [parts, message] of wrong) {
    assert.throws(() => completeEntry({ source: './p.mjs', ...parts } as never), {
      code: 'CONFIG_VALUE_INVALID',
      message,
    });
  }
});

test('variables are picked by name and by prefix, and nothing else is', () => {
  const from = { AWS_KEY: '1', AWS_REGION: '2', AWSX: '3', HOME: '/root', EMPTY: '', GONE: undefined };
  assert.deepEqual(
    pickVariables(['constructor', 'toString', '__proto__', 'const*'], from),
    {},
    'what it inherits is none',
  );
  assert.deepEqual(pickVariables(['AWS_*', 'EMPTY', 'GONE', 'NONE'], from), {
    AWS_KEY: '1',
    AWS_REGION: '2',
    EMPTY: '',
  });
});

test('what a process was given is masked wherever it stands, whatever its name, and is never forgotten', () => {
  const redactor = new Redactor();
  redactor.add('abc');
  redactor.addEnvironment({
    API_TOKEN: 'token-value',
    DB_PASSPHRASE: 'phrase-value',
    ANY: 'any-value',
    HOME: '/opt/plugin',
  });
  assert.equal(
    redactor.redact('abc token-value/phrase-value any-value /opt/plugin'),
    'abc [redacted]/[redacted] [redacted] /opt/plugin',
  );
  for (let i = 0; i < 5_000; i++) redactor.add(`secret-number-${i}`);
  assert.equal(redactor.reveals('token-value'), true, 'its own');
  assert.equal(redactor.reveals('secret-number-4999'), true);
  assert.equal(redactor.reveals('secret-number-1 '), false, 'memory is bounded');
});

test('masking comes before cutting, and a secret that begins another one leaves nothing of it', () => {
  const redactor = new Redactor();
  redactor.addEnvironment({ A_TOKEN: 'hush-hush', B_TOKEN: 'hush-hush-and-more', ABSENT_TOKEN: undefined });
  assert.equal(redactor.redact('<hush-hush-and-more> <hush-hush>'), '<[redacted]> <[redacted]>');
  const redact = (text: string) => redactor.redact(text);
  const lines: unknown[] = [];
  const sink = { log: (...line: unknown[]) => void lines.push(line), metric: () => undefined };
  const logger = new ChildLogger(sink, redactor, 100_000);
  // Whatever the bound is, one of these lengths puts it into the middle of the secret.
  for (let before = 0; before < 20_000; before += 8) {
    const text = `${'x'.repeat(before)}hush-hush${'y'.repeat(20_000)}`;
    if (before % 64 === 0) logger.info(text, { text, error: new Error(text) });
    lines.push(toFailure(new Error(text), redact).message);
  }
  assert.ok(lines.length > 2_000);
  for (const line of lines) assert.doesNotMatch(JSON.stringify(line), /hush/);
});

test('a logger sends so many lines a second and counts the rest; odd fields never throw', () => {
  let now = 0;
  const lines: unknown[][] = [];
  const sink = { log: (...line: unknown[]) => void lines.push(line), metric: () => undefined };
  const logger = new ChildLogger(sink, new Redactor(), 2, () => now);
  now = 5_000;
  for (let i = 0; i < 5; i++) logger.info(`line ${i}`);
  now = 6_000;
  logger.flush();
  assert.deepEqual(
    lines.map(([, message]) => message),
    ['line 0', 'line 1', 'log lines were dropped'],
  );
  const cyclic: Record<string, unknown> = { big: 10n, f: () => 1, e: new Error('x') };
  cyclic.self = cyclic;
  Object.defineProperty(cyclic, 'trap', { enumerable: true, get: () => assert.fail('a getter') });
  logger.warn('odd', cyclic);
  assert.deepEqual(lines.at(-1), ['warn', 'odd', { fields: 'unreadable' }]);
});

test('metrics are gathered and sent as one; bad ones are said once and ignored', () => {
  const sent: unknown[][] = [];
  const said: string[] = [];
  const logger = new ChildLogger(
    { log: (_, message) => void said.push(message), metric: () => undefined },
    new Redactor(),
    100,
  );
  const metrics = new ChildMetrics({ log: () => undefined, metric: (...one) => void sent.push(one) }, logger);
  metrics.count('jobs');
  metrics.count('jobs', 2);
  metrics.gauge('depth', 4);
  metrics.gauge('depth', 5);
  metrics.observe('seconds', 0.1);
  metrics.observe('seconds', 0.2);
  for (const bad of ['Bad-Name', 'Bad-Name', '']) metrics.count(bad);
  metrics.count('jobs', -1);
  metrics.gauge('depth', Number.NaN);
  metrics.flush();
  metrics.flush();
  assert.deepEqual(sent, [
    ['count', 'jobs', [3]],
    ['gauge', 'depth', [5]],
    ['observe', 'seconds', [0.1, 0.2]],
  ]);
  assert.equal(said.length, 4);
});

test('a silent process is condemned early only if a call expired, late in any case, and never twice', async () => {
  for (const [expired, after] of [
    [1, 6_000],
    [0, 21_000],
  ] as const) {
    const clock = new ManualClock();
    const verdicts: string[] = [];
    const watch = new HealthWatch({
      clock,
      heartbeatMs: 1_000,
      hangMs: 5_000,
      silentMs: 20_000,
      memoryPollMs: 1_000,
      memoryLimitMb: 64,
      maxAbandonedCalls: 10,
      pid: undefined,
      ping: () => undefined,
      expiredCalls: () => expired,
      clearExpired: () => undefined,
      condemn: (why) => verdicts.push(why),
    });
    await clock.advance(after - 1);
    assert.deepEqual(verdicts, []);
    await clock.advance(60_000);
    assert.equal(verdicts.length, 1);
    assert.equal(clock.pending, 0);
    watch.stop();
  }
});

test('a process that answers its heartbeats is left alone, until too many calls outlive their deadline', async () => {
  const clock = new ManualClock();
  const verdicts: string[] = [];
  const watch: HealthWatch = new HealthWatch({
    clock,
    heartbeatMs: 1_000,
    hangMs: 2_000,
    silentMs: 3_000,
    memoryPollMs: 1_000,
    memoryLimitMb: 64,
    maxAbandonedCalls: 10,
    pid: undefined,
    ping: () => void clock.setTimer(900, () => watch.pong(1, 10)),
    expiredCalls: () => 5,
    clearExpired: () => undefined,
    condemn: (why) => verdicts.push(why),
  });
  await clock.advance(100_000);
  assert.deepEqual(verdicts, []);
  watch.pong(1, 11);
  assert.match(verdicts[0]!, /11 calls go on after their deadline, 10 are allowed/);
});
