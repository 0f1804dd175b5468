import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readdirSync, readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';

export interface ChildOptions {
  readonly name: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly logFile: string;
  readonly cwd?: string;
}

/** A process of the harness, its output in a file. Ends only by `stop`; an end of its own shows in `exited`. */
export class Child {
  readonly exited: Promise<{ code: number | null; signal: NodeJS.Signals | null }>;
  readonly #process: ChildProcess;
  #running = true;

  constructor(readonly options: ChildOptions) {
    const out = openSync(options.logFile, 'a');
    this.#process = spawn(options.command, options.args, {
      env: options.env,
      stdio: ['ignore', out, out],
      ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    });
    closeSync(out);
    this.exited = new Promise((resolve, reject) => {
      this.#process.once('error', (error) => {
        this.#running = false;
        reject(new Error(`${options.name} could not be started: ${error.message}`, { cause: error }));
      });
      this.#process.once('exit', (code, signal) => {
        this.#running = false;
        resolve({ code, signal });
      });
    });
    this.exited.catch(() => undefined);
  }

  get pid(): number {
    return this.#process.pid ?? -1;
  }

  get running(): boolean {
    return this.#running;
  }

  /** The last lines of the output, for a message about what went wrong. */
  tail(lines = 15): string {
    return readFileSync(this.options.logFile, 'utf8').trimEnd().split('\n').slice(-lines).join('\n');
  }

  /** Sends the signal and waits for the end; after `killAfterMs` SIGKILL. */
  async stop(
    signal: NodeJS.Signals = 'SIGTERM',
    killAfterMs = 20_000,
  ): Promise<{ code: number | null; signal: NodeJS.Signals | null }> {
    if (this.#running) this.#process.kill(signal);
    const timer = setTimeout(() => this.#process.kill('SIGKILL'), killAfterMs);
    try {
      return await this.exited;
    } finally {
      clearTimeout(timer);
    }
  }
}

/**
 * Asks until the answer is neither undefined nor false.
 * @throws Error naming what was waited for, once `timeoutMs` have passed or there is no hope left
 */
export async function until<T>(
  what: string,
  timeoutMs: number,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  everyMs = 100,
  isHopeless: () => boolean = () => false,
): Promise<T> {
  const end = Date.now() + timeoutMs;
  let last: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
      last = undefined;
    } catch (error) {
      last = error;
    }
    if (Date.now() > end || isHopeless()) {
      throw new Error(`waited ${timeoutMs / 1000} s for ${what}${last instanceof Error ? `: ${last.message}` : ''}`, {
        cause: last,
      });
    }
    await delay(everyMs);
  }
}

/** Ports of loopback that were free a moment ago: Slurm's daemons cannot be told to choose one and say which. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer();
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => resolve(server));
        }),
    ),
  );
  const ports = servers.map((server) => {
    const address = server.address();
    if (address === null || typeof address === 'string') throw new Error('no port on loopback');
    return address.port;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Processes started with `NAME=VALUE` in their environment: how jobs and their step daemons, no children of ours, are found. */
export function pidsWithEnvironment(name: string, value: string): number[] {
  const wanted = `${name}=${value}`;
  return readdirSync('/proc')
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/environ`, 'utf8').split('\0').includes(wanted);
      } catch {
        return false;
      }
    })
    .filter((pid) => pid !== process.pid);
}
