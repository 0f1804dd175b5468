import { access, constants, copyFile, mkdtemp, readdir, rm, symlink } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';

const LOCK = 'LOCK';
/** What the database tells of itself; nothing is read from it. */
const TOLD = new Set(['LOG', 'LOG.old']);
const TABLE = /^(\d+)\.(ldb|sst)$/;
const LOG = /^(\d+)\.log$/;

/** A database that is opened in the place of another one, which stays as it is. */
export interface Shadow {
  readonly dir: string;
  remove(): Promise<void>;
}

/**
 * Makes a folder that reads as the database does and is written to in its place: to open a LevelDB is to rewrite its log and
 * manifest, in files of whoever opens it, and what is damaged in them is gone then. Tables, which are never changed, are referred to;
 * what is younger than the log is copied, since a table of its number may be written. The lock is the database's own where it can be
 * taken: so nobody opens it meanwhile.
 */
export async function shadowOf(database: string): Promise<Shadow> {
  const dir = await mkdtemp(path.join(os.tmpdir(), 'plugin-host-state-'));
  const remove = () => rm(dir, { recursive: true, force: true });
  try {
    const names = await readdir(database);
    const logs = names.flatMap((name) => LOG.exec(name)?.[1] ?? []).map(Number);
    const firstNew = logs.length === 0 ? 0 : Math.min(...logs);
    for (const name of names) {
      const from = path.join(database, name);
      const table = TABLE.exec(name);
      if (table !== null && Number(table[1]) < firstNew) await symlink(path.resolve(from), path.join(dir, name));
      else if (name === LOCK) await linkWritable(from, path.join(dir, name));
      else if (!TOLD.has(name)) await copyFile(from, path.join(dir, name), constants.COPYFILE_FICLONE);
    }
    return { dir, remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

/** A lock that cannot be written cannot be taken, and nobody is kept out by it. */
async function linkWritable(from: string, to: string): Promise<void> {
  try {
    await access(from, constants.W_OK);
  } catch {
    return;
  }
  await symlink(path.resolve(from), to);
}
