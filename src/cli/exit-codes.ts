/** Every exit code of the command line. docs/operations.md and `--help` show this table. */
export const EXIT_CODES = {
  0: 'Done. For `run` and `follow`: the task ended in SUCCESS. For `serve`: a clean stop.',
  1: 'A fault of the program itself.',
  2: 'The command line is wrong, or a file that it names.',
  3: 'The configuration has problems.',
  4: 'A required plugin did not load, or plugins conflict.',
  5: 'The daemon could not start for another reason, such as an address in use. For `check`: the machine has nothing left to start a plugin. For `state`: it cannot be opened or written.',
  6: 'The stop was forced: by a second signal, or because shutdown.forceAfter was over.',
  7: 'The daemon cannot be reached, or refused the call.',
  8: 'The state that was checked, exported or to be copied is damaged.',
  9: 'The other replicas took this one for dead, and one of them has its work; start it again.',
  10: 'The task ended in PERMANENT_FAILURE.',
  11: 'The task ended in RETRYABLE_FAILURE.',
  12: 'The task ended in ABORTED, or was deleted.',
  13: 'The task was not over within --timeout; it goes on.',
  129: 'Ended by SIGHUP with nothing to stop; a task that was followed goes on.',
  130: 'Interrupted by SIGINT; a task that was followed goes on.',
  131: 'Ended by SIGQUIT with nothing to stop; a task that was followed goes on.',
  143: 'Ended by SIGTERM with nothing to stop; a task that was followed goes on.',
} as const;

export type ExitCode = keyof typeof EXIT_CODES;

/** An error that already knows its exit code; the message is for a person, without a stack. */
export class CliError extends Error {
  readonly exitCode: ExitCode;
  /** A code of the error catalogue, shown before the message. */
  readonly code: string | undefined;

  constructor(exitCode: ExitCode, message: string, options: { code?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CliError';
    this.exitCode = exitCode;
    this.code = options.code;
  }
}

/** The lines of the table, for `--help`. */
export function exitCodeHelp(): string {
  const rows = Object.entries(EXIT_CODES).map(
    ([code, meaning]) => `  ${code.padStart(3)}  ${meaning.replaceAll('`', '')}`,
  );
  return ['Exit codes:', ...rows].join('\n');
}
