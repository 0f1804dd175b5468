import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { atTheEnd, searchFolder } from './suite-secrets.js';

/** Where what undoes a set-up is left; a test's context, or who keeps something for several tests. */
export interface Cleanup {
  after(done: () => void | Promise<void>): void;
}

/** A fresh folder that is removed when the test ends, and searched for secrets before. */
export function tempFolder(t: Cleanup, prefix = 'plugin-host-test-'): string {
  const folder = mkdtempSync(path.join(os.tmpdir(), prefix));
  t.after(async () => {
    await atTheEnd(() => searchFolder(folder));
    remove(folder);
  });
  return folder;
}

const TRIES = 20;

/** Hooks run in the order they were made, so that a process of the test may still write there: what it wrote is looked at anew. */
function remove(folder: string): void {
  for (let tries = 1; ; tries++) {
    try {
      rmSync(folder, { recursive: true, force: true, maxRetries: 3 });
      return;
    } catch (error) {
      if (tries === TRIES) throw error;
    }
  }
}

/** Writes files given as relative path -> text, making the folders between. */
export function writeTree(folder: string, files: Readonly<Record<string, string>>): void {
  for (const [name, text] of Object.entries(files)) {
    const file = path.join(folder, name);
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
}
