import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { repoRoot } from './paths.js';

/** All files below a folder, as sorted paths relative to it with forward slashes; [] when there is no such folder. */
export function filesBelow(folder: string, suffix = ''): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith(suffix))
    .map((entry) => path.relative(folder, path.join(entry.parentPath ?? entry.path, entry.name)))
    .map((file) => file.split(path.sep).join('/'))
    .sort();
}

const notOurs = /^(node_modules|dist|coverage|\.git)\//;

/** The repository's own files: what git tracks or would track; in an unpacked archive, whatever lies there. */
export function ownFiles(): string[] {
  if (!existsSync(path.join(repoRoot, '.git'))) {
    return filesBelow(repoRoot).filter((file) => !notOurs.test(file));
  }
  const listed = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
    cwd: repoRoot,
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  return listed.split('\0').filter((file) => file !== '' && existsSync(path.join(repoRoot, file)));
}
