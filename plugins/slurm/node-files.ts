import { constants } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { PermanentError } from 'webapi-plugin-host';

/** Most bytes one log page reads, however few line breaks they hold. */
const PAGE_BYTES = 256 * 1024;

/**
 * Opens a file that a job wrote. The job's user owns the directory, so neither a link (which would show that user a
 * file only the daemon may read) nor a pipe (which would hang) is opened. Undefined when it is not there.
 */
async function openPlain(file: string): Promise<FileHandle | undefined> {
  let handle: FileHandle;
  try {
    handle = await open(file, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    if (code === 'ELOOP')
      throw new PermanentError(`${file} is a link; a log must be a plain file`, { faultKind: 'USER' });
    throw error;
  }
  if ((await handle.stat()).isFile()) return handle;
  await handle.close();
  throw new PermanentError(`${file} is not a plain file`, { faultKind: 'USER' });
}

/** The exit code that a job left; undefined when there is none (killed, or the directory is not mounted here). */
export async function readExitCode(file: string): Promise<number | undefined> {
  const handle = await openPlain(file);
  if (handle === undefined) return undefined;
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(16), 0, 16, 0);
    const text = buffer.toString('latin1', 0, bytesRead).trim();
    return /^\d{1,3}$/.test(text) && Number(text) <= 255 ? Number(text) : undefined;
  } finally {
    await handle.close();
  }
}

/**
 * A page of a log file from byte `offset` on. It ends with a line, except at the end of the file and for a line longer
 * than a page. `next` is where the following page begins, undefined when there is nothing more now. A file that is not
 * there, as before the job starts, has no lines.
 */
export async function readLogPage(
  file: string,
  offset: number,
  most: number,
): Promise<{ lines: string[]; next: number | undefined }> {
  const handle = await openPlain(file);
  if (handle === undefined) return { lines: [], next: undefined };
  try {
    const { size } = await handle.stat();
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(PAGE_BYTES), 0, PAGE_BYTES, offset);
    const page = cutLines(buffer.subarray(0, bytesRead), most, offset + bytesRead >= size);
    const next = offset + page.bytes;
    return { lines: page.lines, next: next < size && page.bytes > 0 ? next : undefined };
  } finally {
    await handle.close();
  }
}

function cutLines(bytes: Buffer, most: number, atEnd: boolean): { lines: string[]; bytes: number } {
  const lines: string[] = [];
  let at = 0;
  while (lines.length < most && at < bytes.length) {
    const end = bytes.indexOf(0x0a, at);
    if (end < 0) {
      // the line goes on behind the page: it begins the next one, unless it fills this one by itself
      if (!atEnd && at > 0) break;
      lines.push(bytes.toString('utf8', at));
      at = bytes.length;
    } else {
      lines.push(bytes.toString('utf8', at, end));
      at = end + 1;
    }
  }
  return { lines, bytes: at };
}
