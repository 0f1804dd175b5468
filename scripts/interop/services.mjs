// The services under test: our daemon, and the Python connector service. Both serve the interop jobs over one remote.
import { spawn } from 'node:child_process';
import { mkdirSync, openSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { PostgresServer } from '../../dist/test/postgres/server.js';
import {
  givenIn,
  SUITE_VARIABLES,
  searchAdmin,
  searchFolder,
  withSecrets,
} from '../../dist/test/support/suite-secrets.js';
import { ensurePython, freePort, interop, requireBuild } from './tools.mjs';

/** The limit the daemon is given for the main plugin, and the remote's calls are checked against. */
export const LIMITS = { read: { qps: 40, burst: 40 }, write: { qps: 30, burst: 60 } };

/** What the second plugin is held to, over however many daemons. */
export const HELD = { read: { qps: 200, burst: 20 }, write: { qps: 30, burst: 10 }, quota: 50 };

/** Limits are told by when calls arrive, which is when the plugin's process comes to run. */
const SANDBOX = { niceness: 0 };

class Service {
  #child;

  constructor(directory, port) {
    this.directory = directory;
    this.port = port;
    this.log = path.join(directory, 'service.log');
  }

  /** A target for gRPC clients, as an operator would configure it. */
  get endpoint() {
    return `dns:///127.0.0.1:${this.port}`;
  }

  async start() {
    const { command, args, env } = this.commandLine();
    const log = openSync(this.log, 'a');
    const child = spawn(command, args, { stdio: ['ignore', log, log], env: { ...process.env, ...env } });
    this.#child = child;
    const ended = new Promise((_, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => reject(new Error(`the service ended (${code ?? signal}), see ${this.log}`)));
    });
    ended.catch(() => {});
    await Promise.race([ended, this.#up()]);
  }

  async #up() {
    for (let tries = 0; tries < 600; tries += 1) {
      if (await this.isUp()) return;
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    throw new Error(`nothing serves on port ${this.port} after 60 s, see ${this.log}`);
  }

  /** Whether it serves; here, whether its port is open. */
  isUp() {
    return new Promise((resolve) => {
      const socket = connect(this.port, '127.0.0.1', () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.once('connect', () => socket.destroy());
    });
  }

  async #end(signal) {
    const child = this.#child;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const gone = new Promise((resolve) => child.once('exit', resolve));
    child.kill(signal);
    const hard = setTimeout(() => child.kill('SIGKILL'), 20_000);
    await gone;
    clearTimeout(hard);
  }

  /** Kills the process, wipes what it kept, and starts it at the same address. */
  async restart({ empty }) {
    await this.#end('SIGKILL');
    if (empty) this.wipe();
    await this.start();
  }

  async stop() {
    await this.#end('SIGTERM');
  }

  wipe() {}

  /** Throws where what it leaves shows a secret; asked before it is stopped, and after. */
  async search() {}
}

export class PythonService extends Service {
  static async make(directory, remote) {
    const service = new PythonService(directory, await freePort());
    service.remote = remote;
    service.python = ensurePython();
    return service;
  }

  commandLine() {
    const script = path.join(interop, 'python', 'connector_service.py');
    return { command: this.python, args: [script, '--port', String(this.port), '--remote', this.remote], env: {} };
  }
}

export class DaemonService extends Service {
  /** `sections` of its config replace those of here. */
  static async make(directory, remote, port, sections = {}) {
    const service = new DaemonService(directory, port ?? (await freePort()));
    service.main = requireBuild();
    service.sections = sections;
    service.adminPort = await freePort();
    service.configFile = path.join(directory, 'config.json');
    service.stateDirectory = path.join(directory, 'state');
    mkdirSync(service.stateDirectory, { recursive: true });
    writeFileSync(givenIn(service.configFile), JSON.stringify(withSecrets(service.config(remote)), null, 2));
    return service;
  }

  config(remote) {
    const plugin = (file, more = {}) => ({
      source: path.join(interop, 'plugin', file),
      settings: { url: remote },
      ...more,
    });
    return {
      grpc: { host: '127.0.0.1', port: this.port },
      handles: { adoptForeign: true },
      state: { dir: './state' },
      admin: { host: '127.0.0.1', port: this.adminPort },
      shutdown: { drainDelay: '100ms', grace: '2s', forceAfter: '10s' },
      dataStore: { localRoots: [path.join(this.directory, 'data')] },
      plugins: {
        interop: plugin('interop.mjs', {
          config: { readRateLimiter: LIMITS.read, writeRateLimiter: LIMITS.write },
          sandbox: SANDBOX,
        }),
        'interop-other': plugin('other.mjs', {
          config: {
            readRateLimiter: HELD.read,
            writeRateLimiter: HELD.write,
            resourceQuotas: { default: HELD.quota },
          },
          sandbox: SANDBOX,
        }),
        'interop-quota': plugin('quota.mjs'),
        'interop-spin': plugin('spin.mjs'),
        'interop-sync': plugin('sync.mjs'),
      },
      ...this.sections,
    };
  }

  /** Its port is open before its plugins are loaded, as engines see it by its readiness. */
  isUp() {
    return fetch(`http://127.0.0.1:${this.adminPort}/readyz`).then(
      ({ ok }) => ok,
      () => false,
    );
  }

  /** What its metrics say of a series, named with its labels; undefined where they say nothing of it. */
  async metric(series) {
    const text = await fetch(`http://127.0.0.1:${this.adminPort}/metrics`).then(
      (answer) => answer.text(),
      () => '',
    );
    const line = text.split('\n').find((one) => one.startsWith(`${series} `));
    return line && Number(line.slice(series.length + 1));
  }

  commandLine() {
    const args = [this.main, 'serve', '--config', this.configFile];
    return { command: process.execPath, args, env: SUITE_VARIABLES };
  }

  async search() {
    await searchAdmin(`http://127.0.0.1:${this.adminPort}`);
    searchFolder(this.directory, (file) => (file === this.log ? 'log' : 'state'));
  }

  wipe() {
    rmSync(this.stateDirectory, { recursive: true, force: true });
    mkdirSync(this.stateDirectory, { recursive: true });
  }
}

/** A lease of the replicas: whoever waits for a take-over waits for it. */
const LEASE = process.env.REPLICA_LEASE ?? '3s';
/** Into how many parts their tasks are divided: of one, one replica works for all; of several each has some. */
export const PARTS = Number(process.env.REPLICA_PARTS ?? 1);
const REPLICAS = 3;
const OWNER = 'pluginhost_cluster_role{role="owner"}';
const OWNED = 'pluginhost_cluster_parts{state="owned"}';
const SPREAD_MS = 60_000;

/** Three daemons on one PostgreSQL; engines are given the addresses of all, as a headless service gives them. */
export class ReplicasService {
  #undo = [];
  #replicas = [];
  #killed = 0;

  static async make(directory, remote) {
    const service = new ReplicasService();
    const database = await PostgresServer.start({ after: (done) => service.#undo.unshift(done) });
    const { host, port, user, database: name } = database.place();
    const sections = {
      state: { engine: 'postgres', parts: PARTS, postgres: { host, port, user, database: name, lease: LEASE } },
      cluster: { enabled: true, advertise: '127.0.0.1', loopback: 'for-tests-on-one-machine' },
      dataStore: { localRoots: [path.join(directory, 'data')] },
    };
    for (let index = 0; index < REPLICAS; index += 1) {
      const folder = path.join(directory, `replica-${index}`);
      mkdirSync(folder);
      service.#replicas.push(await DaemonService.make(folder, remote, undefined, sections));
    }
    return service;
  }

  get endpoint() {
    return `replicas:///${this.#replicas.map(({ port }) => `127.0.0.1:${port}`).join(',')}`;
  }

  async start() {
    await Promise.all(this.#replicas.map((replica) => replica.start()));
    if (PARTS > 1) await this.#spread();
  }

  /** Kills one that works, of several each time another one, and starts it again beside the others. */
  async restart({ empty }) {
    if (empty) throw new Error('the state of several replicas is not emptied');
    const roles = await this.metrics(OWNER);
    const working = this.#replicas.filter((_, index) => roles[index] === 1);
    if (working.length === 0) throw new Error('no replica works');
    await working[this.#killed++ % working.length].restart({ empty });
  }

  /** Of each replica. */
  metrics(series) {
    return Promise.all(this.#replicas.map((replica) => replica.metric(series)));
  }

  /** Resolves once each works on as many parts as another, within one. */
  async #spread() {
    const until = performance.now() + SPREAD_MS;
    for (;;) {
      const owned = await this.metrics(OWNED);
      const sum = owned.reduce((total, count = 0) => total + count, 0);
      if (sum === PARTS && Math.max(...owned) - Math.min(...owned) <= 1) return;
      if (performance.now() > until) throw new Error(`parts do not lie evenly: ${owned} of ${PARTS}`);
      await new Promise((resolve) => setTimeout(resolve, 200));
    }
  }

  async stop() {
    await Promise.all(this.#replicas.map((replica) => replica.stop()));
    for (const done of this.#undo.splice(0)) await done();
  }

  async search() {
    for (const replica of this.#replicas) await replica.search();
  }
}
