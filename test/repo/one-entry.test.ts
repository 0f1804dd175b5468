import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'acorn';
import { full } from 'acorn-walk';
import { configReference, defaultTree, effectiveOptions } from '../../src/config/index.js';
import { optionSchema, readOptions } from '../../src/host/load/option-schema.js';
import type { AnyLeaf } from '../../src/model/options/leaf.js';
import { DEFAULT_PLUGIN_CONFIG, layered, PLUGIN_CONFIG_SCHEMA } from '../../src/model/options/plugin.js';
import { CONFIG_SCHEMA } from '../../src/model/options/schema.js';
import { duration, type Node, optional, withDefault } from '../../src/model/options/spec.js';
import { expectedOf } from '../../src/model/options/values.js';
import { load, problemsOf } from '../config/support.js';
import { filesBelow } from '../support/files.js';
import { compiled } from '../support/paths.js';

/** An option that does not exist, as its one entry: of the daemon, and of a plugin's limits. */
const NAP = withDefault(duration('Time for a pretended nap.', { min: '3s', max: '17m' }), '11s');

const caching = {
  ...PLUGIN_CONFIG_SCHEMA.fields.caching,
  fields: { ...PLUGIN_CONFIG_SCHEMA.fields.caching.fields, nap: optional(NAP) },
};
const config = { ...PLUGIN_CONFIG_SCHEMA, fields: { ...PLUGIN_CONFIG_SCHEMA.fields, caching } };
const { plugins, tasks } = CONFIG_SCHEMA.fields;
const entry = { ...plugins.value, fields: { ...plugins.value.fields, config } };
const schema = {
  ...CONFIG_SCHEMA,
  fields: {
    ...CONFIG_SCHEMA.fields,
    tasks: { ...tasks, fields: { ...tasks.fields, nap: NAP } },
    plugins: { ...plugins, value: entry },
  },
};
const EXPECTED = 'a duration from 3s to 17m';

const given = (nap: unknown) => ({
  'a.json': JSON.stringify({ tasks: { nap }, plugins: { 'p-1': { source: 'p', config: { caching: { nap } } } } }),
});
const napOf = (section: object | undefined) => (section as { napMs?: number } | undefined)?.napMs;

test('one entry makes an option of the daemon: files, variables, flags, default, range, reference', () => {
  assert.equal(napOf(load({}, { schema }).config.tasks), 11_000);
  assert.equal(napOf(load(given('1m30s'), { schema }).config.tasks), 90_000);
  assert.equal(napOf(load({}, { schema, env: { PLUGIN_HOST_TASKS_NAP: '4s' } }).config.tasks), 4_000);
  assert.equal(
    napOf(load({}, { schema, flags: [{ flag: '--set', key: 'tasks.nap', text: '5s' }] }).config.tasks),
    5_000,
  );
  for (const wrong of ['2999ms', '18m', 'soon', '4']) {
    const [problem] = problemsOf({ 'a.json': JSON.stringify({ tasks: { nap: wrong } }) }, { schema });
    assert.equal(problem?.key, 'tasks.nap');
    assert.match(problem.message, new RegExp(EXPECTED));
  }
  assert.deepEqual((defaultTree(schema) as { tasks: object }).tasks, {
    ...(defaultTree() as { tasks: object }).tasks,
    nap: '11s',
  });
  const row = `| \`tasks.nap\` | duration | \`"11s"\` | Time for a pretended nap. Takes ${EXPECTED}. | \`PLUGIN_HOST_TASKS_NAP\` |`;
  assert.ok(
    configReference(schema).includes(row),
    configReference(schema)
      .match(/.*nap.*/g)
      ?.join('\n'),
  );
  const shown = effectiveOptions(load(given('4s'), { schema }).effective, schema);
  assert.deepEqual(shown.find(({ key }) => key === 'tasks.nap')?.value, '4s');
  // The plant is no option of the daemon that is built.
  assert.equal(problemsOf({ 'a.json': JSON.stringify({ tasks: { nap: '4s' } }) })[0]?.code, 'CONFIG_KEY_UNKNOWN');
});

test('one entry makes a limit of plugins: for the operator, in a definition, in force, in the reference', () => {
  const written = optionSchema(config);
  const definition = (nap: unknown) =>
    readOptions(written, { caching: { nap } }, 'definition.config', (told) => new Error(told));
  assert.equal(napOf(definition('1m30s').caching), 90_000);
  assert.throws(() => definition('2s'), {
    message: new RegExp(`^definition\\.config\\.caching\\.nap is "2s"; expected ${EXPECTED}`),
  });
  const operator = load(given('1m30s'), { schema }).config.plugins['p-1']?.config;
  assert.equal(napOf(operator?.caching), 90_000);
  assert.deepEqual(
    problemsOf(given('2s'), { schema }).map(({ key }) => key),
    ['tasks.nap', 'plugins.p-1.config.caching.nap'],
  );
  assert.equal(napOf(layered([], config).caching), 11_000, 'nobody says anything');
  assert.equal(napOf(layered([definition('4s'), definition('5s')], config).caching), 5_000, 'the operator wins');
  assert.equal(napOf(DEFAULT_PLUGIN_CONFIG.caching), undefined);
  assert.match(
    configReference(schema),
    /`plugins\.<id>\.config\.caching\.nap` \| duration \| the plugin’s, or `"11s"` \|/,
  );
});

