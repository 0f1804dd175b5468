import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fromRoot } from '../support/paths.js';
import { run, runNode } from '../support/spawn.js';
import { tempFolder, writeTree } from '../support/temp.js';

const manifest = JSON.parse(readFileSync(fromRoot('package.json'), 'utf8'));

/** What `npm pack` would put into the package, without building it anew. */
async function packedFiles(t: Parameters<typeof run>[0]): Promise<string[]> {
  const packed = await run(t, 'npm', ['pack', '--dry-run', '--json', '--ignore-scripts']);
  assert.equal(packed.code, 0, packed.stderr);
  const answer = JSON.parse(packed.stdout);
  // A list up to npm 11, an object by name from 12 on.
  const [only] = (Array.isArray(answer) ? answer : Object.values(answer)) as { files: { path: string }[] }[];
  return only!.files.map((file) => file.path);
}

test('the package has everything that it exports, runs and reads, and nothing of its tests', async (t) => {
  const files = new Set(await packedFiles(t));
  const targets = [...Object.values<string>(manifest.exports), ...Object.values<string>(manifest.bin)];
  const wanted = targets.map((target) => path.posix.normalize(target));
  for (const target of [...wanted]) if (target.endsWith('.js')) wanted.push(target.replace(/\.js$/, '.d.ts'));
  const read = ['config.default.json', 'proto/pluginhost/v1/plugin_host.proto', 'CHANGELOG.md', 'LICENSE', 'README.md'];
  const plugins = ['dist/plugins/demo/index.js', 'dist/plugins/slurm/index.js'];
  const child = 'dist/src/sandbox/main.js';
  assert.deepEqual(
    [...wanted, ...read, ...plugins, child].filter((file) => !files.has(file)),
    [],
  );
  assert.deepEqual(
    [...files].filter((file) => /^(dist\/)?(test|bench|src|scripts)\//.test(file) && !file.startsWith('dist/src/')),
    [],
  );
});

test('a plugin author’s project imports the package by its names and runs its command', async (t) => {
  const cwd = tempFolder(t);
  mkdirSync(path.join(cwd, 'node_modules'));
  symlinkSync(fromRoot(), path.join(cwd, 'node_modules', 'webapi-plugin-host'), 'dir');
  writeTree(cwd, {
    'package.json': '{"type": "module", "private": true}',
    'look.js': `
      const names = ['webapi-plugin-host', 'webapi-plugin-host/client', 'webapi-plugin-host/testing'];
      const modules = await Promise.all(names.map((name) => import(name)));
      console.log(typeof modules[0].definePlugin, typeof modules[1].createClient, typeof modules[2].testPlugin);
      const inner = await import('webapi-plugin-host/dist/src/daemon.js').catch((error) => error.code);
      console.log(inner);`,
  });
  const look = await runNode(t, ['look.js'], { cwd });
  assert.equal(look.stdout, 'function function function\nERR_PACKAGE_PATH_NOT_EXPORTED\n', look.stderr);
  const bin = path.join(cwd, 'node_modules', 'webapi-plugin-host', manifest.bin['plugin-host']);
  const version = await runNode(t, [bin, '--version'], { cwd });
  assert.deepEqual([version.code, version.stdout], [0, `${manifest.version}\n`]);
});
