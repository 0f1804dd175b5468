import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { NODE_FLAGS } from './processes.js';

const MAIN = fileURLToPath(new URL('../../src/main.js', import.meta.url));
const PLUGIN = fileURLToPath(new URL('../plugin.js', import.meta.url));
const START_MS = 180_000;
const TOKEN = 'a-token-of-the-bench';

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
  /** How the database of its state is reached (`state.postgres`); it is one of several replicas on this machine then. */
  readonly database?: object;
  /** Into how many parts that state is divided; one unless given. */
  readonly parts?: number;
  /** How many plugins it runs; one unless given. Tasks are of the first. */
  readonly plugins?: number;
  /** How often a task's state changes between two reads of it, in seconds; never unless given. */
  readonly changeS?: number;
  /** How long a task's job runs, in seconds; without an end unless given. */
  readonly endS?: number;
  /** Further plugins, by id. */
  readonly others?: Readonly<Record<string, { readonly source: string; readonly settings: object }>>;
  /** A free one unless given. */
  readonly port?: number;
  /** Of node, beside what operators start it with. */
  readonly execArgv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** Of the plugin with this number, in the daemon's folder. */
function sourceOf(folder: string, index: number): readonly [id: string, source: string] {
  if (index === 0) return ['bench', PLUGIN];
  const id = `bench-${index}`;
  const source = path.join(folder, `${id}.mjs`);
  writeFileSync(
    source,
    `import { benchPlugin } from ${JSON.stringify(PLUGIN)};\nexport default benchPlugin('${id}');\n`,
  );
  return [id, source];
}

function pluginsOf(options: DaemonOptions, folder: string): object {
  const { maxTasks, readQps, resyncInterval, batch = false, changeS = 0, endS = 0, plugins = 1, others = {} } = options;
  const config = {
    readRateLimiter: { qps: readQps, burst: Math.max(1, Math.min(10_000, Math.ceil(readQps))) },
    writeRateLimiter: { qps: 100_000, burst: 10_000 },
    caching: { size: Math.min(500_000, maxTasks + 1000), resyncInterval, workers: 100 },
  };
  const entries = Array.from({ length: plugins }, (_, index) => {
    const [id, source] = sourceOf(folder, index);
    return [id, { source, settings: { batch, changeS, endS, counter: path.join(folder, counterOf(index)) }, config }];
  });
  return { ...Object.fromEntries(entries), ...others };
}

/** The file that a plugin counts its reads in. */
const counterOf = (index: number): string => `counter-${index}`;

/** Sections that say where the state is, and among whom. */
function stateOf({ stateDir, database, parts = 1 }: DaemonOptions): object {
  if (database === undefined) return { state: stateDir === undefined ? { engine: 'none' } : { dir: stateDir } };
  return {
    state: { engine: 'postgres', parts, postgres: database },
    cluster: { enabled: true, advertise: '127.0.0.1', loopback: 'for-tests-on-one-machine' },
  };
}

function configOf(options: DaemonOptions, folder: string): object {
  const { maxTasks } = options;
  return {
    grpc: { host: '127.0.0.1', port: options.port ?? 0 },
    ...stateOf(options),
    admin: { host: '127.0.0.1', port: 0, token: TOKEN },
    shutdown: { drainDelay: '0s', grace: '1s', forceAfter: '5s' },
    store: { maxTasks: maxTasks + 1000 },
    refresh: { pollShare: 1 },
    // What is asked for is answered from memory, however long ago it was read: reads are what is kept out of it.
    flyte: { maxStaleness: '0ms' },
    plugins: pluginsOf(options, folder),
  };
}

/** The daemon as an operator runs it: its own process with a config file, its log in a file, a plugin process below it. */
export class Daemon {
  readonly pid: number;
  readonly port: number;
  readonly #child: ChildProcess;
  readonly #folder: string;
  readonly #adminPort: number;

