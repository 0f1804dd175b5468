import type { Stats } from 'node:fs';
import {
  chmod,
  chown,
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rename,
  stat,
  writeFile,
} from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { crc32 } from 'node:zlib';
import { HostError } from '../../errors/index.js';
import { damagedFiles, fileTrouble } from './trouble.js';

/** Format of the folder as a whole; that of each value is its own. */
const FOLDER_FORMAT = 1;
const MARKER = 'state.json';
/** The marker while it is written: it is whole or not there. */
const NEW_MARKER = 'state.json.new';
const HOLDER = 'holder.json';
const ACKNOWLEDGED = 'acknowledged';
const DATABASE = 'db';
/** What a file system itself puts into the root of a volume. */
const NOT_OURS = new Set(['lost+found']);

const ABSENT = new Map([
  ['ENOENT', 'does not exist'],
  ['ENOTDIR', 'is no folder'],
]);

/** Who has a folder. */
export interface Holder {
  readonly pid: number;
  readonly host: string;
  /** ISO 8601. */
  readonly since: string;
}

/** Paths and files of a state's folder, besides the database itself. All of it is the owner's alone. */
export class StateFolder {
  readonly dir: string;
  readonly database: string;
  readonly acknowledged: string;

  constructor(dir: string) {
    this.dir = dir;
    this.database = path.join(dir, DATABASE);
    this.acknowledged = path.join(dir, ACKNOWLEDGED);
  }

  /**
   * Makes the folder where there is none, and refuses one that is somebody else's, which stays as it is. Answers whether nothing was
   * in it.
   */
  async prepare(): Promise<{ readonly empty: boolean }> {
    try {
      const made = await mkdir(this.dir, { recursive: true, mode: 0o700 });
      const empty = await this.#assertOurs();
      await chmodOwn(this.dir, 0o700);
      // Says early, and in the system's own words, whether anything can be written here.
      if (empty) await this.#writeMarker();
      await mkdir(this.database, { recursive: true, mode: 0o700 });
      // A commit is as safe as the folder that it is in.
      if (empty) await syncFolder(this.dir);
      if (made !== undefined) await syncAbove(this.dir, made);
      return { empty };
    } catch (error) {
      throw fileTrouble(this.dir, 'cannot be written', error);
    }
  }

  /** True where nothing is, and for a folder in which no fact can be yet; throws what `prepare` throws of what is found. */
  async isEmpty(): Promise<boolean> {
    try {
      return await this.#assertOurs();
    } catch (error) {
      if ((error as { code?: string }).code === 'ENOENT') return true;
      throw fileTrouble(this.dir, 'cannot be read', error);
    }
  }

  /** Throws STATE_FOREIGN or STATE_FORMAT_NEWER for a folder that is no state, an empty one included. */
  async assertIsState(): Promise<void> {
    let empty: boolean;
    try {
      empty = await this.#assertOurs();
    } catch (error) {
      const absent = ABSENT.get(String((error as { code?: string }).code));
      if (absent !== undefined)
        throw new HostError('STATE_FOREIGN', `${this.dir} ${absent}, so there is no state in it`);
      throw fileTrouble(this.dir, 'cannot be read', error);
    }
    if (empty) throw new HostError('STATE_FOREIGN', `${this.dir} is empty, so there is no state in it`);
  }

  /** Throws STATE_FOREIGN, STATE_DAMAGED or STATE_FORMAT_NEWER. True for a folder in which no fact can be yet. */
  async #assertOurs(): Promise<boolean> {
    const names = (await readdir(this.dir)).filter((name) => !NOT_OURS.has(name) && name !== NEW_MARKER);
    const bare = await this.#isBare(names);
    // A first start that was cut short; the marker of one that was not is whole.
    if (bare && (!names.includes(MARKER) || (await stat(path.join(this.dir, MARKER))).size === 0)) return true;
    const marker = names.includes(MARKER) ? await this.#json(MARKER) : undefined;
    const format = (marker as { format?: unknown } | undefined)?.format;
    if (!Number.isSafeInteger(format)) {
      if (names.includes(MARKER) && names.includes(DATABASE)) {
        throw damagedFiles(this.dir, `${MARKER} is altered or cut off`);
      }
      const seen = names
        .slice(0, 3)
        .map((name) => JSON.stringify(name))
        .join(', ');
      throw new HostError(
        'STATE_FOREIGN',
        `${this.dir} holds ${seen} and no readable ${MARKER}, so it is no state of this daemon; set state.dir to an empty folder, or to the state's own`,
      );
    }
    if ((format as number) > FOLDER_FORMAT) {
      throw new HostError(
        'STATE_FORMAT_NEWER',
        `the state in ${this.dir} has format ${format}, this release knows ${FOLDER_FORMAT}; start the release that wrote it, or a later one`,
      );
    }
    return bare;
  }

  /** Whether nothing is there but what a start makes before it opens the database. */
  async #isBare(names: readonly string[]): Promise<boolean> {
    const others = names.filter((name) => name !== MARKER);
    if (others.length === 0) return true;
    return others.length === 1 && others[0] === DATABASE && (await readdir(this.database)).length === 0;
  }

  /** Says who has the folder, for a second one that finds it locked. */
  async writeHolder(sinceMs: number): Promise<void> {
    const holder: Holder = { pid: process.pid, host: os.hostname(), since: new Date(sinceMs).toISOString() };
    await this.#write(HOLDER, holder);
  }

  async holder(): Promise<Holder | undefined> {
    const found = (await this.#json(HOLDER)) as Partial<Holder> | undefined;
    return typeof found?.pid === 'number' && typeof found.host === 'string' && typeof found.since === 'string'
      ? (found as Holder)
      : undefined;
  }

  /** What the files take, the database's included. */
  async measure(): Promise<number> {
    let sum = 0;
    await this.#eachFile(async (_, { size }) => {
      sum += size;
    });
    return sum;
  }

  /** Makes those files the owner's alone that the database made since. */
  async keepPrivate(): Promise<void> {
    await this.#eachFile(async (file, { mode }) => {
      if ((mode & 0o077) !== 0) await chmodOwn(file, 0o600);
    });
  }

  /**
   * Gives the files to the owner of the folder, where root made them: a copy that root makes, or a daemon that was started as root
   * once, would lock the daemon's own user out.
   */
  async handOver(): Promise<void> {
    if (process.geteuid?.() !== 0) return;
    try {
      const { uid, gid } = await stat(this.dir);
      if (uid === 0) return;
      await chown(this.database, uid, gid);
      await this.#eachFile((file) => chown(file, uid, gid));
    } catch {
      // All is written; a file system that does not let root do this has an owner of its own for what root makes.
    }
  }

  async #eachFile(visit: (file: string, stats: Stats) => Promise<void>): Promise<void> {
    for (const dir of [this.dir, this.database]) {
      for (const name of await readdir(dir)) {
        const file = path.join(dir, name);
        try {
          if (name !== DATABASE && !NOT_OURS.has(name)) await visit(file, await stat(file));
        } catch (error) {
          // The database drops files whenever it has merged them.
          if ((error as { code?: string }).code !== 'ENOENT') throw error;
        }
      }
    }
  }

  async #json(name: string): Promise<unknown> {
    try {
      return JSON.parse(await readFile(path.join(this.dir, name), 'utf8'));
    } catch {
      return undefined;
    }
  }

  #write(name: string, content: object): Promise<void> {
    return writeFile(path.join(this.dir, name), `${JSON.stringify(content)}\n`, { mode: 0o600 });
  }

  /** Whole or not at all, whatever fails meanwhile: without it the folder is foreign. */
  async #writeMarker(): Promise<void> {
    const made = await open(path.join(this.dir, NEW_MARKER), 'w', 0o600);
    try {
      await made.writeFile(`${JSON.stringify({ format: FOLDER_FORMAT, what: 'state of webapi-plugin-host' })}\n`);
      await made.sync();
    } finally {
      await made.close();
    }
    await rename(path.join(this.dir, NEW_MARKER), path.join(this.dir, MARKER));
  }
}

