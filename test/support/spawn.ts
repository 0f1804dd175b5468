import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import type { TestContext } from 'node:test';
import { repoRoot } from './paths.js';
import { atTheEnd, searchFor } from './suite-secrets.js';

/** How a process ended, with everything it printed. */
export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunOptions {
  readonly cwd?: string;
  /** Added to this process's environment; undefined removes a name. */
  readonly env?: Readonly<Record<string, string | undefined>>;
}

/** A process under test: its pipes, what it printed so far, and its end. */
export interface Running {
  readonly child: ChildProcessWithoutNullStreams;
  readonly finished: Promise<Finished>;
  /** Resolves with the first match in stdout or stderr; rejects with all output when the process ends before it. */
  waitFor(pattern: RegExp): Promise<RegExpMatchArray>;
  output(): string;
}

/** Starts a command without a shell. It is killed when the test ends, if it still runs then, and what it printed is searched for secrets. */
export function start(t: TestContext, command: string, args: readonly string[], options: RunOptions = {}): Running {
  const child = spawn(command, args, {
    cwd: options.cwd ?? repoRoot,
    env: { ...process.env, ...options.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let stdout = '';
  let stderr = '';
  const watchers = new Set<() => void>();
  const notify = () => {
    for (const watcher of [...watchers]) watcher();
  };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text;
    notify();
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text;
    notify();
  });
  const output = () => stdout + stderr;
  const finished = once(child, 'close').then(([code, signal]) => ({ code, signal, stdout, stderr }) as Finished);
  // A command that cannot be spawned rejects here; the caller that awaits `finished` sees it.
  finished.catch(() => {});
  t.after(async () => {
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined) {
      child.kill('SIGKILL');
      await finished;
    }
    await atTheEnd(() => searchFor('log', `what ${path.basename(command)} ${args[0] ?? ''} printed`, output()));
  });

  function waitFor(pattern: RegExp): Promise<RegExpMatchArray> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const match = stdout.match(pattern) ?? stderr.match(pattern);
        if (!match) return;
        watchers.delete(look);
        resolve(match);
      };
      watchers.add(look);
      look();
      finished.then(
        (end) => reject(new Error(`ended (${end.code ?? end.signal}) before printing ${pattern}:\n${output()}`)),
        reject,
      );
    });
  }
  return { child, finished, waitFor, output };
}

/** Runs a command to its end. */
export async function run(
  t: TestContext,
  command: string,
  args: readonly string[],
  options: RunOptions = {},
): Promise<Finished> {
  const running = start(t, command, args, options);
  running.child.stdin.end();
  return running.finished;
}

/** Runs a script with this process's own Node. */
export function runNode(t: TestContext, args: readonly string[], options: RunOptions = {}): Promise<Finished> {
  return run(t, process.execPath, args, options);
}
