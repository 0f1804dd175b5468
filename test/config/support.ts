import assert from 'node:assert/strict';
import path from 'node:path';
import { ConfigError, type LoadOptions, loadConfig } from '../../src/config/index.js';

/** Loads from files that exist only in memory. */
export function load(files: Record<string, string>, more: Partial<LoadOptions> = {}) {
  return loadConfig({
    cwd: '/cwd',
    files: Object.keys(files),
    readText: (file) => {
      const text = files[path.relative('/cwd', file)] ?? files[file];
      if (text === undefined) throw new Error(`ENOENT: no such file, open '${file}'`);
      return text;
    },
    ...more,
  });
}

/** The problems of a configuration that must not load. */
export function problemsOf(files: Record<string, string>, more: Partial<LoadOptions> = {}) {
  try {
    load(files, more);
  } catch (error) {
    assert.ok(error instanceof ConfigError, String(error));
    return error.problems;
  }
  assert.fail('the configuration was accepted');
}
