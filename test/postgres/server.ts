import { execFile, execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { appendFileSync, chownSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { after, before } from 'node:test';
import { promisify } from 'node:util';
import type { PostgresPlace } from '../../src/state/index.js';
import { DEFAULTS } from '../support/defaults.js';
import { type Cleanup, tempFolder } from '../support/temp.js';

const PACKAGES = '/usr/lib/postgresql';
const ROLE = 'tester';

/** The programs of the newest PostgreSQL that Debian's packages installed. Throws where there is none. */
function programs(): string {
  const versions = existsSync(PACKAGES) ? readdirSync(PACKAGES).map(Number).filter(Number.isInteger) : [];
  if (versions.length === 0) throw new Error('PostgreSQL is not installed: apt-get install postgresql');
  return path.join(PACKAGES, String(Math.max(...versions)), 'bin');
}

/** The server refuses to run as root; Debian's package makes a user for it. */
function unprivileged(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const id = (flag: string) => Number(execFileSync('id', [flag, 'postgres'], { encoding: 'utf8' }));
  return { uid: id('-u'), gid: id('-g') };
}

async function freePort(): Promise<number> {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as net.AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

/** A real server of the test's own: on loopback, in a folder that goes with it, with whatever settings. */
export class PostgresServer {
  readonly folder: string;
  readonly port: number;
  readonly #user: { uid?: number; gid?: number };
  #child: ReturnType<typeof spawn> | undefined;

  private constructor(folder: string, port: number, user: { uid?: number; gid?: number }) {
    this.folder = folder;
    this.port = port;
    this.#user = user;
  }

  static async start(t: Cleanup, settings: readonly string[] = []): Promise<PostgresServer> {
    const folder = tempFolder(t, 'plugin-host-pg-');
    const user = unprivileged();
    if (user.uid !== undefined && user.gid !== undefined) chownSync(folder, user.uid, user.gid);
    const server = new PostgresServer(folder, await freePort(), user);
    t.after(() => server.kill());
    const init = ['-D', server.data, '-U', ROLE, '-A', 'trust', '-E', 'UTF8', '--locale=C', '-N'];
    await promisify(execFile)(path.join(programs(), 'initdb'), init, { ...user, cwd: folder, env: {} });
    server.set(
      `port = ${server.port}`,
      "listen_addresses = '127.0.0.1'",
      `unix_socket_directories = '${folder}'`,
      ...settings,
    );
    await server.run();
    return server;
  }

  get data(): string {
    return path.join(this.folder, 'data');
  }

  /** Lines for postgresql.conf; the last of a name wins. In force after `reload` or a start. */
  set(...lines: readonly string[]): void {
    appendFileSync(path.join(this.data, 'postgresql.conf'), `\n${lines.join('\n')}\n`);
  }

  /** A file beside the server's own, as the server wants its key: nobody else's. */
  write(name: string, text: string): void {
    const file = path.join(this.data, name);
    writeFileSync(file, text, { mode: 0o600 });
    if (this.#user.uid !== undefined && this.#user.gid !== undefined) chownSync(file, this.#user.uid, this.#user.gid);
  }

  /** Starts it, also again, and resolves once it takes connections. */
  async run(): Promise<void> {
    const child = spawn(path.join(programs(), 'postgres'), ['-D', this.data], {
      ...this.#user,
      cwd: this.folder,
      env: {},
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    this.#child = child;
    let log = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      log += text;
    });
    for (;;) {
      if (child.exitCode !== null) throw new Error(`PostgreSQL did not start: ${log}`);
      if (/ready to accept connections/.test(log)) return;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  reload(): void {
    this.#child?.kill('SIGHUP');
  }

  /** As a machine that loses its power, but for the file system. */
  async kill(): Promise<void> {
    const child = this.#child;
    this.#child = undefined;
    if (child === undefined || child.exitCode !== null) return;
    // Immediate: its children go with it, and the next start recovers.
    child.kill('SIGQUIT');
    await once(child, 'close');
  }

  /** Freezes the server with all its processes, as a machine does that hangs. */
  freeze(how: 'SIGSTOP' | 'SIGCONT'): void {
    const own = this.#child?.pid;
    if (own === undefined) return;
    const children = readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && parentOf(name) === own)
      .map(Number);
    for (const pid of [own, ...children]) {
      try {
        process.kill(pid, how);
      } catch {
        // It ended meanwhile.
      }
    }
  }

  /** The server's own client, and how it reaches the server without a password. */
  get psql(): string {
    return path.join(programs(), 'psql');
  }

  readonly psqlOptions = ['-qAtX', '-v', 'ON_ERROR_STOP=1', '-d', 'postgres'];

  get psqlEnv(): Record<string, string> {
    return { PGHOST: this.folder, PGPORT: String(this.port), PGUSER: ROLE };
  }

  /** What a statement answers. */
  sql(statement: string): string {
    return execFileSync(this.psql, [...this.psqlOptions, '-c', statement], {
      env: this.psqlEnv,
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'pipe'],
    }).trim();
  }

  /** The same, while this process goes on. */
  async ask(statement: string): Promise<string> {
    const options = { env: this.psqlEnv, encoding: 'utf8' } as const;
    const { stdout } = await promisify(execFile)(this.psql, [...this.psqlOptions, '-c', statement], options);
    return stdout.trim();
  }

  place(changes: Partial<PostgresPlace> = {}): PostgresPlace {
    const own = { host: '127.0.0.1', port: this.port, database: 'postgres', user: ROLE };
    return { ...DEFAULTS.state.postgres, ...own, ...changes };
  }
}

export type SharedServer = ReturnType<typeof sharedServer>;

/**
 * One server for all tests of a file, from before the first to after the last; each takes a schema of its own, named after
 * `prefix`, and leaves the server's settings as they were.
 */
export function sharedServer(prefix: string) {
  const undo: (() => unknown)[] = [];
  let started: PostgresServer | undefined;
  let schemas = 0;
  before(async () => {
    started = await PostgresServer.start({ after: (done) => undo.unshift(done) });
  });
  after(async () => {
    for (const done of undo) await done();
  });
  return {
    /** Only within a test. */
    get server(): PostgresServer {
      if (started === undefined) throw new Error('the server is started before the first test, and no earlier');
      return started;
    },
    /** A schema that no other test has. */
    newSchema(): string {
      schemas += 1;
      return `${prefix}_${schemas}`;
    },
  };
}

function parentOf(pid: string): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]);
  } catch {
    return undefined;
  }
}
