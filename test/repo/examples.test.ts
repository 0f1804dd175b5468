import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fromRoot } from '../support/paths.js';

/** What a plugin may cost its author: lines that are neither empty nor comment alone, and their width. */
const MAX_LINES = 30;
const MAX_WIDTH = 130;

const plugins = readdirSync(fromRoot('examples')).filter((file) => /\.[cm]?[jt]s$/.test(file));

function linesOf(source: string): string[] {
  const bare = source.replace(/\/\*[\s\S]*?\*\//g, '');
  return bare.split('\n').filter((line) => !/^\s*(\/\/.*)?$/.test(line));
}

test('each example is a plugin of at most thirty lines', () => {
  assert.deepEqual(plugins, ['athena.mjs', 'dagster.mjs', 'prefect.mjs', 'ray.mjs']);
  for (const file of plugins) {
    const lines = linesOf(readFileSync(fromRoot('examples', file), 'utf8'));
    assert.ok(lines.length >= 15, `${file}: only ${lines.length} lines were counted`);
    assert.ok(lines.length <= MAX_LINES, `${file} has ${lines.length} lines`);
    for (const line of lines) assert.ok(line.length <= MAX_WIDTH, `${file}: a line of ${line.length} characters`);
    for (const line of lines)
      assert.doesNotMatch(line, /;\s*(const|let|return|if|await)\b/, `${file}: two statements in a line`);
  }
  assert.deepEqual(linesOf('// a\n\n/* b\n c */\nd; // e\n  // f\n'), ['d; // e']);
});

test('an example is documented, and run against its remote', () => {
  const page = readFileSync(fromRoot('docs', 'writing-plugins.md'), 'utf8');
  const readme = readFileSync(fromRoot('examples', 'README.md'), 'utf8');
  const suite = readFileSync(fromRoot('test', 'examples', 'examples.e2e.ts'), 'utf8');
  for (const file of plugins) {
    assert.ok(page.includes(`(../examples/${file})`), `docs/writing-plugins.md does not link to ${file}`);
    assert.ok(readme.includes(`(${file})`), `examples/README.md does not name ${file}`);
    assert.ok(suite.includes(`'${file.replace(/\.mjs$/, '')}'`), `no test runs ${file}`);
  }
});

test('the examples have a lock file of their own, without download addresses, and no package of this name', () => {
  const manifest = JSON.parse(readFileSync(fromRoot('examples', 'package.json'), 'utf8'));
  const lock = JSON.parse(readFileSync(fromRoot('examples', 'package-lock.json'), 'utf8'));
  const entries = Object.entries<{ resolved?: string }>(lock.packages);
  assert.deepEqual(lock.packages[''].dependencies, manifest.dependencies);
  assert.deepEqual(
    entries.filter(([, entry]) => entry.resolved !== undefined),
    [],
  );
  const all = { ...manifest.dependencies, ...manifest.peerDependencies, ...manifest.devDependencies };
  assert.equal(
    Object.hasOwn(all, 'webapi-plugin-host'),
    false,
    'the daemon gives plugins this package; a registry may have another',
  );
});
