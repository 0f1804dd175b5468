import { PassThrough } from 'node:stream';
import type { TestContext } from 'node:test';
import { runCli } from '../../src/cli/program.js';
import { Signals } from '../../src/cli/signals.js';
import { tempFolder, writeTree } from '../support/temp.js';

/** Of `serve`: nothing is kept, any free ports on loopback, no wait at the stop. */
export const QUICK: readonly string[] = [
  '--set',
  'state.engine=none',
  '--set',
  'shutdown.drainDelay=0ms',
  '--port',
  '0',
  '--admin-port',
  '0',
  '--admin-host',
  '127.0.0.1',
];

/** A command under test, run in this process with streams of its own. */
export interface CliRun {
  readonly signals: Signals;
  readonly stdin: PassThrough;
  readonly exitCode: Promise<number>;
  stdout(): string;
  stderr(): string;
  /** Resolves when standard output and error together match; rejects when the command ends before. */
  waitFor(pattern: RegExp): Promise<void>;
}

export interface CliOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** Makes the streams say that they are a terminal. */
  readonly tty?: boolean;
}

/** What a command sees of its process, and what it wrote. */
export function streamsOf(options: CliOptions & { readonly columns?: number }, onText: () => void = () => {}) {
  const collect = () => {
    const stream = Object.assign(new PassThrough(), {
      isTTY: options.tty === true,
      columns: options.columns ?? 80,
      cursorTo: () => true,
      clearLine: () => true,
      moveCursor: () => true,
    });
    let text = '';
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      text += chunk;
      onText();
    });
    return { stream, text: () => text };
  };
  const out = collect();
  const err = collect();
  const stdin = Object.assign(new PassThrough(), { isTTY: options.tty === true });
  const signals = new Signals((signal) => {
    throw new Error(`nobody listened for ${signal}`);
  });
  const { env = {}, cwd = process.cwd() } = options;
  const io = {
    env,
    cwd,
    stdin,
    stdout: out.stream,
    stderr: err.stream,
    fromTerminal: options.tty === true,
    signals,
    atExit: () => {},
    takeStrays: () => {},
  };
  return { io, stdin, signals, stdout: out.text, stderr: err.text };
}

export function startCli(args: readonly string[], options: CliOptions = {}): CliRun {
  const watchers = new Set<() => void>();
  const { io, stdin, signals, stdout, stderr } = streamsOf(options, () => {
    for (const watcher of [...watchers]) watcher();
  });
  const exitCode = runCli(args, io, '9.8.7');
  return {
    signals,
    stdin,
    exitCode,
    stdout,
    stderr,
    waitFor(pattern) {
      return new Promise((resolve, reject) => {
        const look = () => {
          if (!pattern.test(stdout() + stderr())) return;
          watchers.delete(look);
          resolve();
        };
        watchers.add(look);
        look();
        void exitCode.then(() => reject(new Error(`ended before ${pattern}:\n${stdout()}${stderr()}`)));
      });
    },
  };
}

/** Runs a command to its end. */
export async function cli(
  args: readonly string[],
  options: CliOptions = {},
): Promise<{ code: number; stdout: string; stderr: string }> {
  const run = startCli(args, options);
  const code = await run.exitCode;
  // What was written is read by now, or in the next turn of the loop.
  await new Promise((resolve) => setImmediate(resolve));
  return { code, stdout: run.stdout(), stderr: run.stderr() };
}

/** A folder with these files, gone when the test ends. */
export function folderWith(t: TestContext, files: Readonly<Record<string, string>>): string {
  const folder = tempFolder(t);
  writeTree(folder, files);
  return folder;
}
