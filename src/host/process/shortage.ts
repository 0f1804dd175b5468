/** Names of system errors, and the system's words for them, that mean: the machine has no more of something. */
const CODES = new Set(['EMFILE', 'ENFILE', 'ENOMEM', 'EAGAIN']);
const WORDS =
  /\b(?:EMFILE|ENFILE|ENOMEM|EAGAIN|uv_thread_create|Too many open files|Cannot allocate memory|Resource temporarily unavailable)\b/i;

/** File handles, memory or processes of the machine are used up, so that a process or thread could not be started. */
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