/** Every option with its path. */
function leaves(node: Node, at: readonly string[] = []): { path: string; leaf: AnyLeaf }[] {
  if (node.node === 'leaf') return [{ path: at.join('.'), leaf: node }];
  if (node.node === 'map') return leaves(node.value, [...at, '*']);
  if (node.node === 'free') return [];
  return Object.entries(node.fields).flatMap(([key, child]) => leaves(child, [...at, key]));
}

/** The readers of options: what they are made of is the table's. */
const READERS = [
  'config/check.js',
  'config/compile.js',
  'config/convict-schema.js',
  'config/load.js',
  'config/print.js',
  'config/reference.js',
  'host/load/entry.js',
  'host/load/option-schema.js',
  'host/load/plugin-config.js',
  'model/options/defaults.js',
  'sandbox/definition.js',
];

/** Numbers that a range could be made of, and patterns, as a module states them; constants have names and are no range. */
function stated(code: string): string[] {
  const found: string[] = [];
  const constants = new Set<unknown>();
  full(parse(code, { ecmaVersion: 'latest', sourceType: 'module' }), (node) => {
    const seen = node as unknown as {
      type: string;
      init?: unknown;
      id?: { name?: string };
      value?: unknown;
      raw?: string;
      regex?: unknown;
    };
    if (seen.type === 'VariableDeclarator' && /^[A-Z_]+$/.test(seen.id?.name ?? '')) constants.add(seen.init);
    if (seen.type !== 'Literal') return;
    if (seen.regex !== undefined) found.push(seen.raw!);
    else if (typeof seen.value === 'number' && seen.value > 1) found.push(seen.raw!);
  });
  const named = [...constants].map((init) => (init as { raw?: string } | null)?.raw);
  return found.filter((raw) => !named.includes(raw));
}

test('no reader of options states a range, a duration or a pattern', () => {
  const found = READERS.flatMap((file) =>
    stated(readFileSync(compiled(`src/${file.replace(/js$/, 'ts')}`), 'utf8')).map((raw) => `${file}: ${raw}`),
  );
  // Shapes of text, not of options: a number without its unit, a path, what the reference leaves out of a sentence.
  const known = [
    'config/check.js: /^\\d+(\\.\\d+)?$/',
    'config/check.js: /^\\.{1,2}(\\/|$)/',
    'config/print.js: /(\\w+:\\/\\/[^/\\s:@]*):[^/\\s@]+@/g',
    'config/reference.js: /, as text with a unit.*$/',
  ];
  assert.deepEqual(
    found.filter((each) => !known.includes(each)),
    [],
  );
  assert.deepEqual(stated('const ok = ms > 5_000 && /^[a-z]$/.test(name);').sort(), ['/^[a-z]$/', '5_000']);
});

test('no pattern of an option stands in a second place', () => {
  const patterns = new Map<string, string>();
  for (const { path, leaf } of leaves(CONFIG_SCHEMA)) {
    const { takes } = leaf;
    if (takes.type === 'text') patterns.set(takes.pattern.source, path);
    if (takes.type === 'list of text') patterns.set(takes.item.source, path);
  }
  assert.ok(patterns.size > 8, `${patterns.size} patterns`);
  const sources = filesBelow('src').filter((file) => file.endsWith('.ts') && !file.startsWith('generated/'));
  const texts = sources.map((file) => ({ file, text: readFileSync(`src/${file}`, 'utf8') }));
  for (const [pattern, path] of patterns) {
    const places = texts.filter(({ text }) => text.includes(`/${pattern}/`)).map(({ file }) => file);
    assert.ok(places.length <= 1, `${path}: /${pattern}/ in ${places.join(', ')}`);
  }
});

test('an option says what it takes in words that hold its range', () => {
  for (const { path, leaf } of leaves(CONFIG_SCHEMA)) {
    const { takes } = leaf;
    if (!('min' in takes)) continue;
    assert.ok(expectedOf(leaf).includes(`${takes.min} to ${takes.max}`), path);
    // The meaning would be the second place.
    const ranges = [`${takes.min} to ${takes.max}`, `${takes.min} and ${takes.max}`];
    assert.ok(!ranges.some((range) => leaf.doc.includes(range)), `${path}: ${leaf.doc}`);
  }
});
