// Lints our .proto files and compares them with the committed baseline, so that no engine's client breaks unnoticed.
// Usage: node scripts/check-proto.mjs [--accept] [--in FOLDER]
//   --accept  makes today's files the new baseline: after an addition, or a break that was decided on
//   --in      another folder than the repository's own, with its own buf.yaml and proto/; for the tests
import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)));
const { values } = parseArgs({ options: { accept: { type: 'boolean' }, in: { type: 'string' } } });
const baseline = path.join(root, 'test', 'repo', 'proto-baseline.binpb.gz');
const buf = path.join(root, 'node_modules', '@bufbuild', 'buf', 'bin', 'buf');

function run(title, ...args) {
  const { status } = spawnSync(process.execPath, [buf, ...args], { cwd: values.in ?? root, stdio: 'inherit' });
  if (status !== 0) {
    console.error(`${title} failed`);
    process.exitCode = 1;
  }
}

if (values.accept) {
  run('writing the baseline', 'build', 'proto', '--exclude-source-info', '-o', baseline);
} else {
  run('lint of proto/', 'lint', 'proto');
  run('comparison of proto/ with its baseline', 'breaking', 'proto', '--against', baseline, '--exclude-imports');
}
