import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { CONFIG_SCHEMA, ConfigError } from '../../src/config/index.js';
import { losesDigits } from '../../src/lib/json.js';
import type { AnyLeaf } from '../../src/model/options/leaf.js';
import type { Node } from '../../src/model/options/spec.js';
import { expectedOf } from '../../src/model/options/values.js';
import { load, problemsOf } from './support.js';

/** Every option of the schema with a path to it, maps entered under a key that is allowed. */
function leaves(): { at: string[]; leaf: AnyLeaf }[] {
  const found: { at: string[]; leaf: AnyLeaf }[] = [];
  const visit = (node: Node, at: string[]): void => {
    if (node.node === 'leaf') found.push({ at, leaf: node });
    else if (node.node === 'section')
      for (const [key, child] of Object.entries(node.fields)) visit(child, [...at, key]);
    else if (node.node === 'map') visit(node.value, [...at, 'abc']);
  };
  visit(CONFIG_SCHEMA, []);
  return found;
}

function sections(): string[][] {
  const found: string[][] = [];
  const visit = (node: Node, at: string[]): void => {
    if (node.node === 'section') {
      found.push(at);
      for (const [key, child] of Object.entries(node.fields)) visit(child, [...at, key]);
    } else if (node.node === 'map') visit(node.value, [...at, 'abc']);
  };
  visit(CONFIG_SCHEMA, []);
  return found;
}

function treeWith(at: readonly string[], value: unknown): Record<string, unknown> {
  const root: Record<string, unknown> = {};
  let target = root;
  for (const part of at.slice(0, -1)) {
    target[part] = {};
    target = target[part] as Record<string, unknown>;
  }
  target[at.at(-1) as string] = value;
  return root;
}

const json = (at: readonly string[], value: unknown) => ({ 'a.json': JSON.stringify(treeWith(at, value)) });

/** Whether a number stands there that is refused, since it may have had another text. */
function hasIds(value: unknown): boolean {
  if (typeof value === 'number') return losesDigits(value);
  return typeof value === 'object' && value !== null && Object.values(value).some(hasIds);
}

