import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, openSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import https from 'node:https';
import net from 'node:net';
import path from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { givenIn, SUITE_VARIABLES, suiteSecret, withSecrets } from '../support/suite-secrets.js';
import { CALL_MS, FLAVOURS, FLEET, type Flavour, type Fleet, ORPHAN_GRACE_MS, SYNC, SYNC_WRITES } from './fleet.js';

const START_MS = 60_000;
const ADMIN_TOKEN = suiteSecret('adminToken');

/** What a client of a port with TLS shows and trusts, PEM texts, and its token. */
export interface Papers {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
  readonly token: string;
}

export interface DaemonPlace {
  /** The root of the build that is run: its `dist/src/main.js`. */
  readonly build: string;
  /** Where plugins of the run are, compiled. */
  readonly plugins: string;
  readonly folder: string;
  readonly remote: string;
  /** The config's section `state`. */
  readonly state: object;
  /** Sections that replace those of the run; what `grpc` and `admin` say is put beside their ports. */
  readonly config?: { readonly grpc?: object; readonly admin?: object; readonly [section: string]: unknown };
  /** What the operator shows, where the admin port asks for it. */
  readonly papers?: () => Papers;
  /** Arguments of node and variables, before the daemon's own. */
  readonly execArgv?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** The usual one unless given. */
  readonly fleet?: Readonly<Record<Flavour, Fleet>>;
}

/** A daemon on one folder and one port, killed and started again. */
export class ChaosDaemon {
  readonly #place: DaemonPlace;
  readonly port: number;
  readonly adminPort: number;
  #child: ChildProcess | undefined;
  #life = 0;

  private constructor(place: DaemonPlace, port: number, adminPort: number) {
    this.#place = place;
    this.port = port;
    this.adminPort = adminPort;
  }