  private constructor(child: ChildProcess, ports: Ports, folder: string) {
    this.#child = child;
    this.pid = child.pid!;
    this.port = ports.grpc;
    this.#adminPort = ports.admin;
    this.#folder = folder;
  }

  /** Throws with the end of its log when it is not ready within three minutes. */
  static async start(options: DaemonOptions): Promise<Daemon> {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-bench-'));
    const config = path.join(folder, 'config.json');
    writeFileSync(config, JSON.stringify(configOf(options, folder)));
    const logFile = path.join(folder, 'log');
    const log = openSync(logFile, 'w');
    const child = spawn(
      process.execPath,
      [...NODE_FLAGS, ...(options.execArgv ?? []), MAIN, 'serve', '--config', config],
      {
        stdio: ['ignore', log, log],
        env: { ...process.env, ...options.env },
      },
    );
    closeSync(log);
    try {
      return new Daemon(child, await readyPorts(child, logFile), folder);
    } catch (error) {
      child.kill('SIGKILL');
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  /** Tasks that the plugin has read so far, each time it read them. */
  tasksRead(): number {
    return Number(readFileSync(path.join(this.#folder, counterOf(0)), 'utf8'));
  }

  /** How many lines of its log tell of this event. */
  logged(event: string): number {
    return readFileSync(path.join(this.#folder, 'log'), 'utf8').split(`"${event}"`).length - 1;
  }

  /** A number of the first line of its log that tells of this event. Throws where none does. */
  loggedField(event: string, field: string): number {
    const line = readFileSync(path.join(this.#folder, 'log'), 'utf8')
      .split('\n')
      .find((text) => text.includes(`"${event}"`));
    if (line === undefined) throw new Error(`the log tells of no ${event}`);
    return Number((JSON.parse(line) as Readonly<Record<string, unknown>>)[field]);
  }

  /** The sum over all labels of a metric; of one series where its labels are given as they are written. */
  async metric(name: string): Promise<number> {
    const text = await (await fetch(`http://127.0.0.1:${this.#adminPort}/metrics`)).text();
    const lines = text.split('\n').filter((line) => line.startsWith(`${name} `) || line.startsWith(`${name}{`));
    return lines.reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(' ') + 1)), 0);
  }

  /** The parts of the tasks that it works on, by its own word. */
  async parts(): Promise<readonly number[]> {
    const headers = { authorization: `Bearer ${TOKEN}` };
    const answer = await fetch(`http://127.0.0.1:${this.#adminPort}/v1/cluster`, { headers });
    const { parts } = (await answer.json()) as { parts: readonly { part: number; state?: string }[] };
    return parts.filter(({ state }) => state === 'owned').map(({ part }) => part);
  }

  /** Resolves when the process is gone; its folder stays until `stop`. */
  async end(signal: 'SIGTERM' | 'SIGKILL'): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill(signal);
    const hard = setTimeout(() => this.#child.kill('SIGKILL'), 20_000);
    await gone;
    clearTimeout(hard);
  }

  async stop(): Promise<void> {
    await this.end('SIGTERM');
    rmSync(this.#folder, { recursive: true, force: true });
  }
}

interface Ports {
  readonly grpc: number;
  readonly admin: number;
}

async function readyPorts(child: ChildProcess, logFile: string): Promise<Ports> {
  const until = performance.now() + START_MS;
  while (performance.now() < until && child.exitCode === null && child.signalCode === null) {
    const ready = readFileSync(logFile, 'utf8')
      .split('\n')
      .find((line) => line.includes('"daemon.ready"'));
    const portOf = (listener: string) => new RegExp(`"${listener}":"[^"]*:(\\d+)"`).exec(ready ?? '')?.[1];
    const [grpc, admin] = [portOf('grpc'), portOf('admin')];
    if (grpc !== undefined && admin !== undefined) return { grpc: Number(grpc), admin: Number(admin) };
    await sleep(10);
  }
  throw new Error(`the daemon did not become ready:\n${readFileSync(logFile, 'utf8').slice(-3000)}`);
}
