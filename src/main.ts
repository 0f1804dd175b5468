#!/usr/bin/env node
// The edge of the process: arguments, environment, signals, exit codes. Everything else is handed over.
import type { ExitCode } from './cli/exit-codes.js';
import { Signals, type StopSignal } from './cli/signals.js';

const SIGNAL_EXIT: Readonly<Record<StopSignal, ExitCode>> = { SIGINT: 130, SIGTERM: 143 };

const exitNow = (code: ExitCode): never => process.exit(code);

// First of all: a signal that comes while modules load must end the process properly, too.
const signals = new Signals((signal) => exitNow(SIGNAL_EXIT[signal]));
process.on('SIGINT', () => signals.raise('SIGINT'));
process.on('SIGTERM', () => signals.raise('SIGTERM'));

// A reader that went away (`plugin-host plugins | head -1`) ends the output, not in a stack trace.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') exitNow(0);
  process.stderr.write(`plugin-host: standard output cannot be written: ${error.message}\n`);
  exitNow(1);
});

process.on('uncaughtException', (error) => {
  process.stderr.write(`plugin-host: INTERNAL: ${error.stack ?? error}\n`);
  exitNow(1);
});

// Whoever runs something nobody awaits may take what it rejects with; without a taker it ends the process as any throw.
let takeStray: ((thrown: unknown) => void) | undefined;
process.on('unhandledRejection', (thrown) => {
  if (takeStray === undefined) throw thrown;
  takeStray(thrown);
});

const { runCli } = await import('./cli/program.js');
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
    signals,
    atExit: (fn) => void process.once('exit', fn),
    takeStrays: (take) => {
      takeStray = take;
    },
  },
  packageVersion(),
);
// Standard output and error are synchronous for files, pipes and terminals on POSIX: nothing written is lost here. What
// could not be written (a full disk) is told one turn later.
await new Promise((resolve) => setImmediate(resolve));
exitNow(exitCode);