  static async prepare(place: DaemonPlace): Promise<ChaosDaemon> {
    // Below the ports that the system gives to clients, so that nobody takes one while the daemon is dead.
    const port = await freePort();
    const daemon = new ChaosDaemon(place, port, await freePort(port));
    writeFileSync(givenIn(path.join(place.folder, 'config.json')), JSON.stringify(withSecrets(daemon.#config())));
    writeFileSync(givenIn(path.join(place.folder, 'handle-keys')), suiteSecret('handleKey'), { mode: 0o600 });
    return daemon;
  }

  get life(): number {
    return this.#life;
  }

  /** Of the daemon of this life. */
  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  /** How the daemon of this life ended by itself; null while it has not. */
  get exitCode(): number | null {
    return this.#child?.exitCode ?? null;
  }

  get alive(): boolean {
    return this.#child !== undefined && this.#child.exitCode === null && this.#child.signalCode === null;
  }

  /** Begins the next life; it is up once `answers` resolves. */
  start(): void {
    this.#life += 1;
    const { build, folder, execArgv = [], env = {} } = this.#place;
    const log = openSync(this.logFile(this.#life), 'w');
    const main = path.join(build, 'dist', 'src', 'main.js');
    // Lives take turns in how they write their logs.
    const format = { PLUGIN_HOST_LOG_FORMAT: this.#life % 2 === 0 ? 'text' : 'json' };
    this.#child = spawn(process.execPath, [...execArgv, main, 'serve', '--config', path.join(folder, 'config.json')], {
      stdio: ['ignore', log, log],
      env: { ...process.env, ...SUITE_VARIABLES, ...format, ...env },
    });
    closeSync(log);
  }

  logFile(life: number): string {
    return path.join(this.#place.folder, `life-${life}.log`);
  }

  /** Resolves when the port is open; false when the daemon is dead before. Throws where it ended by itself. */
  async answers(): Promise<boolean> {
    const child = this.#child;
    const until = performance.now() + START_MS;
    while (performance.now() < until) {
      if (child === undefined || child !== this.#child || child.signalCode === 'SIGKILL') return false;
      if (child.exitCode !== null || child.signalCode !== null) throw this.failed('ended by itself');
      if (await isOpen(this.port)) return true;
      await sleep(20);
    }
    throw this.failed(`did not open its port within ${START_MS / 1000} s`);
  }

  /** Resolves when its plugins serve, too; false when the daemon is dead before. */
  async ready(): Promise<boolean> {
    const child = this.#child;
    const log = this.logFile(this.#life);
    if (!(await this.answers())) return false;
    const until = performance.now() + START_MS;
    while (performance.now() < until) {
      if (child !== this.#child || !this.alive) return false;
      if (readFileSync(log, 'utf8').includes('daemon.ready')) return true;
      await sleep(50);
    }
    throw this.failed(`was not ready within ${START_MS / 1000} s`);
  }

  /** With the end of its log. */
  failed(how: string): Error {
    return new Error(
      `the daemon of life ${this.#life} ${how}:\n${readFileSync(this.logFile(this.#life), 'utf8').slice(-3000)}`,
    );
  }

  /** SIGKILL; resolves when the process is gone. */
  async kill(): Promise<void> {
    const child = this.#child;
    if (child === undefined || !this.alive) return;
    const gone = once(child, 'exit');
    const children = childrenOf(this.pid);
    child.kill('SIGKILL');
    await gone;
    // Those that were frozen with it would never see that it is gone.
    for (const pid of children) signal(pid, 'SIGCONT');
  }

  /** Whatever the run has begun ends. */
  end(): Promise<void> {
    return this.kill();
  }

  /** SIGSTOP or SIGCONT; to its plugins' processes as well, where the whole of it is to stand still. */
  freeze(how: 'SIGSTOP' | 'SIGCONT', { whole }: { readonly whole: boolean }): void {
    const pid = this.#child?.pid;
    if (pid === undefined || !this.alive) return;
    for (const one of [pid, ...(whole ? childrenOf(pid) : [])]) signal(one, how);
  }

  /** Which parts of the state it works on, of so many; undefined where it cannot be asked. */
  async covers(parts: number): Promise<readonly number[] | undefined> {
    if (!this.alive) return undefined;
    try {
      const { role, covers } = JSON.parse(await this.#ask('GET', '/v1/cluster')) as { role: string; covers?: string };
      return covers === undefined ? (role === 'owner' ? range(0, parts - 1) : []) : rangesIn(covers);
    } catch {
      return undefined;
    }
  }

  async stop(): Promise<number | null> {
    const child = this.#child;
    if (child === undefined || !this.alive) return child?.exitCode ?? null;
    const gone = once(child, 'exit');
    child.kill('SIGTERM');
    const hard = setTimeout(() => child.kill('SIGKILL'), 30_000);
    await gone;
    clearTimeout(hard);
    return child.exitCode;
  }

  /** Ends the process of one plugin, `which` of those that run now (0 to 1). */
  killPlugin(which: number): void {
    const pid = this.#child?.pid;
    if (pid === undefined || !this.alive) return;
    const children = childrenOf(pid);
    const chosen = children[Math.floor(which * children.length)];
    if (chosen !== undefined) signal(chosen, 'SIGKILL');
  }

  /** Of the admin port, with what its operator shows there. */
  get operator(): { readonly url: string; readonly token: string; readonly tls: https.RequestOptions } {
    const { token = ADMIN_TOKEN, ...tls } = this.#place.papers?.() ?? {};
    const scheme = this.#place.papers === undefined ? 'http' : 'https';
    return { url: `${scheme}://127.0.0.1:${this.adminPort}`, token, tls };
  }

  /** What an operator does with a plugin. */
  async act(plugin: string, action: 'pause' | 'resume' | 'reload'): Promise<void> {
    await this.#ask('POST', `/v1/plugins/${plugin}/${action}`);
  }

  /** A listing of the operator's view, all pages. */
  async listing(
    name: 'tasks' | 'deletes' | 'unclear-creates' | 'orphans',
    field: string,
  ): Promise<Record<string, unknown>[]> {
    const rows: Record<string, unknown>[] = [];
    for (let after = ''; ; ) {
      const body = JSON.parse(await this.#ask('GET', `/v1/${name}?limit=500&after=${after}`));
      rows.push(...(body[field] as Record<string, unknown>[]));
      if (body.next === null) return rows;
      after = String(body.next);
    }
  }

  /** One request to the admin port, over a connection of its own. Throws for all but success. */
  async #ask(method: 'GET' | 'POST', target: string): Promise<string> {
    const { url, token, tls } = this.operator;
    const options = { method, agent: false, headers: { authorization: `Bearer ${token}` }, ...tls } as const;
    const send = url.startsWith('https:') ? https.request : http.request;
    const request = send(`${url}${target}`, options);
    request.end();
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    const body = await text(response);
    if (response.statusCode !== 200) throw new Error(`${method} ${target}: ${response.statusCode} ${body}`);
    return body;
  }

  /** Lines of the daemon's logs that name the text, with the number of the life. */
  linesAbout(text: string): string[] {
    const lines: string[] = [];
    for (let life = 1; life <= this.#life; life++) {
      for (const line of readFileSync(this.logFile(life), 'utf8').split('\n')) {
        if (line.includes(text)) lines.push(`life ${life}: ${line}`);
      }
    }
    return lines;
  }

  #config(): { readonly [section: string]: unknown } {
    const { remote, plugins, state, fleet = FLEET } = this.#place;
    const common = { callTimeout: CALL_MS, environment: { set: { JOB_PASSPHRASE: suiteSecret('setVariable') } } };
    const mirror = `https://somebody:${encodeURIComponent(suiteSecret('urlPassword'))}@host/`;
    const secrets = { apiToken: suiteSecret('setting'), mirror };
    const jobs = FLAVOURS.map((flavour) => {
      const { quota, projectQuota, read, write } = fleet[flavour];
      const entry = {
        ...common,
        source: path.join(plugins, `${flavour}.js`),
        settings: { url: remote, projectQuota, ...secrets },
        config: {
          resourceQuotas: { default: quota },
          readRateLimiter: read,
          writeRateLimiter: write,
          caching: { resyncInterval: '5s' },
        },
      };
      return [flavour, entry] as const;
    });
    const sync = {
      ...common,
      source: path.join(plugins, 'sync.js'),
      settings: { url: remote, ...secrets },
      config: { writeRateLimiter: SYNC_WRITES },
    };
    const { grpc, admin, ...sections } = this.#place.config ?? {};
    return {
      grpc: { host: '127.0.0.1', port: this.port, ...grpc },
      admin: { host: '127.0.0.1', port: this.adminPort, ...(admin ?? { token: ADMIN_TOKEN }) },
      handles: { keysFile: './handle-keys' },
      state,
      // A long run asks again for what it ran at its begin.
      tasks: { visibilityGrace: ORPHAN_GRACE_MS, orphanGrace: ORPHAN_GRACE_MS, doReplayTtl: '24h' },
      refresh: { minInterval: '300ms' },
      shutdown: { drainDelay: '0s', grace: '3s', forceAfter: '20s' },
      plugins: Object.fromEntries([...jobs, [SYNC, sync]]),
      ...sections,
    };
  }
}

async function freePort(not?: number): Promise<number> {
  for (;;) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    if (port === not) continue;
    const server = net.createServer();
    const free = await new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (free) return port;
  }
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('close', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

function signal(pid: number, how: NodeJS.Signals): void {
  try {
    process.kill(pid, how);
  } catch {
    // It was gone already.
  }
}

const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, index) => from + index);

/** Of `parts 0-3, 6 of 8`, or `no part of 8`. */
function rangesIn(covers: string): number[] {
  const ranges = /^parts (.*) of \d+$/.exec(covers)?.[1]?.split(', ') ?? [];
  return ranges.flatMap((text) => {
    const [from, to = from] = text.split('-').map(Number);
    return range(from as number, to as number);
  });
}

function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').trim().split(/\s+/).filter(Boolean).map(Number),
    );
  } catch {
    return [];
  }
}
