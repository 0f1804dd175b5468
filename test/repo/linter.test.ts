import assert from 'node:assert/strict';
import { cpSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { ownFiles } from '../support/files.js';
import { fromRoot, repoRoot } from '../support/paths.js';
import { runNode } from '../support/spawn.js';
import { tempFolder, writeTree } from '../support/temp.js';

/** What one run of the formatter and linter saw and found. */
interface Report {
  readonly code: number | null;
  readonly files: number;
  /** `category file`, sorted. */
  readonly findings: readonly string[];
}

// As in the `check` script of package.json, whose warnings fail too.
const checkOptions = ['check', '--error-on-warnings', '--reporter=json', '--max-diagnostics=none'];

async function biomeCheck(t: TestContext, folder: string): Promise<Report> {
  const biome = fromRoot('node_modules', '@biomejs', 'biome', 'bin', 'biome');
  const { code, stdout, stderr } = await runNode(t, [biome, ...checkOptions, '.'], {
    cwd: folder,
  });
  assert.match(stdout, /^\{/, `no report; stderr: ${stderr}`);
  const report = JSON.parse(stdout.slice(stdout.indexOf('{'), stdout.lastIndexOf('}') + 1));
  return {
    code,
    files: report.summary.changed + report.summary.unchanged,
    findings: report.diagnostics
      .map((entry: { category: string; location: { path: string } }) => `${entry.category} ${entry.location.path}`)
      .sort(),
  };
}

/** A folder with this repository's linter configuration and the given files. */
function plant(t: TestContext, files: Readonly<Record<string, string>>): string {
  const folder = tempFolder(t);
  for (const name of ['biome.json', 'biome.imports.json', '.gitignore', 'tsconfig.json']) {
    cpSync(fromRoot(name), path.join(folder, name));
  }
  symlinkSync(fromRoot('node_modules'), path.join(folder, 'node_modules'));
  writeTree(folder, { 'package.json': '{\n  "type": "module"\n}\n', ...files });
  return folder;
}

test('the repository passes the formatter and the linter, every source file seen', async (t) => {
  const sources = ownFiles().filter((file) =>
    /^(src(?!\/generated)|test(?!\/fixtures)|plugins|scripts)\/.*\.m?[jt]s$/.test(file),
  );
  assert.ok(sources.length >= 20, `only ${sources.length} sources listed`);
  const report = await biomeCheck(t, repoRoot);
  assert.deepEqual(report.findings, []);
  assert.equal(report.code, 0);
  assert.ok(report.files >= sources.length, `${report.files} files checked of at least ${sources.length}`);
});

test('clean files pass, so that what the plants below find is their own', async (t) => {
  const report = await biomeCheck(t, plant(t, { 'src/lib/a.ts': 'export const a = 1;\n' }));
  assert.deepEqual(report.findings, []);
  assert.equal(report.code, 0);
  assert.ok(report.files >= 2);
});

const plants: readonly { readonly title: string; readonly finding: string; readonly files: Record<string, string> }[] =
  [
    {
      title: 'a badly formatted file',
      finding: 'format src/lib/a.ts',
      files: { 'src/lib/a.ts': 'export const a   = {b:1}\n' },
    },
    {
      title: 'a comparison that coerces',
      finding: 'lint/suspicious/noDoubleEquals src/lib/a.ts',
      files: { 'src/lib/a.ts': 'export const same = (a: unknown, b: unknown): boolean => a == b;\n' },
    },
    {
      title: 'a warning, such as an unused variable',
      finding: 'lint/correctness/noUnusedVariables src/lib/a.ts',
      files: { 'src/lib/a.ts': 'const a = 1;\nexport const b = 2;\n' },
    },
    {
      title: 'a function that fits no screen',
      finding: 'lint/complexity/noExcessiveLinesPerFunction src/lib/a.ts',
      files: { 'src/lib/a.ts': `export function go(): void {\n${"  console.log('on');\n".repeat(61)}}\n` },
    },
    {
      title: 'a promise that nobody awaits',
      finding: 'lint/nursery/noFloatingPromises src/lib/a.ts',
      files: {
        'src/lib/a.ts': "import { later } from './b.js';\n\nexport function go(): void {\n  later();\n}\n",
        'src/lib/b.ts': 'export async function later(): Promise<number> {\n  return 1;\n}\n',
      },
    },
    {
      title: 'an import cycle over three files',
      finding: 'lint/suspicious/noImportCycles src/lib/a.ts',
      files: {
        'src/lib/a.ts': "import { b } from './b.js';\n\nexport const a = (): number => b();\n",
        'src/lib/b.ts': "import { c } from './c.js';\n\nexport const b = (): number => c();\n",
        'src/lib/c.ts': "import { a } from './a.js';\n\nexport const c = (): number => a();\n",
      },
    },
    {
      title: 'an import against the direction',
      finding: 'lint/style/noRestrictedImports src/store/a.ts',
      files: {
        'src/store/a.ts': "import { b } from '../tasks/b.js';\n\nexport const a = b;\n",
        'src/tasks/b.ts': 'export const b = 1;\n',
      },
    },
    {
      title: 'an import between rooms of one brace, from a folder inside the room',
      finding: 'lint/style/noRestrictedImports src/rpc/native/a.ts',
      files: {
        'src/rpc/native/a.ts': "import type { B } from '../../admin/b.js';\n\nexport type A = B;\n",
        'src/admin/b.ts': 'export type B = number;\n',
      },
    },
    {
      title: 'a library outside its home',
      finding: 'lint/style/noRestrictedImports src/tasks/a.ts',
      files: { 'src/tasks/a.ts': "export { LRUCache } from 'lru-cache';\n" },
    },
    {
      title: 'a scoped library outside its home',
      finding: 'lint/style/noRestrictedImports src/tasks/a.ts',
      files: { 'src/tasks/a.ts': "export { S3Client } from '@aws-sdk/client-s3';\n" },
    },
    {
      title: 'a plugin that reaches into the host',
      finding: 'lint/style/noRestrictedImports plugins/a/index.ts',
      files: {
        'plugins/a/index.ts': "export { b } from '../../src/lib/b.js';\n",
        'src/lib/b.ts': 'export const b = 1;\n',
      },
    },
    {
      title: 'a plugin that brings a library',
      finding: 'lint/style/noRestrictedImports plugins/a/index.ts',
      files: { 'plugins/a/index.ts': "export { credentials } from '@grpc/grpc-js';\n" },
    },
  ];

for (const { title, finding, files } of plants) {
  test(`the check fails on ${title}`, async (t) => {
    const report = await biomeCheck(t, plant(t, files));
    assert.equal(report.code, 1);
    assert.ok(report.findings.includes(finding), `found only: ${report.findings.join(', ')}`);
    assert.ok(report.files >= Object.keys(files).length, `only ${report.files} files seen`);
  });
}
