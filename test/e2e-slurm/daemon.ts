import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import {
  givenIn,
  SUITE_VARIABLES,
  searchAdmin,
  searchFolder,
  searchFor,
  withSecrets,
} from '../support/suite-secrets.js';
import { Child, freePorts, until } from './processes.js';

/** The repository's root: this file is compiled to dist/test/e2e-slurm. */
const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..', '..', '..');
export const SLURM_PLUGIN = path.join(ROOT, 'dist', 'plugins', 'slurm');

/** The real daemon as a process of its own, with a config file; it can be stopped and started again in the same place. */
export class Daemon {
  #child: Child | undefined;

  private constructor(
    private readonly dir: string,
    private readonly configFile: string,
    private readonly environment: Readonly<Record<string, string>>,
    readonly grpcPort: number,
    readonly adminPort: number,
  ) {}

  /** `config` without addresses: those are chosen here, the same for every start. `environment` is added to PATH. */
  static async create(
    dir: string,
    config: Record<string, unknown>,
    environment: Readonly<Record<string, string>>,
  ): Promise<Daemon> {
    const [grpcPort, adminPort] = (await freePorts(2)) as [number, number];
    const configFile = path.join(dir, 'daemon.json');
    const addresses = { grpc: { host: '127.0.0.1', port: grpcPort }, admin: { host: '127.0.0.1', port: adminPort } };
    const whole = withSecrets({ ...config, ...addresses, state: { dir: './state' } });
    writeFileSync(givenIn(configFile), JSON.stringify(whole, null, 2));
    return new Daemon(dir, configFile, environment, grpcPort, adminPort);
  }

  get address(): string {
    return `127.0.0.1:${this.grpcPort}`;
  }

  get logFile(): string {
    return path.join(this.dir, 'daemon.log');
  }

  /** The last lines of the log, for a message about what went wrong. */
  tail(lines = 30): string {
    return this.#child?.tail(lines) ?? 'the daemon was never started';
  }

  async start(): Promise<void> {
    const child = new Child({
      name: 'plugin-host',
      command: process.execPath,
      args: [path.join(ROOT, 'dist', 'src', 'main.js'), 'serve', '--config', this.configFile],
      env: { PATH: process.env.PATH ?? '/usr/bin:/bin', ...SUITE_VARIABLES, ...this.environment },
      logFile: this.logFile,
      cwd: this.dir,
    });
    this.#child = child;
    await until(
      'the daemon to be ready',
      60_000,
      async () => {
        if (!child.running) throw new Error(`the daemon ended:\n${child.tail(30)}`);
        return (await fetch(`http://127.0.0.1:${this.adminPort}/readyz`)).ok;
      },
      100,
      () => !child.running,
    );
  }

  /** Throws where what it shows, or what it leaves, shows a secret. */
  async search(): Promise<void> {
    await searchAdmin(`http://127.0.0.1:${this.adminPort}`);
    if (existsSync(this.logFile)) searchFor('log', 'the log of the daemon', readFileSync(this.logFile));
    searchFolder(path.join(this.dir, 'state'));
  }

  /** SIGTERM and the end; answers the exit code. */
  async stop(): Promise<number | null> {
    const child = this.#child;
    if (child === undefined) return null;
    const { code } = await child.stop('SIGTERM', 60_000);
    return code;
  }

  /** SIGKILL: what it was doing is cut off. */
  async kill(): Promise<void> {
    await this.#child?.stop('SIGKILL');
  }

  /** The values of one metric, by its labels as they stand in the exposition. */
  async metric(name: string): Promise<Map<string, number>> {
    const text = await (await fetch(`http://127.0.0.1:${this.adminPort}/metrics`)).text();
    const values = new Map<string, number>();
    for (const line of text.split('\n')) {
      const match = /^([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)$/.exec(line);
      if (match?.[1] === name) values.set(match[2] ?? '', Number(match[3]));
    }
    return values;
  }
}
