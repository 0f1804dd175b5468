import { closeSync, openSync } from 'node:fs';

/**
 * Names of system errors, and the system's words for them, that mean: the machine has no more of something, or does not get at a file
 * that is there (a disk, a network file system, somebody who writes it just now).
 */
const CODES = new Set([
  'EMFILE',
  'ENFILE',
  'ENOMEM',
  'EAGAIN',
  'ENOBUFS',
  'ENOSPC',
  'EDQUOT',
  'EIO',
  'ESTALE',
  'ETXTBSY',
]);
const WORDS =
  /\b(?:EMFILE|ENFILE|ENOMEM|EAGAIN|ENOBUFS|ENOSPC|EDQUOT|EIO|ESTALE|ETXTBSY|Input\/output error|Stale file handle|Text file busy|uv_thread_create|Too many open files|Cannot allocate memory|Resource temporarily unavailable|No buffer space available|No space left on device|Disk quota exceeded)\b/i;

/** File handles, memory, processes or disk space of the machine are used up, so that something could not be started or looked at. */
export class ShortageError extends Error {
  override readonly name = 'ShortageError';
}

/** Whether a system call failed because the machine ran short, rather than by a mistake of what was asked for. */
export function isShortage(error: unknown): boolean {
  if (error instanceof ShortageError) return true;
  if (!(error instanceof Error)) return false;
  const { code } = error as NodeJS.ErrnoException;
  // A thread says it in words: its code is ERR_WORKER_INIT_FAILED.
  return code !== undefined && (CODES.has(code) || (code === 'ERR_WORKER_INIT_FAILED' && tellsShortage(error.message)));
}

/** Whether a line that a starting process printed says that the machine ran short. */
export function tellsShortage(line: string): boolean {
  return WORDS.test(line);
}

/** Node's own search takes a file that it cannot open for one that is not there. Throws ShortageError where that may be why. */
export function assertHandles(): void {
  try {
    closeSync(openSync(process.execPath, 'r'));
  } catch (error) {
    if (isShortage(error)) throw new ShortageError(String(error), { cause: error });
  }
}

/** Causes that are looked through; a chain of them may be a ring. */
const MAX_CAUSES = 8;

/** Whether the machine ran short while plugin code was brought up, which then threw this, or something for this. Never throws. */
export function broughtUpShort(thrown: unknown): boolean {
  try {
    assertHandles();
    let error = thrown;
    for (let depth = 0; depth < MAX_CAUSES && error instanceof Error; depth++) {
      if (isShortage(error)) return true;
      error = error.cause;
    }
    return false;
  } catch (error) {
    // A getter of what was thrown may throw as well.
    return error instanceof ShortageError;
  }
}
