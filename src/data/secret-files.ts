import type { Stats } from 'node:fs';
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';

/** What a folder of secrets is read up to; what is beyond is counted. */
export const SECRET_FILES = { max: 2_000, maxFileBytes: 1024 * 1024, maxBytes: 8 * 1024 * 1024 } as const;

export interface SecretFilesRead {
  /** Files that are new or have changed since the last look, by their paths; without the line break at their end. */
  readonly fresh: readonly { readonly file: string; readonly text: string }[];
  /** Those that were there at the last look. */
  readonly gone: readonly string[];
  /** Files that were not read: too many, too large, or closed to this process. */
  readonly left: number;
}

/**
 * The files of a folder of secrets, `<key>` and `<group>/<key>`, as a plugin may read them by itself. Folders whose name
 * begins with two dots are where Kubernetes keeps what the others point to.
 */
export class SecretFiles {
  readonly #dir: string;
  /** What told a file's state at the last look, by its path. */
  #seen = new Map<string, string>();

  constructor(dir: string) {
    this.#dir = dir;
  }

  /** Reads what changed. Never rejects; a folder that is not there has no files. */
  async look(): Promise<SecretFilesRead> {
    const seen = new Map<string, string>();
    const fresh: { readonly file: string; readonly text: string }[] = [];
    let bytes = 0;
    let left = 0;
    for (const file of await this.#files()) {
      const found = await stat(file).catch(() => undefined);
      if (found === undefined || !found.isFile()) continue;
      bytes += found.size;
      const tooMuch = seen.size >= SECRET_FILES.max || bytes > SECRET_FILES.maxBytes;
      if (tooMuch || found.size > SECRET_FILES.maxFileBytes) {
        left++;
        continue;
      }
      const state = stateOf(found);
      seen.set(file, state);
      if (this.#seen.get(file) === state) continue;
      const text = await readFile(file, 'utf8').catch(() => undefined);
      if (text === undefined) left++;
      else fresh.push({ file, text: text.replace(/\r?\n$/, '') });
    }
    const gone = [...this.#seen.keys()].filter((file) => !seen.has(file));
    this.#seen = seen;
    return { fresh, gone, left };
  }

  async #files(): Promise<string[]> {
    const found: string[] = [];
    for (const entry of await namesIn(this.#dir)) {
      found.push(entry);
      found.push(...(await namesIn(entry)));
      // Each costs a look at the disk.
      if (found.length > 4 * SECRET_FILES.max) break;
    }
    return found;
  }
}

async function namesIn(folder: string): Promise<string[]> {
  const names = await readdir(folder).catch(() => []);
  return names.filter((name) => !name.startsWith('..')).map((name) => path.join(folder, name));
}

function stateOf({ ino, size, mtimeMs, ctimeMs }: Stats): string {
  return `${ino}:${size}:${mtimeMs}:${ctimeMs}`;
}
