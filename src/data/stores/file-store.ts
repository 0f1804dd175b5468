import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, readdir, realpath, rename, unlink } from 'node:fs/promises';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { HostError } from '../../errors/index.js';
import type { DataCallOptions, DataReadOptions, DataStore } from '../../plugin-api/data.js';
import { abortedError, throwIfAborted } from './abort.js';
import { assertListable, bounded, boundOf, collect, tooLarge } from './limits.js';
import { parseLocation, shown, unsupported } from './location.js';

export interface FileStoreOptions {
  /** Absolute folders; nothing outside of them is touched, also not through symbolic links. */
  readonly roots: readonly string[];
  readonly maxObjectBytes: number;
}

/** Files that `put` has not finished; a listing leaves them out. */
const UNFINISHED = /^\.[0-9a-f-]{36}\.unfinished$/;
/** No symbolic link at the end (the path was resolved before), and no waiting on a pipe. */
const READ_FLAGS = constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK;

const NOT_FOUND = new Set(['ENOENT', 'ENOTDIR', 'EISDIR', 'ELOOP']);
/** On writing: a file where a folder is needed, or the reverse. */
const IN_THE_WAY = new Set(['EISDIR', 'ENOTDIR', 'EEXIST', 'ENOTEMPTY']);
const DENIED = new Set(['EACCES', 'EPERM', 'EROFS']);

function errorOf(thrown: unknown, uri: string, signal?: AbortSignal): HostError {
  if (HostError.is(thrown)) return thrown;
  if (signal?.aborted) return abortedError(signal, shown(uri));
  const code = (thrown as NodeJS.ErrnoException)?.code ?? 'unknown';
  const cause = { cause: thrown };
  if (NOT_FOUND.has(code))
    return new HostError('DATA_NOT_FOUND', `${shown(uri)}: there is no such file (${code}).`, cause);
  if (DENIED.has(code)) {
    return new HostError('DATA_ACCESS_DENIED', `${shown(uri)}: the file system refuses access (${code}).`, cause);
  }
  if (code === 'ENAMETOOLONG') return unsupported(uri, 'the path is too long for the file system', thrown);
  return new HostError('DATA_UNAVAILABLE', `${shown(uri)}: the file system failed (${code}).`, cause);
}

function isWithin(root: string, file: string): boolean {
  const relative = path.relative(root, file);
  return relative === '' || (relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative));
}

function objectUri(uri: string): string {
  if (uri.endsWith('/')) throw unsupported(uri, 'it names a folder, not a file');
  return uri;
}

/** The path with all links resolved, as far down as it exists. */
async function resolveLinks(file: string): Promise<string> {
  const missing: string[] = [];
  for (let at = file; ; at = path.dirname(at)) {
    try {
      return path.join(await realpath(at), ...missing);
    } catch (thrown) {
      const code = (thrown as NodeJS.ErrnoException).code;
      if ((code !== 'ENOENT' && code !== 'ENOTDIR') || at === path.dirname(at)) throw thrown;
      missing.unshift(path.basename(at));
    }
  }
}

/** Local files below the allowed roots. */
export class FileStore implements DataStore {
  private readonly roots: readonly string[];

  constructor(private readonly options: FileStoreOptions) {
    for (const root of options.roots) {
      if (!path.isAbsolute(root)) throw unsupported(root, 'a local root must be an absolute path');
    }
    this.roots = options.roots.map((root) => path.resolve(root));
  }

  async exists(uri: string, options: DataCallOptions = {}): Promise<boolean> {
    try {
      const handle = await this.openFile(uri, options.signal);
      await handle.close();
      return true;
    } catch (thrown) {
      const error = errorOf(thrown, uri, options.signal);
      if (error.code === 'DATA_NOT_FOUND') return false;
      throw error;
    }
  }

  async get(uri: string, options: DataReadOptions = {}): Promise<Uint8Array> {
    const limit = boundOf(this.options.maxObjectBytes, options.maxBytes);
    return collect(uri, this.stream(uri, options), limit);
  }

  async *stream(uri: string, options: DataReadOptions = {}): AsyncGenerator<Uint8Array> {
    const limit = boundOf(this.options.maxObjectBytes, options.maxBytes);
    let handle: FileHandle | undefined;
    try {
      handle = await this.openFile(uri, options.signal);
      const { size } = await handle.stat();
      if (size > limit) throw tooLarge(uri, `the file has ${size} bytes`, limit);
      const { signal } = options;
      const pieces = handle.createReadStream({ autoClose: false, ...(signal === undefined ? {} : { signal }) });
      yield* bounded(uri, pieces, limit);
    } catch (thrown) {
      throw errorOf(thrown, uri, options.signal);
    } finally {
      await handle?.close();
    }
  }

