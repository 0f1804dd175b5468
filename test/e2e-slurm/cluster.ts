import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { JOB_USER, REST_USER } from './packages.js';
import { Child, freePorts, pidsWithEnvironment, until } from './processes.js';
import { FRAIL_NODE, mainNode, type SlurmPorts, slurmConf } from './slurm-conf.js';

const run = promisify(execFile);
const PREFIX = 'wph-slurm-';

/** What squeue shows of a job, as far as the checks need it. */
export interface QueuedJob {
  /** Of the array, for its elements: one submission has one. */
  readonly submission: number;
  readonly name: string;
  readonly comment: string;
  readonly state: string;
}

interface Ids {
  readonly uid: number;
  readonly gid: number;
}

async function idsOf(user: string): Promise<Ids> {
  const [uid, gid] = await Promise.all([run('id', ['-u', user]), run('id', ['-g', user])]);
  return { uid: Number(uid.stdout), gid: Number(gid.stdout) };
}

/**
 * A Slurm on loopback, in a state directory of its own: munged, slurmctld, slurmrestd, and a slurmd each for the node
 * where jobs run and for a small second one.
 *
 * `start` brings all up and returns when a job could run; `stop` ends them, whatever jobs still run, and removes
 * the directory. slurmrestd alone can be stopped and started in between, at the same address. Several clusters can live
 * side by side: every process of one carries its SLURM_CONF, which is how left-overs are found and nothing else touched.
 */
export class SlurmCluster {
  readonly #children = new Map<string, Child>();

  private constructor(
    readonly stateDir: string,
    readonly restPort: number,
    readonly jobIds: Ids,
    private readonly ports: SlurmPorts,
  ) {}

  get confFile(): string {
    return path.join(this.stateDir, 'etc', 'slurm.conf');
  }

  get restUrl(): string {
    return `http://127.0.0.1:${this.restPort}`;
  }

  /** A directory that the job user may write to and every process here may read. */
  get dataDir(): string {
    return path.join(this.stateDir, 'data');
  }

  static async start(log: (line: string) => void): Promise<SlurmCluster> {
    removeLeftovers(log);
    const [ctld, slurmd, frail, rest] = (await freePorts(4)) as [number, number, number, number];
    const stateDir = mkdtempSync(path.join(tmpdir(), PREFIX));
    const cluster = new SlurmCluster(stateDir, rest, await idsOf(JOB_USER), { ctld, slurmd, frail });
    try {
      await cluster.#prepare();
      await cluster.#startMunge();
      cluster.#spawn('slurmctld', '/usr/sbin/slurmctld', ['-D', '-f', cluster.confFile]);
      for (const node of [mainNode(), FRAIL_NODE]) {
        cluster.#spawn(`slurmd-${node}`, '/usr/sbin/slurmd', ['-D', '-N', node, '-f', cluster.confFile]);
      }
      await until('the nodes to be idle', 60_000, async () => {
        cluster.#assertRunning();
        const states = (await cluster.tool('sinfo', ['-h', '-N', '-o', '%T'])).trim().split('\n');
        return states.every((state) => state === 'idle');
      });
      await cluster.startRestd();
    } catch (error) {
      const logs = [...cluster.#children.values()].map((child) => `--- ${child.options.name}\n${child.tail()}`);
      await cluster.stop();
      throw new Error(`the cluster did not come up: ${(error as Error).message}\n${logs.join('\n')}`, { cause: error });
    }
    log(`Slurm is up: ${cluster.restUrl}, state in ${stateDir}`);
    return cluster;
  }

  async #prepare(): Promise<void> {
    chmodSync(this.stateDir, 0o755);
    writeFileSync(path.join(this.stateDir, 'owner.pid'), String(process.pid));
    for (const dir of ['etc', 'ctld', 'slurmd', 'log', 'munge', 'data']) {
      mkdirSync(path.join(this.stateDir, dir), { mode: 0o755 });
    }
    chownSync(this.dataDir, this.jobIds.uid, this.jobIds.gid);
    const munge = await idsOf('munge');
    const mungeDir = path.join(this.stateDir, 'munge');
    const mungeKey = path.join(mungeDir, 'munge.key');
    writeFileSync(mungeKey, randomBytes(128), { mode: 0o600 });
    chownSync(mungeKey, munge.uid, munge.gid);
    chownSync(mungeDir, munge.uid, munge.gid);
    writeFileSync(path.join(this.stateDir, 'etc', 'jwt.key'), randomBytes(32), { mode: 0o600 });
    writeFileSync(this.confFile, slurmConf({ stateDir: this.stateDir, ports: this.ports }), { mode: 0o644 });
  }

