#!/usr/bin/env node
// The edge of the process: arguments, environment, signals, exit codes. Everything else is handed over.
import { isatty } from 'node:tty';
import { compiledDirectory, keepCompiledCode } from './cli/compile-cache.js';
import type { ExitCode } from './cli/exit-codes.js';
import { SIGNAL_EXIT, Signals, type StopSignal } from './cli/signals.js';
import { loadAtOnce } from './lib/load-at-once.js';
import { writeWithin } from './lib/write-within.js';

// Before anything else: without a taker Node opens its debugger on loopback, which a sidecar shares with its engine.
process.on('SIGUSR1', () => {});
// It has no meaning here, and would end the process.
process.on('SIGUSR2', () => {});

const exitNow = (code: ExitCode): never => process.exit(code);

// A signal that comes while modules load must end the process properly, too.
const signals = new Signals((signal) => exitNow(SIGNAL_EXIT[signal]));
for (const signal of Object.keys(SIGNAL_EXIT) as StopSignal[]) process.on(signal, () => signals.raise(signal));

/** For words of the last moment: a reader of standard error that takes nothing must not keep the process from its end. */
const LAST_WORDS_MS = 1_000;
const lastWords = (text: string): void =>
  void writeWithin(2, Buffer.from(`plugin-host: ${text}\n`), performance.now() + LAST_WORDS_MS);

// A reader that went away (`plugin-host plugins | head -1`) ends the output, not in a stack trace.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') exitNow(0);
  lastWords(`standard output cannot be written: ${error.message}`);
  exitNow(1);
});
// What is told there is told beside; nothing depends on its being read.
process.stderr.on('error', () => {});

process.on('uncaughtException', (error) => {
  lastWords(`INTERNAL: ${error.stack ?? error}`);
  exitNow(1);
});

// Whoever runs something nobody awaits may take what it rejects with; without a taker it ends the process as any throw.
let takeStray: ((thrown: unknown) => void) | undefined;
process.on('unhandledRejection', (thrown) => {
  if (takeStray === undefined) throw thrown;
  takeStray(thrown);
});

keepCompiledCode(compiledDirectory(process.env));

const { runCli } = await loadAtOnce(import.meta.url, './cli/program.js', () => import('./cli/program.js'));
const { packageVersion } = await import('./cli/version.js');

const exitCode = await runCli(
  process.argv.slice(2),
  {
    env: process.env,
    cwd: process.cwd(),
    // Opened by whoever asks for it.
    get stdin() {
      return process.stdin;
    },
    stdout: process.stdout,
    stderr: process.stderr,
    fromTerminal: isatty(0),
    signals,
    atExit: (fn) => void process.once('exit', fn),
    takeStrays: (take) => {
      takeStray = take;
    },
  },
  packageVersion(),
);
// A pipe takes what its reader takes: what was asked for is not cut off, however slow that is; a signal ends the wait. What
// cannot be written (a full disk) is told by the stream's error, one turn later. What stands beside has its time, no more.
await new Promise((resolve) => setImmediate(resolve));
if (process.stdout.writableLength > 0) await new Promise<unknown>((resolve) => process.stdout.write('', resolve));
if (process.stderr.writableLength > 0) {
  await new Promise<unknown>((resolve) => {
    setTimeout(resolve, LAST_WORDS_MS);
    process.stderr.write('', resolve);
  });
}
exitNow(exitCode);