/** For the owner alone, where that is the daemon: a volume may be another user's and still be given to it by its group. */
async function chmodOwn(file: string, mode: number): Promise<void> {
  try {
    await chmod(file, mode);
  } catch (error) {
    if ((error as { code?: string }).code !== 'EPERM') throw error;
  }
}

/** What was made, renamed and removed in a folder outlives a loss of power; not every file system, and not every user, can do this. */
async function syncFolder(dir: string): Promise<void> {
  try {
    const folder = await open(dir, 'r');
    await folder.sync().finally(() => folder.close());
  } catch (error) {
    const { code } = error as { code?: string };
    if (!['EACCES', 'EPERM', 'EINVAL', 'ENOTSUP', 'ENOSYS', 'EISDIR'].includes(String(code))) throw error;
  }
}

/** Each folder that holds one that was made just now. */
async function syncAbove(dir: string, firstMade: string): Promise<void> {
  const first = path.resolve(firstMade);
  for (let at = path.resolve(dir); ; at = path.dirname(at)) {
    await syncFolder(path.dirname(at));
    if (at === first || at === path.dirname(at)) return;
  }
}

/**
 * The number of the last commit that somebody was told of, in a file of its own: a database whose newest part was cut off
 * looks whole, and only this says that there was more. It is written after the commit is safe and never synced, so after a
 * loss of power it may say less than there is, and never more.
 */
export class Acknowledged {
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #inode: number;

  private constructor(file: string, handle: FileHandle, inode: number) {
    this.#path = file;
    this.#file = handle;
    this.#inode = inode;
  }

  /** What a file says that nobody has open; 0 where it is missing. */
  static async lastOf(file: string): Promise<number> {
    try {
      return commitIn(await readFile(file));
    } catch (error) {
      if ((error as { code?: string }).code === 'ENOENT') return 0;
      throw error;
    }
  }

  static async open(file: string): Promise<Acknowledged> {
    const handle = await open(file, 'a+', 0o600).then(async (made) => {
      await made.close();
      return open(file, 'r+');
    });
    return new Acknowledged(file, handle, (await handle.stat()).ino);
  }

  /** 0 where nothing, or nothing readable, is there. */
  async read(): Promise<number> {
    const bytes = Buffer.alloc(12);
    const { bytesRead } = await this.#file.read(bytes, 0, 12, 0);
    return commitIn(bytes.subarray(0, bytesRead));
  }

  /** Answers false when the file is not where it was: the folder was removed, or another took its place. */
  async write(commit: number): Promise<boolean> {
    const bytes = Buffer.alloc(12);
    bytes.writeBigUInt64BE(BigInt(commit), 0);
    bytes.writeUInt32BE(crc32(bytes.subarray(0, 8)), 8);
    await this.#file.write(bytes, 0, 12, 0);
    return this.inPlace();
  }

  async inPlace(): Promise<boolean> {
    try {
      return (await stat(this.#path)).ino === this.#inode;
    } catch (error) {
      if (['ENOENT', 'ENOTDIR'].includes(String((error as { code?: string }).code))) return false;
      throw error;
    }
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

function commitIn(bytes: Buffer): number {
  if (bytes.length !== 12 || bytes.readUInt32BE(8) !== crc32(bytes.subarray(0, 8))) return 0;
  return Number(bytes.readBigUInt64BE(0));
}