  async #startMunge(): Promise<void> {
    const dir = path.join(this.stateDir, 'munge');
    const at = (name: string) => path.join(dir, name);
    const args = ['-F', '--key-file', at('munge.key'), '--socket', at('socket'), '--pid-file', at('pid')];
    args.push('--log-file', at('log'), '--seed-file', at('seed'), '--num-threads', '4');
    this.#spawnAs('munge', 'munged', '/usr/sbin/munged', args);
    await until('munged to answer', 20_000, async () => {
      this.#assertRunning();
      await run('munge', ['-n', '-S', at('socket')]);
      return true;
    });
  }

  #environment(extra: Readonly<Record<string, string>> = {}): Record<string, string> {
    return { PATH: '/usr/sbin:/usr/bin:/sbin:/bin', LANG: 'C.UTF-8', SLURM_CONF: this.confFile, ...extra };
  }

  #spawn(name: string, command: string, args: readonly string[], env: Record<string, string> = {}): void {
    const logFile = path.join(this.stateDir, 'log', `${name}.log`);
    this.#children.set(
      name,
      new Child({ name, command, args, env: this.#environment(env), logFile, cwd: this.stateDir }),
    );
  }

  #spawnAs(user: string, name: string, command: string, args: string[], env: Record<string, string> = {}): void {
    const drop = ['--reuid', user, '--regid', user, '--clear-groups', '--', command];
    this.#spawn(name, '/usr/bin/setpriv', [...drop, ...args], env);
  }

  #assertRunning(): void {
    for (const child of this.#children.values()) {
      if (!child.running) throw new Error(`${child.options.name} ended by itself:\n${child.tail()}`);
    }
  }

  /** Starts slurmrestd (again, after `stopRestd`) and returns when it answers. */
  async startRestd(): Promise<void> {
    const args = ['-f', this.confFile, '-a', 'rest_auth/jwt', '-s', 'openapi/v0.0.38', `127.0.0.1:${this.restPort}`];
    this.#spawnAs(REST_USER, 'slurmrestd', '/usr/sbin/slurmrestd', args, { SLURM_JWT: 'daemon' });
    const token = await this.token(60);
    await until('slurmrestd to answer', 30_000, async () => {
      this.#assertRunning();
      const response = await fetch(`${this.restUrl}/slurm/v0.0.38/ping`, {
        headers: { 'X-SLURM-USER-NAME': JOB_USER, 'X-SLURM-USER-TOKEN': token },
      });
      return response.ok;
    });
  }

  async stopRestd(): Promise<void> {
    const child = this.#children.get('slurmrestd');
    this.#children.delete('slurmrestd');
    // slurmrestd may take its time over connections that are kept alive; an outage does not wait for that
    await child?.stop('SIGTERM', 3_000);
  }

  /** Stops the controller in its tracks: it takes connections, and answers none until `resumeController`. */
  pauseController(): void {
    this.#signalController('SIGSTOP');
  }

  resumeController(): void {
    this.#signalController('SIGCONT');
  }

  #signalController(signal: NodeJS.Signals): void {
    const child = this.#children.get('slurmctld');
    if (child === undefined || !child.running) throw new Error('slurmctld is not running');
    process.kill(child.pid, signal);
  }

  /** Runs one of Slurm's command line tools against this cluster as root and answers its output. */
  async tool(name: 'scontrol' | 'squeue' | 'scancel' | 'sinfo' | 'sbatch', args: readonly string[]): Promise<string> {
    const { stdout } = await run(name, [...args], { env: this.#environment(), maxBuffer: 64 << 20 });
    return stdout;
  }

  /** A token of the job user, valid for `lifespanSeconds`. */
  async token(lifespanSeconds: number, user: string = JOB_USER): Promise<string> {
    const answer = await this.tool('scontrol', ['token', `username=${user}`, `lifespan=${lifespanSeconds}`]);
    const token = /SLURM_JWT=(\S+)/.exec(answer)?.[1];
    if (token === undefined) throw new Error(`scontrol token answered ${JSON.stringify(answer)}`);
    return token;
  }

  /** Every job the controller remembers, finished ones included; elements of an array one by one. */
  async jobs(): Promise<QueuedJob[]> {
    const lines = (await this.tool('squeue', ['-h', '-a', '-r', '-t', 'all', '-o', '%F|%T|%j|%k'])).split('\n');
    return lines
      .filter((line) => line !== '')
      .map((line) => {
        const [submission = '', state = '', name = '', comment = ''] = line.split('|');
        return { submission: Number(submission), state, name, comment };
      });
  }

  /** Cancels what runs, ends the daemons in reverse order and whatever else carries this SLURM_CONF, removes the state. */
  async stop(): Promise<void> {
    if (this.#children.has('slurmctld')) {
      await this.tool('scancel', ['--user', JOB_USER]).catch(() => undefined);
      await until('jobs to end', 15_000, async () => {
        const alive = await this.tool('squeue', ['-h']);
        return alive.trim() === '';
      }).catch(() => undefined);
    }
    const ordered = ['slurmrestd', `slurmd-${FRAIL_NODE}`, `slurmd-${mainNode()}`, 'slurmctld', 'munged'];
    for (const name of ordered) {
      await this.#children.get(name)?.stop('SIGTERM', 10_000);
      this.#children.delete(name);
    }
    this.kill();
  }

  /** Ends every process of this cluster at once and removes the state; for a run that is being killed itself. */
  kill(): void {
    killByConf(this.confFile);
    rmSync(this.stateDir, { recursive: true, force: true, maxRetries: 5 });
  }
}

function killByConf(confFile: string): void {
  for (const pid of pidsWithEnvironment('SLURM_CONF', confFile)) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // gone by itself in between
    }
  }
}

function alive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** A run that was killed leaves its daemons behind: those whose owner is gone are ended, running ones are left alone. */
function removeLeftovers(log: (line: string) => void): void {
  for (const entry of readdirSync(tmpdir()).filter((name) => name.startsWith(PREFIX))) {
    const stateDir = path.join(tmpdir(), entry);
    let owner: number;
    try {
      owner = Number(readFileSync(path.join(stateDir, 'owner.pid'), 'utf8'));
    } catch {
      continue; // just being set up by somebody else
    }
    if (alive(owner)) continue;
    log(`removing what an earlier run left in ${stateDir}`);
    killByConf(path.join(stateDir, 'etc', 'slurm.conf'));
    rmSync(stateDir, { recursive: true, force: true, maxRetries: 5 });
  }
}
