import type { Readable, Writable } from 'node:stream';
import type { SignalSource } from './signals.js';

/** What a command sees of its process; main.ts hands in the real one. */
export interface CliIo {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  readonly stdin: Readable & { readonly isTTY?: boolean | undefined };
  readonly stdout: Writable & { readonly isTTY?: boolean | undefined; readonly columns?: number | undefined };
  readonly stderr: Writable & { readonly isTTY?: boolean | undefined; readonly columns?: number | undefined };
  /** Whether standard input was a terminal when the process began; one that hung up is none any more. */
  readonly fromTerminal: boolean;
  readonly signals: SignalSource;
  /** Registers what has to be done, synchronously, however the process ends short of SIGKILL. */
  atExit(fn: () => void): void;
  /** From now on `take` gets what a promise that nobody awaits rejects with, which ends the process otherwise. */
  takeStrays(take: (thrown: unknown) => void): void;
}

/** Writes lines to standard output: what the command was asked for. */
export function print(io: CliIo, ...lines: readonly string[]): void {
  for (const line of lines) io.stdout.write(`${line}\n`);
}

/** Writes lines to standard error: what goes on beside. */
export function note(io: CliIo, ...lines: readonly string[]): void {
  for (const line of lines) io.stderr.write(`${line}\n`);
}

/** Whether colours and moving lines are welcome. */
export function isInteractive(io: CliIo): boolean {
  // A terminal of no width (a pseudo-terminal that nobody sized) would keep the moving line clearing for ever.
  return io.stderr.isTTY === true && (io.stderr.columns ?? 0) > 0 && io.env.TERM !== 'dumb' && io.env.CI === undefined;
}

/** Whether the caller's environment allows colours (https://no-color.org: any value but an empty one forbids them). */
export function mayColor(io: CliIo): boolean {
  return (io.env.NO_COLOR ?? '') === '';
}

/**
 * Text from elsewhere (reasons, outputs, plugin names), safe to show on a terminal: control characters are replaced,
 * line ends kept only where asked for.
 */
export function printable(text: string, keepLines = false): string {
  const lines = keepLines ? text : text.replace(/\s*\r?\n\s*/g, ' ');
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what this is about
  return lines.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, '�').replaceAll('\t', '  ');
}
