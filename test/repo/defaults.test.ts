import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { parse } from 'acorn';
import { full } from 'acorn-walk';
import { CONFIG_SCHEMA } from '../../src/model/options/schema.js';
import { compiledName, type Node } from '../../src/model/options/spec.js';
import { filesBelow } from '../support/files.js';
import { compiled } from '../support/paths.js';

/** Names of options in their compiled form, those that say something by themselves. */
function optionNames(node: Node, name: string): string[] {
  if (node.node === 'section') {
    return Object.entries(node.fields).flatMap(([key, child]) => optionNames(child, compiledName(key, child)));
  }
  if (node.node === 'map') return optionNames(node.value, '');
  return node.node === 'leaf' && /(Ms|Bytes)$|^max[A-Z]|[a-z][A-Z]/.test(name) ? [name] : [];
}

/** What rooms call an option: `roomName: config.section.option`. */
function roomNames(text: string): string[] {
  return [...text.matchAll(/\b(\w+): (?:config|grpc|refresh|tasks)\.[\w.]+/g)].map(([, name]) => name!);
}

/** Lines that give one of the names a number: as a property, a variable or a fallback. */
function statedDefaults(text: string, names: ReadonlySet<string>): string[] {
  const stated = /\b#?(\w+)\s*(?::|=|\?\?)\s*-?\d[\d_.]*/g;
  return [...text.matchAll(stated)].filter(([, name]) => names.has(name!)).map(([line]) => line);
}

/** Words that other things than the option have too. */
const COMMON = ['maxBytes', 'maxCount', 'graceMs'];

const NAMES: ReadonlySet<string> = new Set(
  [...optionNames(CONFIG_SCHEMA, ''), ...roomNames(readFileSync('src/daemon/options.ts', 'utf8'))].filter(
    (name) => !COMMON.includes(name),
  ),
);

// client/ and testing/ run in programs of others, where no operator sets anything.
test('no room states a default of an option: only the options themselves do', () => {
  assert.ok(NAMES.size > 50, [...NAMES].join(' '));
  const found = filesBelow('src')
    .map((file) => `src/${file}`)
    .filter(
      (file) =>
        file.endsWith('.ts') && !file.includes('model/options/') && !/^src\/(generated|client|testing)\//.test(file),
    )
    .flatMap((file) => statedDefaults(readFileSync(file, 'utf8'), NAMES).map((line) => `${file}: ${line}`));
  assert.deepEqual(found, []);
});

test('a default that a room states is found in each of its forms, and no other number is', () => {
  const planted = [
    '{ pollShare: 0.5 }',
    'const outageGraceMs = 3_600_000;',
    'given.maxStreams ?? 100',
    '#maxTasks = 5',
  ];
  for (const text of planted) assert.equal(statedDefaults(text, NAMES).length, 1, text);
  for (const text of ['retryMaxMs: 60_000', 'maxTasks: config.maxTasks', 'maxTasks > 5', 'pollShare: number']) {
    assert.deepEqual(statedDefaults(text, NAMES), [], text);
  }
});

interface Seen {
  readonly type: string;
  readonly operator?: string;
  readonly name?: string;
  readonly value?: unknown;
  readonly left?: Seen;
  readonly right?: Seen;
  readonly argument?: Seen;
  readonly id?: Seen;
  readonly init?: Seen | null;
  readonly start: number;
  readonly end: number;
}

/** A number above one, or one that is made of such, as it stands or by the name of a constant of the module. */
function isNumber(node: Seen | null | undefined, constants: ReadonlySet<string>): boolean {
  if (node?.type === 'Literal') return typeof node.value === 'number' && node.value > 1;
  if (node?.type === 'Identifier') return constants.has(node.name!);
  if (node?.type !== 'BinaryExpression' || !/^[-+*/]|\*\*$/.test(node.operator!)) return false;
  return isNumber(node.left, constants) || isNumber(node.right, constants);
}

/** Where a module falls back on a number of its own, as it stands there: `given ?? 5`, `(ms = 5) =>`, `{ ms = 5 }`. */
function fallbacks(code: string): string[] {
  const constants = new Set<string>();
  const found: string[] = [];
  const tree = parse(code, { ecmaVersion: 'latest', sourceType: 'module' });
  full(tree, (each) => {
    const node = each as unknown as Seen;
    if (node.type === 'VariableDeclarator' && isNumber(node.init, constants)) constants.add(node.id?.name ?? '');
  });
  full(tree, (each) => {
    const node = each as unknown as Seen;
    const or = node.type === 'LogicalExpression' && node.operator !== '&&';
    if (!(or || node.type === 'AssignmentPattern')) return;
    if (isNumber(node.right, constants)) found.push(code.slice(node.start, node.end));
  });
  return found;
}

/** Programs of others use these rooms, where no operator sets anything. */
const OF_OTHERS = /^(client|testing|plugin-api)\//;

test('no comment of a room tells the default of an option, where it would go stale', () => {
  const found = filesBelow('src')
    .filter((file) => file.endsWith('.ts') && !/^(model\/options|generated)\//.test(file) && !OF_OTHERS.test(file))
    .flatMap((file) => readFileSync(`src/${file}`, 'utf8').match(/[\d][\d_,.]* by default|by default [\d].*/g) ?? []);
  assert.deepEqual(found, []);
});

test('no room falls back on a number of its own where its options say nothing', () => {
  const found = filesBelow('src')
    .filter((file) => file.endsWith('.ts') && !/^(model\/options|generated)\//.test(file) && !OF_OTHERS.test(file))
    .flatMap((file) => fallbacks(readFileSync(compiled(`src/${file}`), 'utf8')).map((text) => `${file}: ${text}`));
  // Nobody sets the depth of messages, the growth of a back-off, where a test's clock begins, or the layout of a handle.
  assert.deepEqual(found.sort(), [
    'idl/wire-check.ts: maxDepth = MAX_WIRE_DEPTH',
    'lib/backoff.ts: factor = 2',
    'lib/clock.ts: startMs = 1_700_000_000_000',
    'model/handle.ts: head = SIGNED_HEAD',
  ]);
});

test('a number to fall back on is found in each of its forms, and neutral ones, sizes and texts are not', () => {
  const planted = [
    'x = options.ms ?? 30_000;',
    'x = options.ms || 5;',
    'x = options.bytes ?? 64 * 1024;',
    'const WAIT_MS = 5_000; x = options.ms ?? WAIT_MS;',
    'function stop(graceMs = 1_000) {}',
    'class A { constructor({ ms = 5 }) {} }',
  ];
  for (const code of planted) assert.equal(fallbacks(code).length, 1, code);
  const code =
    'x = a ?? 0; y = a ?? 1; z = a ?? "5"; const N = 5; w = b || a > N; function f(n = 0) {} v = a ?? other;';
  assert.deepEqual(fallbacks(code), []);
});