  async put(uri: string, data: Uint8Array, options: DataCallOptions = {}): Promise<void> {
    const limit = this.options.maxObjectBytes;
    if (data.length > limit) throw tooLarge(uri, `there are ${data.length} bytes to write`, limit);
    try {
      const file = await this.locate(objectUri(uri), options.signal);
      const unfinished = path.join(path.dirname(file), `.${randomUUID()}.unfinished`);
      await mkdir(path.dirname(file), { recursive: true });
      try {
        await writeSynced(unfinished, data);
        throwIfAborted(options.signal, shown(uri));
        await rename(unfinished, file);
      } catch (thrown) {
        await unlink(unfinished).catch(() => undefined);
        throw thrown;
      }
    } catch (thrown) {
      const code = (thrown as NodeJS.ErrnoException).code ?? '';
      if (IN_THE_WAY.has(code)) throw unsupported(uri, `a file or folder is in the way (${code})`, thrown);
      throw errorOf(thrown, uri, options.signal);
    }
  }

  async list(folder: string, options: DataCallOptions = {}): Promise<string[]> {
    const location = parseLocation(folder);
    const asUrl = location.scheme === 'file' && location.url;
    const found: string[] = [];
    try {
      const top = await this.locate(folder, options.signal);
      await this.walk(folder, top, '', found, options.signal);
    } catch (thrown) {
      const error = errorOf(thrown, folder, options.signal);
      if (error.code === 'DATA_NOT_FOUND') return [];
      throw error;
    }
    // URIs are below the folder as it was asked for, whatever links led there.
    const base = location.scheme === 'file' ? location.path : folder;
    const files = found.sort().map((name) => path.join(base, name));
    return asUrl ? files.map((file) => pathToFileURL(file).href) : files;
  }

  async delete(uri: string, options: DataCallOptions = {}): Promise<void> {
    try {
      await unlink(await this.locate(objectUri(uri), options.signal));
    } catch (thrown) {
      const code = (thrown as NodeJS.ErrnoException).code;
      if (code === 'ENOENT' || code === 'ENOTDIR') return;
      throw errorOf(thrown, uri, options.signal);
    }
  }

  private async walk(uri: string, top: string, below: string, found: string[], signal?: AbortSignal): Promise<void> {
    throwIfAborted(signal, shown(uri));
    for (const entry of await readdir(path.join(top, below), { withFileTypes: true })) {
      const name = path.join(below, entry.name);
      if (entry.isDirectory()) await this.walk(uri, top, name, found, signal);
      else if (entry.isFile() && !UNFINISHED.test(entry.name)) found.push(name);
      assertListable(uri, found.length);
    }
  }

  private async openFile(uri: string, signal: AbortSignal | undefined): Promise<FileHandle> {
    const handle = await open(await this.locate(objectUri(uri), signal), READ_FLAGS);
    if ((await handle.stat()).isFile()) return handle;
    await handle.close();
    throw new HostError('DATA_NOT_FOUND', `${shown(uri)}: it is not a regular file.`);
  }

  /** The real path of a URI. Throws DATA_LOCATION_UNSUPPORTED where it lies, or a link leads, outside of the roots. */
  private async locate(uri: string, signal: AbortSignal | undefined): Promise<string> {
    throwIfAborted(signal, shown(uri));
    const location = parseLocation(uri);
    if (location.scheme !== 'file') throw unsupported(uri, 'not a local file');
    const file = path.resolve(location.path);
    if (this.roots.length === 0) throw unsupported(uri, 'local files are off; no local root is configured');
    const roots = this.roots.filter((root) => isWithin(root, file));
    if (roots.length === 0) throw unsupported(uri, 'it lies outside the allowed local roots');
    const real = await resolveLinks(file);
    for (const root of roots) {
      if (isWithin(await resolveLinks(root), real)) return real;
    }
    throw unsupported(uri, 'a symbolic link leads outside the allowed local roots');
  }
}

async function writeSynced(file: string, data: Uint8Array): Promise<void> {
  const handle = await open(file, 'wx', 0o640);
  try {
    await handle.writeFile(data);
    await handle.sync();
  } finally {
    await handle.close();
  }
}
