import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { filesBelow } from '../support/files.js';
import { madeFailures, methodLists } from '../support/methods.js';
import { fromRoot } from '../support/paths.js';

/** The compiled sources; types, which the compiler holds to the table, are not in them. */
const compiled = filesBelow(fromRoot('dist', 'src'), '.js').map((name) => ({
  name: name.replaceAll('\\', '/'),
  code: readFileSync(fromRoot('dist', 'src', name), 'utf8'),
}));

test('what holds for a method of plugins stands in one table, and the handlers of their process are the only other list', () => {
  assert.ok(compiled.length >= 100, `only ${compiled.length} files looked at`);
  const lists = compiled.filter(({ code }) => methodLists(code).length > 0).map(({ name }) => name);
  // The outcome table names the places where something is thrown after the methods; the method table says which it is.
  assert.deepEqual(lists.sort(), ['model/outcomes.js', 'model/plugin-methods.js', 'sandbox/methods.js']);
});

test('a planted list of methods is found, as an object, a list and a switch, and a call of one method is not', () => {
  const source = [
    "const READS = new Set(['get', 'getMany', 'getLogs', 'getMetrics']);",
    'const NONE = { getMany: undefined, getLogs: false, getMetrics: false, adoptMeta: false };',
    "switch (method) { case 'create': one(); break; case 'do': two(); }",
    "gate.call('getLogs', args); gate.call(sync ? 'do' : 'create', args);",
    'const tasks = { create: (spec) => 1, get: (handle) => 2, delete: (handle) => 3, getLogs: (handle) => 4 };',
  ].join('\n');
  assert.deepEqual(methodLists(source), [1, 2, 3]);
});

test('a failure of a plugin call is made by one function', () => {
  const makers = compiled.flatMap(({ name, code }) => madeFailures(code).map(() => name));
  assert.deepEqual(makers, ['model/plugin-failure.js']);
  const planted = [
    "const lost = { ok: false, failure: { kind, code, message, faultKind: 'SYSTEM', retryAfterMs } };",
    "const gone = { kind: 'cancelled',",
    "  faultKind: 'SYSTEM', retryAfterMs: undefined };",
    'const { kind, message, code, faultKind, retryAfterMs } = value;',
    "pluginFailure(kind, code, message, { faultKind: 'USER', retryAfterMs });",
  ].join('\n');
  assert.deepEqual(madeFailures(planted), [1, 2]);
});
