import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { defaultTree } from '../../src/config/index.js';
import { completeEntry } from '../../src/host/load/entry.js';
import { readPluginConfig } from '../../src/host/load/plugin-config.js';
import { defaultsOf } from '../../src/model/options/defaults.js';
import type { AnyLeaf } from '../../src/model/options/leaf.js';
import { DEFAULT_PLUGIN_CONFIG, layered, PLUGIN_CONFIG_SCHEMA } from '../../src/model/options/plugin.js';
import { CONFIG_SCHEMA } from '../../src/model/options/schema.js';
import { mapOf, type Node, section, text, withDefault } from '../../src/model/options/spec.js';
import { showValue } from '../../src/model/options/values.js';
import type { PluginConfigInput } from '../../src/plugin-api/config.js';
import { load } from '../config/support.js';

type Outcome = { readonly value: unknown } | 'refused';

function attempt(make: () => unknown): Outcome {
  try {
    return { value: make() };
  } catch {
    return 'refused';
  }
}

function attemptText(make: () => unknown): string {
  try {
    return `took ${JSON.stringify(make())}`;
  } catch (error) {
    return (error as Error).message;
  }
}

/** What the options of a sandbox need beside them. */
const ALL_PLUGINS = { permissions: true, user: 'u', group: 'g' };

/** The option of one plugin as the configuration takes it. */
const asOperator = (entry: object) =>
  attempt(() => {
    const sandbox = 'sandbox' in entry ? ALL_PLUGINS : {};
    return load({ 'a.json': JSON.stringify({ sandbox, plugins: { p: { source: 'p', ...entry } } }) }).config.plugins.p;
  });

const VALUES: readonly unknown[] = [
  ...['1m30s', '90s', '1.5m', '0.05h', '30 s', '30', '4999ms', '5s', '1h', '1h1ms', '1d', '-1s', '', 'soon', 's'],
  ...['64MiB', '65.5MiB', '64mib', '63MiB', '1GiB', '1MB', '512 MiB', '2048GiB'],
  ...[
    'process',
    'worker',
    'shared:Team',
    'shared:team_1',
    'shared:',
    'shared:a b',
    `shared:${'x'.repeat(41)}`,
    'thread',
  ],
  ...[0, 1, 1.5, 0.001, 0.0009, 5, 100, 101, 5_000, 10_000, 10_001, 500_000, 500_001, 100_000, 1e9, 1e9 + 1, 2 ** 53],
  ...[67_108_864, 67_108_865, true, false, [], ['a'], ['a', 'a'], ['--x'], {}, { a: 1 }],
];

/** Every leaf of a plugin's entry, by its path; a map with a name for its key. */
function leaves(node: Node, at: readonly string[] = []): { path: readonly string[]; leaf: AnyLeaf }[] {
  if (node.node === 'leaf') return [{ path: at, leaf: node }];
  if (node.node === 'map') return leaves(node.value, [...at, 'NAME']);
  if (node.node === 'free') return [];
  return Object.entries(node.fields).flatMap(([key, child]) => leaves(child, [...at, key]));
}

const nested = (path: readonly string[], value: unknown): object =>
  path.reduceRight<unknown>((inner, key) => ({ [key]: inner }), value) as object;

/** But for paths: the operator's count from the file they are written in, and code writes none. */
const ENTRY_LEAVES = leaves(CONFIG_SCHEMA.fields.plugins.value).filter(({ leaf }) => leaf.path === false);

