import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ownFiles } from '../support/files.js';
import { fromRoot } from '../support/paths.js';
import { findMachineTraces, nodeMajorOfDockerfile } from '../support/repo-facts.js';

const manifest = JSON.parse(readFileSync(fromRoot('package.json'), 'utf8'));
const engines: string = manifest.engines.node;
const lowestNode = Number(engines.match(/^>=(\d+)\.\d+$/)?.[1]);

const files = ownFiles();
const read = (file: string): string => readFileSync(fromRoot(file), 'utf8');

test('the licence is Apache-2.0 in the manifest and in LICENSE', () => {
  assert.equal(manifest.license, 'Apache-2.0');
  assert.match(read('LICENSE'), /Apache License\s+Version 2\.0, January 2004/);
});

test('the types of node are those of the oldest supported Node, so that no newer API compiles', () => {
  assert.ok(lowestNode >= 20, `engines.node reads ${engines}`);
  const types = JSON.parse(read('node_modules/@types/node/package.json')).version as string;
  assert.equal(Number(types.split('.')[0]), lowestNode);
});

test("the Dockerfile's default Node is within engines", () => {
  assert.ok(nodeMajorOfDockerfile(read('Dockerfile')) >= lowestNode);
  assert.equal(nodeMajorOfDockerfile('ARG BASE_IMAGE=node:18-slim\nFROM $BASE_IMAGE\n'), 18);
  assert.throws(() => nodeMajorOfDockerfile('FROM debian:bookworm\n'), /no ARG/);
});

test('every path that a script of the manifest runs exists', () => {
  const commands = Object.values<string>(manifest.scripts);
  const named = commands.flatMap((command) => command.match(/\b(?:scripts|test|bench)\/[\w./-]+\.(?:mjs|sh)\b/g) ?? []);
  assert.ok(named.length >= 2);
  assert.deepEqual(
    named.filter((file) => !files.includes(file)),
    [],
  );
});

test('no tracked file names a path of one machine or the host of a registry', () => {
  const texts = files.filter((file) => !/\.(png|pb|binpb|tgz|gz|ico)$/.test(file));
  assert.ok(texts.length >= 30, `only ${texts.length} files looked at`);
  assert.deepEqual(
    texts.flatMap((file) => findMachineTraces(read(file)).map((trace) => `${file}: ${trace}`)),
    [],
  );
  const planted = [
    `see /${'work'}/main/x`,
    `/${'root'}/.cache`,
    `/${'home'}/somebody/x`,
    `https://registry.${'npmjs'}.org/x`,
    `http://deb.${'debian'}.org/debian`,
    'fine: /tmp/x, /var/log, https://example.org',
  ];
  assert.deepEqual(
    planted.map((text) => findMachineTraces(text).length),
    [1, 1, 1, 1, 1, 0],
  );
});

test('the lock file names no download address and has every optional platform', () => {
  const lock = JSON.parse(read('package-lock.json'));
  const entries = Object.entries<{ resolved?: string; optionalDependencies?: Record<string, string> }>(lock.packages);
  assert.ok(entries.length >= 100);
  assert.deepEqual(
    entries.filter(([, entry]) => entry.resolved).map(([name]) => name),
    [],
  );
  const missing = entries.flatMap(([, entry]) =>
    Object.keys(entry.optionalDependencies ?? {}).filter((name) => !(`node_modules/${name}` in lock.packages)),
  );
  assert.deepEqual(missing, [], 'run: node scripts/complete-lock.mjs');
});