describe('strict config', () => {
  it('refuses a value of another type for every option, however deep, and never converts', () => {
    const all = leaves();
    assert.ok(all.length > 60, `only ${all.length} options seen`);
    for (const { at, leaf } of all) {
      const wrong: Record<string, unknown[]> = {
        duration: ['9000', '10', 'soon', true, [], {}, -1, '-5s', '5 s', 1e300],
        size: ['9000', '1.0001KiB', true, [], {}, -1, '64 MiB', '64mib', 1.5],
        integer: ['5', 1.5, true, [], {}, -1, 1e16],
        number: ['0.5', true, [], {}, -1],
        boolean: ['yes', 'true', 1, 0, [], {}],
        text: [5, true, [], {}],
        choice: [5, true, [], {}, 'no-such-choice'],
        'list of text': ['a', 5, true, {}, [5], [['a']], ['a', 'a']],
      };
      for (const value of wrong[leaf.takes.type] ?? assert.fail(leaf.takes.type)) {
        const found = problemsOf(json(at, value)).filter(({ key }) => key === at.join('.'));
        assert.equal(found.length, 1, `${at.join('.')} took ${JSON.stringify(value)}`);
        assert.equal(found[0]?.code, 'CONFIG_VALUE_INVALID');
        assert.ok(found[0]?.message.includes(expectedOf(leaf)));
      }
      if (leaf.presence !== 'optional') {
        assert.match(problemsOf(json(at, null))[0]?.message ?? '', /seen (a hidden )?null/);
      }
    }
  });

  it('refuses an unknown key in every section, also inside maps, and names the nearest', () => {
    const all = sections();
    assert.ok(all.some((at) => at.join('.') === 'plugins.abc.config.readRateLimiter'));
    for (const at of all) {
      const [problem] = problemsOf(json([...at, 'qqqqqq'], 1));
      assert.equal(problem?.code, 'CONFIG_KEY_UNKNOWN', at.join('.'));
      assert.equal(problem?.key, [...at, 'qqqqqq'].join('.'));
    }
    const cases: [string[], string][] = [
      [['plugins', 'a', 'config', 'readRateLimiter', 'qpz'], 'qps'],
      [['plugins', 'a', 'config', 'caching', 'resyncIntervalMs'], 'resyncInterval'],
      [['plugins', 'a', 'settigns'], 'settings'],
      [['grpc', 'keepAlive'], 'keepalive'],
      [['shutdwon'], 'shutdown'],
    ];
    for (const [at, near] of cases) {
      assert.match(problemsOf(json(at, {}))[0]?.message ?? '', new RegExp(`did you mean "${near}"\\?`));
    }
  });

  it('refuses a section that is a scalar, a list or null', () => {
    for (const value of [5, 'x', true, [], null]) {
      for (const at of [
        ['grpc'],
        ['plugins', 'a'],
        ['plugins', 'a', 'config', 'caching'],
        ['plugins', 'a', 'settings'],
      ]) {
        assert.equal(problemsOf(json(at, value))[0]?.code, 'CONFIG_VALUE_INVALID', `${at}: ${value}`);
      }
    }
    assert.equal(problemsOf({ 'a.json': '[]' })[0]?.code, 'CONFIG_VALUE_INVALID');
    assert.equal(problemsOf({ 'a.yaml': 'just text' })[0]?.code, 'CONFIG_VALUE_INVALID');
  });

  it('tells the kind of what stands where an object belongs, never its content, which may be a secret', () => {
    const secret = 's3cr3t-of-the-test';
    const misplaced = [`TOKEN=${secret}`, [`TOKEN=${secret}`], [{ token: secret }]];
    for (const value of misplaced) {
      for (const at of [
        [],
        ['admin'],
        ['plugins', 'a'],
        ['plugins', 'a', 'settings'],
        ['plugins', 'a', 'environment'],
        ['plugins', 'a', 'environment', 'set'],
      ]) {
        const text = at.length === 0 ? JSON.stringify(value) : JSON.stringify(treeWith(at, value));
        const problems = problemsOf({ 'a.json': text });
        assert.match(problems[0]?.message ?? '', /^seen a (text|list), expected an object/);
        for (const { message } of problems) assert.ok(!message.includes(secret), message);
      }
    }
    const half = `{"a":{"settings":{"token":"${secret}"`;
    for (const more of [
      { env: { PLUGIN_HOST_PLUGINS: half } },
      { flags: [{ flag: '--set', key: 'plugins', text: half }] },
    ]) {
      const [problem] = problemsOf({}, more);
      assert.equal(problem?.key, 'plugins');
      assert.equal(problem?.message, 'seen a text that is not JSON, expected an object written as JSON');
    }
    assert.match(
      problemsOf(json(['plugins', 'a', 'source'], { token: secret }))[0]?.message ?? '',
      /^seen an object, expected a text/,
    );
  });

  it('refuses keys that would reach into objects of JavaScript', () => {
    for (const at of [
      '',
      'plugins',
      'defaultForTaskTypes',
      'plugins.a.settings',
      'plugins.a.settings.b',
      'plugins.a.environment.set',
    ]) {
      const inner = '{"__proto__": {"polluted": "yes"}}';
      const text = at === '' ? inner : at.split('.').reduceRight((sum, part) => `{"${part}": ${sum}}`, inner);
      const problems = problemsOf({ 'a.json': text });
      assert.equal(problems[0]?.code, 'CONFIG_KEY_UNKNOWN', text);
      assert.equal(
        problemsOf({}, { flags: [{ flag: '--set', key: `${at}${at && '.'}__proto__.polluted`, text: '1' }] })[0]?.code,
        'CONFIG_KEY_UNKNOWN',
      );
    }
    assert.equal(({} as { polluted?: string }).polluted, undefined);
    for (const key of ['constructor', 'prototype', 'toString', 'hasOwnProperty']) {
      assert.equal(problemsOf({ 'a.json': `{"grpc": {"${key}": {}}}` })[0]?.code, 'CONFIG_KEY_UNKNOWN');
    }
    const settings = load({
      'a.json': '{"plugins":{"a":{"source":"p","settings":{"constructor":{"prototype":{"x":1}}}}}}',
    });
    assert.deepEqual(settings.config.plugins.a?.settings, { constructor: { prototype: { x: 1 } } });
  });

  it('reports everything at once, each with its place', () => {
    const problems = problemsOf(
      {
        'a.yaml':
          'grpc:\n  port: "8000"\n  reflection: yes\n  hosst: x\nplugins:\n  Bad_Id: {}\n  ok:\n    required: 1\n',
        'b.json': '{"admin": {"port": 70000}}',
      },
      { env: { PLUGIN_HOST_LOG_LEVEL: 'loud' }, flags: [{ flag: '--set', key: 'store.maxTasks', text: 'many' }] },
    );
    assert.deepEqual(
      problems.map(({ code, origin, key }) => `${code} ${origin} ${key}`),
      [
        'CONFIG_VALUE_INVALID file a.yaml:2 grpc.port',
        'CONFIG_VALUE_INVALID file a.yaml:3 grpc.reflection',
        'CONFIG_KEY_UNKNOWN file a.yaml:4 grpc.hosst',
        'CONFIG_KEY_UNKNOWN file a.yaml:6 plugins.Bad_Id',
        'CONFIG_VALUE_INVALID file a.yaml:8 plugins.ok.required',
        'CONFIG_VALUE_INVALID file b.json:1 admin.port',
        'CONFIG_VALUE_INVALID environment variable PLUGIN_HOST_LOG_LEVEL log.level',
        'CONFIG_VALUE_INVALID flag --set store.maxTasks',
      ],
    );
    assert.match(problems[0]?.message ?? '', /seen "8000", expected an integer from 0 to 65535/);
    const error = new ConfigError(problems);
    assert.equal(error.code, 'CONFIG_KEY_UNKNOWN');
    assert.match(error.message, /8 problems/);
    for (const { key } of problems) assert.ok(error.message.includes(key));
  });

  it('asks for what is required, naming where the plugin stands', () => {
    const [problem] = problemsOf({ 'a.yaml': 'plugins:\n  demo: {}\n' });
    assert.deepEqual([problem?.origin, problem?.key], ['file a.yaml:2', 'plugins.demo.source']);
    assert.match(problem?.message ?? '', /not set, expected/);
  });

  it('never accepts, and never throws anything but a ConfigError for, arbitrary JSON with a foreign key', () => {
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 4 }), fc.constantFrom(...sections()), (value, at) => {
        const problems = problemsOf(json([...at, 'notAKey'], value));
        assert.equal(problems[0]?.code, 'CONFIG_KEY_UNKNOWN');
      }),
      { numRuns: 200 },
    );
    fc.assert(
      fc.property(fc.jsonValue({ maxDepth: 3 }), fc.constantFrom(...leaves()), (value, { at }) => {
        try {
          load(json(at, value));
        } catch (error) {
          assert.ok(error instanceof ConfigError, String(error));
        }
      }),
      { numRuns: 500 },
    );
  });

  it('passes any settings of a plugin through unchanged', () => {
    fc.assert(
      fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 })), (settings) => {
        const text = JSON.stringify({ plugins: { a: { source: 'p', settings } } });
        fc.pre(!text.includes('__proto__') && !hasIds(settings));
        assert.equal(
          JSON.stringify(sorted(load({ 'a.json': text }).config.plugins.a?.settings)),
          JSON.stringify(sorted(JSON.parse(text).plugins.a.settings)),
        );
      }),
      { numRuns: 200 },
    );
  });
});

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.entries(value)
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([key, inner]) => [key, sorted(inner)]);
}
