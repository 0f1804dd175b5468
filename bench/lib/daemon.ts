import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const PLUGIN = fileURLToPath(new URL('../plugin.js', import.meta.url));
const START_MS = 180_000;

export interface DaemonOptions {
  /** Whether tasks are read a hundred a call. */
  readonly batch?: boolean;
  /** Live tasks it may hold. */
  readonly maxTasks: number;
  /** Reads a second and the longest time between two of a task; slow reads keep polling out of what is measured. */
  readonly readQps: number;
  readonly resyncInterval: string;
  /** Where its state is kept; nowhere unless given. */
  readonly stateDir?: string;
  /** A free one unless given. */
  readonly port?: number;
  /** Of node, before the daemon's own file. */
  readonly execArgv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

function configOf(options: DaemonOptions, counter: string): object {
  const { maxTasks, readQps, resyncInterval } = options;
  return {
    grpc: { host: '127.0.0.1', port: options.port ?? 0 },
    state: options.stateDir === undefined ? { engine: 'none' } : { dir: options.stateDir },
    admin: { host: '127.0.0.1', port: 0 },
    shutdown: { drainDelay: '0s', grace: '1s', forceAfter: '5s' },
    store: { maxTasks: maxTasks + 1000 },
    refresh: { pollShare: 1 },
    // What is asked for is answered from memory, however long ago it was read: reads are what is kept out of it.
    flyte: { maxStaleness: '0ms' },
    plugins: {
      bench: {
        source: PLUGIN,
        settings: { batch: options.batch === true, counter },
        config: {
          readRateLimiter: { qps: readQps, burst: Math.max(1, Math.min(10_000, Math.ceil(readQps))) },
          writeRateLimiter: { qps: 100_000, burst: 10_000 },
          caching: { size: Math.min(500_000, maxTasks + 1000), resyncInterval, workers: 100 },
        },
      },
    },
  };
}

/** The daemon as an operator runs it: its own process with a config file, its log in a file, a plugin process below it. */
export class Daemon {
  readonly pid: number;
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #folder: string;

  private constructor(child: ChildProcess, port: number, folder: string) {
    this.#child = child;
    this.pid = child.pid!;
    this.port = port;
    this.#folder = folder;
  }

  /** Throws with the end of its log when it is not ready within three minutes. */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-bench-'));
    const config = path.join(folder, 'config.json');
    writeFileSync(config, JSON.stringify(configOf(options, path.join(folder, 'counter'))));
    const logFile = path.join(folder, 'log');
    const log = openSync(logFile, 'w');
    const child = spawn(process.execPath, [...(options.execArgv ?? []), MAIN, 'serve', '--config', config], {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...options.env },
    });
    closeSync(log);
    try {
      const port = await readyPort(child, logFile);
      return new Daemon(child, port, folder);
    } catch (error) {
      child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Tasks that the plugin has read so far, each time it read them. */
  tasksRead(): number {
    return Number(readFileSync(path.join(this.#folder, 'counter'), 'utf8'));
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode === null && this.#child.signalCode === null) {
      const gone = once(this.#child, 'exit');
      this.#child.kill('SIGTERM');
      const hard = setTimeout(() => this.#child.kill('SIGKILL'), 20_000);
      await gone;
      clearTimeout(hard);
    }
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

async function readyPort(child: ChildProcess, logFile: string): Promise<number> {
  const until = performance.now() + START_MS;
  while (performance.now() < until && child.exitCode === null && child.signalCode === null) {
    const ready = readFileSync(logFile, 'utf8')
      .split('\n')
      .find((line) => line.includes('"daemon.ready"'));
    const port = ready === undefined ? undefined : /"grpc":"[^"]*:(\d+)"/.exec(ready)?.[1];
    if (port !== undefined) return Number(port);
    await sleep(50);
  }
  throw new Error(`the daemon did not become ready:\n${readFileSync(logFile, 'utf8').slice(-3000)}`);
}