describe('options', () => {
  it('takes from a plugin and from code just what it takes from the operator, and reads it alike', () => {
    let taken = 0;
    for (const { path } of ENTRY_LEAVES) {
      for (const value of VALUES) {
        const written = nested(path, value);
        const operator = asOperator(written);
        const entry = attempt(() => completeEntry({ source: 'p', ...written }));
        const named = entry === 'refused' ? entry : { value: { ...(entry.value as object), id: undefined } };
        const shown = `${path.join('.')}: ${JSON.stringify(value)}`;
        if (operator === 'refused') assert.equal(named, 'refused', shown);
        else {
          taken++;
          assert.deepEqual(named, { value: { ...(operator.value as object), id: undefined } }, shown);
        }
        if (path[0] !== 'config') continue;
        const definition = attempt(() =>
          readPluginConfig((written as { config: unknown }).config, 'definition.config'),
        );
        const same = operator === 'refused' ? operator : { value: (operator.value as { config: unknown }).config };
        assert.deepEqual(definition, same, shown);
      }
    }
    assert.ok(taken > 100, `${taken} values were taken`);
  });

  it('takes the same keys of a map from both, and as many, but none that an object holds already', () => {
    const namespaces = (count: number) =>
      Object.fromEntries(Array.from({ length: count }, (_, i) => [`quota-${i}`, i]));
    const cases: [object, boolean][] = [
      [namespaces(10_000), true],
      [namespaces(10_001), false],
      [{ 'team.a/b c': 1, constructor: 2 }, true],
      [JSON.parse('{"__proto__": 1}'), false],
      [{ 'a\u0000b': 1 }, false],
      [{ '': 1 }, false],
      [{ ['x'.repeat(201)]: 1 }, false],
    ];
    for (const [resourceQuotas, taken] of cases) {
      const shown = JSON.stringify(resourceQuotas).slice(0, 60);
      assert.equal(asOperator({ config: { resourceQuotas } }) !== 'refused', taken, shown);
      assert.equal(attempt(() => readPluginConfig({ resourceQuotas }, 'c')) !== 'refused', taken, shown);
    }
  });

  it('never shows a sensitive value, nor takes a key that does not exist', () => {
    const secret = `hush\u0000`;
    assert.throws(() => completeEntry({ source: 'p', environment: { set: { TOKEN: secret } } }), {
      message: 'plugin p: environment.set.TOKEN is a hidden string; expected a text of at most 32768 characters',
    });
    assert.throws(() => completeEntry({ source: 'p', memoryLimitMb: 64 } as never), {
      message: /^plugin p: memoryLimitMb: no such key; known are source, enabled, required/,
    });
  });

  it('tells all that is wrong at once, ten at most, and takes no key that would change an object', () => {
    const wrong = { caching: { size: 0, sise: 1, workers: '1' }, readRateLimiter: [], resourceQuotas: { a: -1 } };
    const told = (config: unknown) => attemptText(() => readPluginConfig(config, 'c'));
    for (const part of [
      'c.caching.size is 0; expected an integer from 1 to 500000',
      'c.caching.sise: no such key; known are size, resyncInterval, workers, maxSystemFailures',
      'c.caching.workers is "1"',
      'c.readRateLimiter is an empty list; expected an object',
      'c.resourceQuotas.a is -1',
    ]) {
      assert.ok(told(wrong).includes(part), `${told(wrong)} lacks ${part}`);
    }
    const many = { resourceQuotas: Object.fromEntries(Array.from({ length: 500 }, (_, i) => [`q${i}`, -1])) };
    assert.match(told(many), /resourceQuotas\.q9 is -1.*; and 490 more$/);
    assert.match(told(JSON.parse('{"caching": {"__proto__": {"size": 1}}}')), /^c\.caching\.__proto__: no such key/);
    assert.match(told(JSON.parse('{"__proto__": {}}')), /^c\.__proto__: no such key/);
    assert.equal(told(null), 'c is null; expected an object');
    assert.equal(told({ caching: null }), 'c.caching is null; expected an object');
  });

  it('counts a key that is undefined as left out, and null as a value', () => {
    assert.deepEqual(
      completeEntry({ source: 'p', required: undefined, config: undefined }),
      completeEntry({ source: 'p' }),
    );
    assert.throws(() => readPluginConfig({ caching: { size: null } }, 'c'), {
      code: 'PLUGIN_CONFIG_INVALID',
      message: 'c.caching.size is null; expected an integer from 1 to 500000',
    });
  });

  it('has one default a key: in the file, in the compiled form, and under a plugin that says nothing', () => {
    const file = load({ 'a.json': JSON.stringify(defaultTree()) }).config;
    assert.deepEqual(defaultsOf(CONFIG_SCHEMA), file);
    assert.deepEqual(layered([]), DEFAULT_PLUGIN_CONFIG);
    assert.deepEqual(layered([readPluginConfig({}, 'c')]), DEFAULT_PLUGIN_CONFIG);
    for (const { path, leaf } of leaves(PLUGIN_CONFIG_SCHEMA)) {
      if (!path.includes('NAME')) assert.notEqual(leaf.written, undefined, `${path.join('.')} has no default`);
    }
    const broken = section('', { needed: text('') });
    assert.throws(() => defaultsOf(broken), /^TypeError: defaults\.needed is required/);
    assert.throws(() => withDefault(text('', 'an x', /^x$/), 'y'), /the default "y" is not an x/);
    assert.equal(mapOf('', { name: 'k', pattern: /^k$/, expected: 'a k' }, text('')).maxKeys, 10_000);
  });

  it('tells plugin authors the ranges that are checked', () => {
    const contract = readFileSync('src/plugin-api/config.ts', 'utf8');
    const number = (value: number) => value.toLocaleString('en-US', { maximumFractionDigits: 3 });
    for (const { path, leaf } of leaves(PLUGIN_CONFIG_SCHEMA)) {
      const { takes } = leaf;
      if (path.includes('NAME')) continue;
      if (takes.type === 'duration') assert.match(contract, /Milliseconds, 5,000 to 3,600,000\./);
      else if (takes.type === 'integer' || takes.type === 'number') {
        const range = `${number(takes.min)} to ${number(takes.max)}`;
        assert.ok(contract.includes(range), `${path.join('.')}: ${range}, such as ${showValue(leaf, takes.min)}`);
      } else assert.fail(`${path.join('.')} is a ${takes.type}`);
    }
  });

  it('gives the contract of plugin authors the keys of the entries', () => {
    const everything: Required<PluginConfigInput> = {
      resourceQuotas: { gpu: 1 },
      readRateLimiter: { qps: 1, burst: 1 },
      writeRateLimiter: { qps: 2, burst: 2 },
      caching: { size: 1, resyncInterval: '1m', workers: 1, maxSystemFailures: 1 },
    };
    const written = leaves(PLUGIN_CONFIG_SCHEMA).map(({ path }) => path.join('.').replace('NAME', 'gpu'));
    const keys = Object.entries(everything).flatMap(([key, inner]) =>
      Object.keys(inner).map((name) => `${key}.${name}`),
    );
    assert.deepEqual(keys.sort(), written.sort());
    const layer = readPluginConfig(everything, 'c');
    assert.deepEqual(layered([layer]), layer);
  });
});
