import { mkdtempSync, readdirSync, rmSync, statSync } from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../src/lib/clock.js';
import { attemptKeyOf, taskIdOf } from '../src/model/attempt-key.js';
import { phaseState } from '../src/model/phase-state.js';
import { EmbeddedEngine, encodeFact, type FactKey, type FactsByKind, factKey, smallOf } from '../src/state/index.js';
import type { Bench } from './lib/bench.js';
import { machine, peakBytes } from './lib/cpu.js';
import { Daemon } from './lib/daemon.js';
import { median, rounded } from './lib/numbers.js';

/** Facts that one commit writes while the state is made. */
const BATCH = 1_000;
const MiB = 1024 * 1024;

/** A live task as the daemon writes it, as large as those of the bench `memory`. */
function liveFact(index: number, nowMs: number): readonly [string, FactsByKind['task']] {
  const key = attemptKeyOf({ name: `flytesnacks-development-${String(index).padStart(56, '0')}`, executionId: '' });
  const identity = {
    plugin: 'bench',
    taskType: 'bench',
    taskTypeVersion: 0,
    key,
    incarnation: 1,
    project: 'flytesnacks',
    domain: 'development',
    namespace: 'flytesnacks-development-of-a-team-with-a-rather-long-name-x',
    quotaNamespace: 'default',
    createdAtMs: nowMs,
    outputNames: [],
  };
  const fact = {
    identity,
    stage: 'live' as const,
    order: index + 1,
    meta: Buffer.from(JSON.stringify({ job: `job-${String(index).padStart(18, '0')}`, cluster: 'bench-cluster-0' })),
    outputPrefix: `s3://flyte-metadata/propeller/flytesnacks-development-f${index}/n0/data/0`,
    node: undefined,
    requirements: undefined,
    sentBoundMs: undefined,
    state: smallOf(phaseState('RUNNING', { reason: 'the job runs on node c12 of the cluster.', remotePhase: 'R' })),
    phaseVersion: 2,
    observedAtMs: nowMs,
    lastFailure: undefined,
    answeredHandle: Buffer.from(`${key}${'h'.repeat(200)}`),
    liveSinceMs: nowMs,
    lastAskedAtMs: nowMs,
    confirmed: true,
    undeliveredAtMs: undefined,
    adopted: false,
    deleted: false,
    cancelling: undefined,
    hadConnection: false,
  };
  return [taskIdOf(key, 1), fact];
}

async function makeState(dir: string, tasks: number): Promise<void> {
  const engine = new EmbeddedEngine({ dir, clock: systemClock });
  await engine.open();
  const nowMs = Math.round(systemClock.now());
  for (let from = 0; from < tasks; from += BATCH) {
    const puts = new Map<FactKey, Buffer>();
    for (let index = from; index < Math.min(tasks, from + BATCH); index++) {
      const [id, fact] = liveFact(index, nowMs);
      puts.set(factKey('task', id), encodeFact('task', id, fact));
    }
    await engine.commit(puts, []);
  }
  await engine.close();
}

async function freePort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as net.AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

function connects(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = net.connect(port, '127.0.0.1');
    socket.once('connect', () => resolve(true));
    socket.once('error', () => resolve(false));
    socket.once('connect', () => socket.destroy());
  });
}

interface Start {
  readonly openS: number;
  readonly readyS: number;
  readonly peakMib: number;
}

async function startOnce(stateDir: string, tasks: number): Promise<Start> {
  const port = await freePort();
  const from = performance.now();
  let openS = 0;
  let over = false;
  const watching = (async () => {
    while (!over && !(await connects(port))) await sleep(10);
    openS = (performance.now() - from) / 1000;
  })();
  try {
    const daemon = await Daemon.start({ maxTasks: tasks, readQps: 0.1, resyncInterval: '1h', stateDir, port });
    const readyS = (performance.now() - from) / 1000;
    await watching;
    const peakMib = peakBytes(daemon.pid) / MiB;
    await daemon.stop();
    return { openS, readyS, peakMib };
  } finally {
    over = true;
  }
}

export const bench: Bench = {
  summary: 'from the start of the daemon to its open port, and to ready, with live tasks in its state',
  defaults: { tasks: 500_000, rounds: 3 },

  async run(options, progress) {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-bench-'));
    const stateDir = path.join(folder, 'state');
    try {
      await makeState(stateDir, options.tasks!);
      const files = readdirSync(stateDir, { recursive: true, encoding: 'utf8' });
      const stateMib = files.reduce((sum, name) => sum + statSync(path.join(stateDir, name)).size, 0) / MiB;
      progress(`a state of ${options.tasks} tasks was made, ${stateMib.toFixed(0)} MiB`);
      const starts: Start[] = [];
      for (let round = 0; round < options.rounds!; round++) {
        starts.push(await startOnce(stateDir, options.tasks!));
        progress(`ready after ${starts.at(-1)?.readyS.toFixed(2)} s`);
      }
      const middle = (pick: (one: Start) => number, digits = 2) => rounded(median(starts.map(pick)), digits);
      return {
        bench: 'start',
        open_s: middle((one) => one.openS),
        ready_s: middle((one) => one.readyS),
        peak_mib: middle((one) => one.peakMib, 0),
        state_mib: rounded(stateMib, 0),
        ...options,
        machine: machine(),
      };
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  },

  describe: (result) =>
    `start  port open after ${result.open_s} s, ready after ${result.ready_s} s, at most ${result.peak_mib} MiB resident; ` +
    `${result.tasks} live tasks, ${result.state_mib} MiB of state`,
};
