// Makes src/generated/descriptors.ts: one FileDescriptorSet, by a protobuf compiler, of all that is served besides
// flyteidl2 (which has a set of its own) and of what it imports. Server reflection hands these bytes on as they are.
// What proto-loader makes of the same files cannot be used for that: its type names are relative and misplaced, imports
// and map entries are lost, and no real client can describe or call anything.
// Usage: node scripts/gen-descriptors.mjs [--check]
import { spawnSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeGenerated } from './lib/generated.mjs';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);
const folderOf = (name) => path.dirname(require.resolve(`${name}/package.json`));
const buf = path.join(folderOf('@bufbuild/buf'), 'bin', 'buf');

/** Folder or file → where it lies in the one module that is compiled: the path that its importers know it by. */
const SOURCES = [
  [path.join(root, 'proto'), '.'],
  [path.join(folderOf('@flyteorg/flyteidl'), 'protos', 'flyteidl'), 'flyteidl'],
  // flyteidl imports it and does not ship it.
  [path.join(folderOf('protobufjs'), 'google', 'api'), 'google/api'],
  // The package keeps it at another path than everybody else; clients may hold it already by the usual one.
  [path.join(folderOf('grpc-health-check'), 'proto', 'health'), 'grpc/health'],
  [path.join(folderOf('@grpc/reflection'), 'build', 'proto', 'grpc', 'reflection'), 'grpc/reflection'],
];

/** Only these and what they import are compiled: flyteidl as a whole does not, since some of its files lack imports. */
const ENTRIES = [
  'pluginhost/v1/plugin_host.proto',
  'flyteidl/service/agent.proto',
  'grpc/health/v1/health.proto',
  'grpc/reflection/v1/reflection.proto',
  'grpc/reflection/v1alpha/reflection.proto',
];

function compile() {
  const module = mkdtempSync(path.join(os.tmpdir(), 'descriptors-'));
  try {
    for (const [from, to] of SOURCES) cpSync(from, path.join(module, to), { recursive: true });
    writeFileSync(path.join(module, 'buf.yaml'), 'version: v2\n');
    const args = ['build', '.', '--as-file-descriptor-set', '--exclude-source-info', '-o', 'descriptors.binpb'];
    for (const entry of ENTRIES) args.push('--path', entry);
    const { status } = spawnSync(process.execPath, [buf, ...args], { cwd: module, stdio: 'inherit' });
    if (status !== 0) throw new Error(`buf build of ${ENTRIES.join(', ')} ended with ${status}`);
    return readFileSync(path.join(module, 'descriptors.binpb'));
  } finally {
    rmSync(module, { recursive: true, force: true });
  }
}

const source = [
  '// Made by scripts/gen-descriptors.mjs with buf; do not edit, run `npm run gen`.',
  '/**',
  ' * google.protobuf.FileDescriptorSet, in base64, of the native API, of flyteidl (Flyte 1), health and reflection, and of',
  ' * all they import.',
  ' */',
  'export const DESCRIPTOR_SET =',
  `  '${compile().toString('base64')}';`,
  '',
].join('\n');
writeGenerated('src/generated/descriptors.ts', source);
