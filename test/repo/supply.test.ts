import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { fromRoot } from '../support/paths.js';

interface Locked {
  readonly dev?: boolean;
  readonly license?: string;
  readonly integrity?: string;
  readonly hasInstallScript?: boolean;
}

/** Licences that may be handed on with the project's own. */
const LICENCES: ReadonlySet<string | undefined> = new Set([
  'Apache-2.0',
  'MIT',
  'ISC',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'BlueOak-1.0.0',
  '0BSD',
]);

/** Their scripts build or warn, and nothing here needs them: `npm ci --ignore-scripts` is what the image is made by. */
const SCRIPTS_NOT_NEEDED: ReadonlySet<string> = new Set(['node_modules/classic-level', 'node_modules/protobufjs']);

/** What is wrong with a package of the lock. Of development's those for other platforms have no hash in it. */
function flaws(name: string, { license, integrity, hasInstallScript, dev }: Locked): string[] {
  return [
    ...(dev || integrity?.startsWith('sha512-') ? [] : [`${name} has no SHA-512`]),
    ...(dev || LICENCES.has(license) ? [] : [`${name} is under ${license ?? 'no licence'}`]),
    ...(dev || !hasInstallScript || SCRIPTS_NOT_NEEDED.has(name) ? [] : [`${name} runs a script when it is installed`]),
  ];
}

test('what runs is locked by its hash, under a licence that may be handed on, and needs no script at its installation', () => {
  const { packages } = JSON.parse(readFileSync(fromRoot('package-lock.json'), 'utf8')) as {
    packages: Record<string, Locked>;
  };
  const locked = Object.entries(packages).filter(([name]) => name !== '');
  const running = locked.filter(([, { dev }]) => dev !== true);
  assert.ok(running.length > 50, `only ${running.length} packages looked at`);
  assert.deepEqual(
    locked.flatMap(([name, one]) => flaws(name, one)),
    [],
  );
});

test('each of these flaws is found', () => {
  const good = { license: 'MIT', integrity: 'sha512-x' };
  assert.deepEqual(flaws('a', good), []);
  assert.equal(flaws('a', { ...good, license: 'GPL-3.0' }).length, 1);
  assert.equal(flaws('a', { license: 'MIT' }).length, 1);
  assert.equal(flaws('a', { ...good, integrity: 'sha1-x' }).length, 1);
  assert.equal(flaws('a', { ...good, hasInstallScript: true }).length, 1);
});
