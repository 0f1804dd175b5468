import { chmodSync, chownSync, mkdirSync, renameSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { noteSecret } from '../support/suite-secrets.js';
import { SlurmCluster } from './cluster.js';
import { CountingProxy } from './counting-proxy.js';
import { Daemon, SLURM_PLUGIN } from './daemon.js';
import { Engine } from './engine.js';
import { ensureSlurmInstalled, JOB_USER } from './packages.js';
import { QueueWatch } from './queue-watch.js';

export const READ_LIMIT = { qps: 4, burst: 5 };
export const WRITE_LIMIT = { qps: 5, burst: 10 };
/** Fewer than the tasks of the second half, so that some wait for a token. */
const QUOTA = 24;
const TOKEN_LIFE_SECONDS = 60;
const ROTATE_EVERY_MS = 20_000;

/** All that the scenario plays on: the real Slurm, the proxy before it, the real daemon, the engine. */
export class Stage {
  readonly exitCodes: (number | null)[] = [];
  readonly #undo: (() => Promise<void> | void)[] = [];
  readonly #startedMs = performance.now();
  #cluster: SlurmCluster | undefined;
  #queue: QueueWatch | undefined;
  #proxy: CountingProxy | undefined;
  #daemon: Daemon | undefined;
  #engine: Engine | undefined;

  constructor(private readonly print: (line: string) => void) {}

  get cluster(): SlurmCluster {
    return built(this.#cluster);
  }

  get queue(): QueueWatch {
    return built(this.#queue);
  }

  get proxy(): CountingProxy {
    return built(this.#proxy);
  }

  get daemon(): Daemon {
    return built(this.#daemon);
  }

  get engine(): Engine {
    return built(this.#engine);
  }

  get seconds(): number {
    return (performance.now() - this.#startedMs) / 1000;
  }

  log(line: string): void {
    this.print(`${this.seconds.toFixed(1).padStart(6)} s  ${line}`);
  }

  /** Builds everything; after a failure `close` takes down what is there. */
  async setUp(): Promise<void> {
    const log = (line: string) => this.log(line);
    ensureSlurmInstalled(log);
    this.#cluster = await SlurmCluster.start(log);
    this.#undo.push(() => this.cluster.stop());
    this.#endWithSignals();
    this.#queue = new QueueWatch(this.cluster);
    this.#proxy = await CountingProxy.start(this.cluster.restUrl);
    this.#undo.push(() => this.proxy.stop());
    this.#daemon = await this.#configure();
    this.#undo.push(async () => void (await this.daemon.stop()));
    await this.daemon.start();
    this.log(`the daemon is ready at ${this.daemon.address}`);
    this.#engine = new Engine(this.daemon.address);
    this.#undo.push(() => this.engine.close());
    this.engine.startAsking();
    this.#undo.push(() => this.engine.stopAsking());
  }

  async close(): Promise<void> {
    try {
      await this.#daemon?.search();
    } finally {
      for (const undo of this.#undo.splice(0).reverse()) await undo();
    }
  }

  /** A run that is ended from outside leaves nothing behind either. */
  #endWithSignals(): void {
    for (const signal of ['SIGINT', 'SIGTERM'] as const) {
      const end = () => {
        this.cluster.kill();
        process.exit(1);
      };
      process.once(signal, end);
      this.#undo.push(() => void process.removeListener(signal, end));
    }
  }

  async #configure(): Promise<Daemon> {
    const { stateDir, dataDir, jobIds, confFile } = this.cluster;
    const workDir = path.join(dataDir, 'work');
    mkdirSync(workDir);
    chownSync(workDir, jobIds.uid, jobIds.gid);
    const tokenFile = path.join(stateDir, 'token');
    await this.#rotate(tokenFile);
    const timer = setInterval(() => {
      this.#rotate(tokenFile).catch((error: unknown) => this.log(`no new token: ${String(error)}`));
    }, ROTATE_EVERY_MS);
    this.#undo.push(() => clearInterval(timer));
    const settings = {
      clusters: { main: { url: this.proxy.url, user: JOB_USER, token: { file: tokenFile }, workDir } },
    };
    const limits = { readRateLimiter: READ_LIMIT, writeRateLimiter: WRITE_LIMIT };
    const config = { resourceQuotas: { main: QUOTA }, ...limits, caching: { resyncInterval: '5s' } };
    return Daemon.create(
      stateDir,
      {
        plugins: { slurm: { source: SLURM_PLUGIN, required: true, settings, config } },
        dataStore: { localRoots: [dataDir] },
        shutdown: { drainDelay: '500ms' },
      },
      // marks the daemon as part of this cluster, for the clean-up after a run that was killed
      { SLURM_CONF: confFile },
    );
  }

  async #rotate(file: string): Promise<void> {
    const token = await this.cluster.token(TOKEN_LIFE_SECONDS);
    noteSecret(token);
    // written beside and moved, as an operator's tool would: no reader sees half a token
    writeFileSync(`${file}.new`, `SLURM_JWT=${token}\n`);
    chmodSync(`${file}.new`, 0o600);
    renameSync(`${file}.new`, file);
  }
}

function built<T>(part: T | undefined): T {
  if (part === undefined) throw new Error('the stage is not set up that far');
  return part;
}
