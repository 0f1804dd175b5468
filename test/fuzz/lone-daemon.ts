import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { openSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { compiled } from '../support/paths.js';
import { givenIn, SUITE_VARIABLES, searchAdmin, suiteSecret, withSecrets } from '../support/suite-secrets.js';
import { type Cleanup, tempFolder } from '../support/temp.js';

const START_MS = 60_000;
const WIDE = { qps: 100_000, burst: 10_000 };

/** What handles are signed with here, so that handles can be made up whose signature is right. */
export const KEY = suiteSecret('handleKey');

/** Few tasks and short memories, so that everything that is bounded is full soon and what grows then grows for no reason. */
function configOf(folder: string, format: 'json' | 'text') {
  const config = { readRateLimiter: WIDE, writeRateLimiter: WIDE };
  return {
    grpc: { host: '127.0.0.1', port: 0 },
    admin: { host: '127.0.0.1', port: 0 },
    log: { format },
    state: { dir: path.join(folder, 'state') },
    handles: { keysFile: path.join(folder, 'keys') },
    store: { maxTasks: 2_000, finished: { maxCount: 1_000 } },
    shutdown: { drainDelay: '0s', grace: '1s', forceAfter: '5s' },
    plugins: {
      fuzz: { source: compiled('test/fuzz/plugin.ts'), config },
      'fuzz-sync': { source: compiled('test/fuzz/sync-plugin.ts'), config },
    },
  };
}

/** A daemon as a process that can be asked what it holds. */
export class LoneDaemon {
  readonly grpcPort: number;
  readonly adminPort: number;
  readonly #child: ChildProcess;
  readonly #log: string;
  readonly #hookPort: number;

  private constructor(child: ChildProcess, log: string, ports: { grpc: number; admin: number; hook: number }) {
    this.#child = child;
    this.#log = log;
    this.grpcPort = ports.grpc;
    this.adminPort = ports.admin;
    this.#hookPort = ports.hook;
  }

  /** What it shows at the end, and what it leaves, is searched for secrets. */
  static async start(undo: Cleanup, format: 'json' | 'text' = 'json'): Promise<LoneDaemon> {
    const folder = tempFolder(undo, 'plugin-host-fuzz-');
    const hook = path.join(folder, 'hook');
    const log = path.join(folder, 'log');
    writeFileSync(givenIn(path.join(folder, 'keys')), KEY, { mode: 0o600 });
    writeFileSync(givenIn(path.join(folder, 'config.json')), JSON.stringify(withSecrets(configOf(folder, format))));
    const out = openSync(log, 'w');
    const words = ['--expose-gc', '--import', compiled('bench/hook.ts'), compiled('src/main.ts'), 'serve'];
    const child = spawn(process.execPath, [...words, '--config', 'config.json'], {
      cwd: folder,
      stdio: ['ignore', out, out],
      env: { ...process.env, ...SUITE_VARIABLES, BENCH_HOOK_FILE: hook },
    });
    undo.after(async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill('SIGKILL');
      await once(child, 'exit');
    });
    for (
      const end = performance.now() + START_MS;
      performance.now() < end && child.exitCode === null;
      await sleep(20)
    ) {
      const [, grpc, admin] =
        /daemon\.ready.*?grpc["=:]+[\d.]+:(\d+).*?admin["=:]+[\d.]+:(\d+)/.exec(readFileSync(log, 'utf8')) ?? [];
      if (grpc === undefined) continue;
      const ports = { grpc: Number(grpc), admin: Number(admin), hook: Number(readFileSync(hook, 'utf8')) };
      undo.after(() => searchAdmin(`http://127.0.0.1:${ports.admin}`));
      return new LoneDaemon(child, log, ports);
    }
    throw new Error(`the daemon did not start:\n${readFileSync(log, 'utf8').slice(-3_000)}`);
  }

  get runs(): boolean {
    return this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Resolves when it has ended, with the end of its log. */
  async ended(): Promise<string> {
    if (this.runs) await once(this.#child, 'exit');
    return readFileSync(this.#log, 'utf8').slice(-2_000);
  }

  async held(): Promise<number> {
    const answer = await fetch(`http://127.0.0.1:${this.#hookPort}/`);
    const { heapUsed, external, arrayBuffers } = (await answer.json()) as NodeJS.MemoryUsage;
    return heapUsed + external + arrayBuffers;
  }
}
