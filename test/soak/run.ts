import { mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { DEFAULT_HOST_LIMITS } from '../../src/host/limits.js';
import { machineMs } from '../../src/lib/clock.js';
import { ChaosDaemon } from '../chaos/daemon.js';
import { ChaosEngine } from '../chaos/engine.js';
import { FLAVOURS, FLEET } from '../chaos/fleet.js';
import { COUNTS, type Count, judge, lastWords, type Violation } from '../chaos/judge.js';
import { Remotes } from '../chaos/remote.js';
import { begin, evidence, SETTLE_STEP_MS, secretsOf, settled } from '../chaos/run.js';
import { Decisions } from '../support/decisions.js';
import { compiled, fromRoot } from '../support/paths.js';
import { type Leak, leakEnv } from './leaks.js';
import { Rotation } from './rotation.js';
import { risingOf, type Sample, sampleOf, slopesOf } from './samples.js';

export interface SoakOptions {
  readonly minutes: number;
  readonly seed: number;
  /** Planted in the daemon's process, to show that it is seen. */
  readonly leak?: Leak | undefined;
  readonly say: (line: string) => void;
}

export interface SoakResult {
  readonly counts: Readonly<Record<Count, number>>;
  readonly facts: Readonly<Record<string, number>>;
  readonly violations: readonly Violation[];
  /** Where secrets are shown, in words. */
  readonly shown: readonly string[];
  /** What rises too fast, in words. */
  readonly rising: readonly string[];
  /** Calls whose connection failed, though the daemon lived and nobody was kept out. */
  readonly broken: readonly string[];
  /** Certificates and tokens that were taken up too late, or were good too long after they had been taken out. */
  readonly stale: readonly string[];
  evidence(violation: Violation): string[];
  clean(): void;
}

/**
 * Short memories, so that whatever is bounded is full when the measuring begins. What is remembered of a finished task that gave way
 * goes by its age, and a Do is asked for again after a quarantine at the latest.
 */
const SHORT = {
  store: { finished: { maxCount: 300, ttl: '5m' } },
  tasks: {
    // Engines that a busy machine keeps from asking have not gone away.
    visibilityGrace: '1m',
    orphanGrace: '1m',
    replayWindow: '2m',
    doReplayTtl: '10m',
    connectionTtl: '2m',
  },
};
/** A plugin whose process was killed too often near the end comes back after its quarantine, and tasks go on after that. Milliseconds. */
const SETTLE_MS = DEFAULT_HOST_LIMITS.quarantineMs + SETTLE_STEP_MS;
/** Before it everything fills up: of the whole time. */
const WARM_UP = 1 / 3;
const SAMPLES = 60;
/** Between two samples at least: the collection of each holds up everything. */
const SAMPLE_MS = 5_000;
const PLUGIN_KILL_MS = 30_000;
const RELOAD_MS = 50_000;
/** Engines come and go. */
const NEW_CLIENT_MS = 10_000;
/** A leak that is planted: once in so many milliseconds. */
const LEAK_MS = 1_000;
/** A machine that is shared has other things to do. */
const LOAD = { open: 30, apartMs: 600 };

export async function runSoak({ minutes, seed, leak, say }: SoakOptions): Promise<SoakResult> {
  const decisions = new Decisions(seed);
  const remotes = new Remotes(decisions);
  const folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-soak-'));
  mkdirSync(path.join(folder, 'state'));
  const hook = path.join(folder, 'hook');
  const rotation = await Rotation.prepare(folder);
  const leaking = leak === undefined ? [] : ['--import', compiled('test/soak/leaking.ts')];
  const daemon = await ChaosDaemon.prepare({
    build: fromRoot(),
    plugins: fromRoot('dist', 'test', 'chaos', 'plugins'),
    folder,
    remote: await remotes.start(),
    state: { dir: path.join(folder, 'state') },
    config: { ...SHORT, ...rotation.config },
    papers: () => rotation.of('operator'),
    execArgv: ['--expose-gc', '--import', compiled('bench/hook.ts'), ...leaking],
    env: {
      BENCH_HOOK_FILE: hook,
      PLUGIN_HOST_LOG_FORMAT: seed % 2 === 0 ? 'text' : 'json',
      ...(leak === undefined ? {} : leakEnv(leak, LEAK_MS)),
    },
  });
  const over = new AbortController();
  const engine = new ChaosEngine(decisions);
  const bornMs = machineMs();
  let begins: { stop(): void } | undefined;
  try {
    daemon.start();
    await daemon.ready();
    engine.connect(daemon.port, daemon.life, rotation.papers);
    begins = begin(engine, decisions, LOAD);
    const rotating = rotation.run({ grpc: daemon.port, admin: daemon.adminPort }, over.signal);
    const hookPort = Number(readFileSync(hook, 'utf8'));
    const watching = watched({ daemon, engine, rotation, decisions, timeMs: minutes * 60_000, hookPort, say });
    const { samples, acts } = await Promise.race([watching, rotating.then(() => watching)]);
    const cores = processorSeconds(daemon.pid) / (minutes * 60);
    over.abort();
    await rotating;
    begins.stop();
    remotes.fair();
    await settled(engine, remotes, daemon, say, SETTLE_MS);
    if (engine.faults.length > 0) throw engine.faults[0];
    const violations = judge(engine, remotes, await lastWords(daemon, engine), FLEET);
    const shown = await secretsOf(daemon, engine, folder);
    engine.close();
    const exit = await daemon.stop();
    const slopes = slopesOf(samples);
    const rising = risingOf(samples);
    if (exit !== 0) rising.push(`the daemon ended with ${exit}`);
    return {
      counts: Object.fromEntries(
        COUNTS.map((kind) => [kind, violations.filter((one) => one.kind === kind).length]),
      ) as Record<Count, number>,
      facts: {
        minutes,
        tasks: engine.attempts.length,
        jobs: remotes.jobs.length,
        calls: remotes.calls.length,
        ...acts,
        ...rotation.done,
        late: engine.late,
        daemon_cores: Math.round(cores * 1_000) / 1_000,
        heap_bytes_an_hour: Math.round(slopes.heapBytes),
        resident_bytes_an_hour: Math.round(slopes.residentBytes),
        descriptors_an_hour: Math.round(slopes.descriptors * 10) / 10,
        processes_an_hour: Math.round(slopes.processes * 10) / 10,
        heap_bytes: samples.at(-1)?.heapBytes ?? 0,
        resident_bytes: samples.at(-1)?.residentBytes ?? 0,
        descriptors: samples.at(-1)?.descriptors ?? 0,
        processes: samples.at(-1)?.processes ?? 0,
        seed,
      },
      violations,
      shown,
      rising,
      broken: engine.broken,
      stale: rotation.wrong,
      evidence: (violation) => evidence(violation, remotes, daemon, bornMs),
      clean: () => rmSync(folder, { recursive: true, force: true, maxRetries: 3 }),
    };
  } finally {
    over.abort();
    begins?.stop();
    engine.close();
    await daemon.kill();
    await Promise.all([remotes.stop(), rotation.stop()]);
  }
}

interface Watched {
  readonly samples: readonly Sample[];
  readonly acts: { readonly plugin_kills: number; readonly reloads: number; readonly clients: number };
}

interface Life {
  readonly daemon: ChaosDaemon;
  readonly engine: ChaosEngine;
  readonly rotation: Rotation;
  readonly decisions: Decisions;
  readonly timeMs: number;
  readonly hookPort: number;
  readonly say: (line: string) => void;
}

/** Lets the time pass: plugin processes are killed, plugins are loaded anew, clients come and go, and samples are taken. */
async function watched({ daemon, engine, rotation, decisions, timeMs, hookPort, say }: Life): Promise<Watched> {
  const dice = decisions.of('soak');
  const samples: Sample[] = [];
  const acts = { plugin_kills: 0, reloads: 0, clients: 1 };
  const startMs = machineMs();
  const warmMs = startMs + timeMs * WARM_UP;
  const next = {
    kill: startMs + PLUGIN_KILL_MS,
    reload: startMs + RELOAD_MS,
    client: startMs + NEW_CLIENT_MS,
    sample: warmMs,
  };
  while (machineMs() < startMs + timeMs) {
    await sleep(200);
    if (!daemon.alive)
      throw new Error(`the daemon has ended:\n${readFileSync(daemon.logFile(daemon.life), 'utf8').slice(-3_000)}`);
    const nowMs = machineMs();
    if (nowMs > next.kill) {
      next.kill += PLUGIN_KILL_MS;
      daemon.killPlugin(dice.next());
      acts.plugin_kills += 1;
    }
    if (nowMs > next.reload) {
      next.reload += RELOAD_MS;
      await daemon
        .act(FLAVOURS[Math.floor(dice.next() * FLAVOURS.length)] as string, 'reload')
        .catch((error: unknown) => say(String(error)));
      acts.reloads += 1;
    }
    if (nowMs > next.client) {
      next.client += NEW_CLIENT_MS;
      engine.connect(daemon.port, daemon.life, { kept: true, ...rotation.papers });
      acts.clients += 1;
    }
    if (nowMs > next.sample) {
      next.sample += Math.max((timeMs * (1 - WARM_UP)) / SAMPLES, SAMPLE_MS);
      samples.push(await sampleOf(daemon.pid, hookPort));
      if (samples.length % 10 === 1) say(shown(samples.at(-1) as Sample, engine));
    }
  }
  return { samples, acts };
}

function shown({ heapBytes, residentBytes, descriptors, processes }: Sample, engine: ChaosEngine): string {
  const mib = (bytes: number) => `${(bytes / 1024 / 1024).toFixed(1)} MiB`;
  return `${engine.attempts.length} tasks; heap ${mib(heapBytes)}, resident ${mib(residentBytes)}, ${descriptors} descriptors, ${processes} processes`;
}

/** Seconds of the processors that a process has had; its children's are their own. */
function processorSeconds(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'latin1')
    .replace(/^.*\) /, '')
    .split(' ');
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
