import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { FloorRequest, FloorStarted } from './floor.js';
import { type BenchOptions, defineBench } from './lib/bench.js';
import { machine, mainThreadMicros } from './lib/cpu.js';
import { Daemon } from './lib/daemon.js';
import { Load } from './lib/load.js';
import { madeHandle, makeState } from './lib/made-state.js';
import { median, rounded } from './lib/numbers.js';
import { Worker } from './lib/processes.js';
import { PROTOCOLS, type Protocol, type ProtocolName } from './lib/protocols.js';

interface Target {
  readonly port: number;
  readonly pid: number;
  /** Microseconds of its main thread that polls have taken so far, at what a task costs without a call. */
  pollMicros(): number;
}

interface Measured {
  readonly rate: number;
  readonly cpuMicros: number;
  /** Share of one core that the main thread had: near 1 it was the bottleneck, and the rate says something. */
  readonly cpuShare: number;
  readonly generatorShare: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
}

interface Round {
  readonly floor: Measured;
  readonly daemon: Measured;
}

/** Calls at half the rate that saturates the daemon, as they come from many engines: by the clock, and not by the answers. */
interface Unsaturated {
  readonly floorP99Ms: number;
  readonly daemonP99Ms: number;
}

async function measure(load: Load, { port, pid, pollMicros }: Target, calls: number): Promise<Measured> {
  const pollsBefore = pollMicros();
  const before = mainThreadMicros(pid);
  const round = await load.statusCalls(port, calls);
  const micros = mainThreadMicros(pid) - before;
  return {
    rate: round.calls / round.seconds,
    cpuMicros: (micros - (pollMicros() - pollsBefore)) / round.calls,
    cpuShare: micros / 1e6 / round.seconds,
    generatorShare: round.cpuSeconds / round.seconds,
    p50Ms: round.p50Ms,
    p99Ms: round.p99Ms,
  };
}

/** Who goes first changes from round to round, so that a machine that slows down favours nobody. */
async function interleave(load: Load, floor: Target, daemon: Target, options: BenchOptions): Promise<Round[]> {
  const calls = options.calls!;
  const rounds: Round[] = [];
  for (let index = 0; index < options.rounds!; index++) {
    if (index % 2 === 0) {
      const first = await measure(load, floor, calls);
      rounds.push({ floor: first, daemon: await measure(load, daemon, calls) });
    } else {
      const first = await measure(load, daemon, calls);
      rounds.push({ daemon: first, floor: await measure(load, floor, calls) });
    }
  }
  return rounds;
}

async function unsaturated(load: Load, floor: Target, daemon: Target, rate: number, options: BenchOptions) {
  const rounds: Unsaturated[] = [];
  for (let index = 0; index < options.rounds!; index++) {
    const one = await load.statusOpen(floor.port, rate, options.seconds!);
    const other = await load.statusOpen(daemon.port, rate, options.seconds!);
    rounds.push({ floorP99Ms: one.p99Ms, daemonP99Ms: other.p99Ms });
  }
  return {
    p99_ratio: rounded(median(rounds.map((one) => one.daemonP99Ms / one.floorP99Ms))),
    half_rate: rounded(rate, 0),
    half_rate_p99_ms: rounded(median(rounds.map((one) => one.daemonP99Ms)), 2),
    half_rate_floor_p99_ms: rounded(median(rounds.map((one) => one.floorP99Ms)), 2),
  };
}

function side(rounds: readonly Measured[]) {
  const middle = (pick: (one: Measured) => number, digits: number) => rounded(median(rounds.map(pick)), digits);
  return {
    calls_per_second: middle((one) => one.rate, 0),
    cpu_us: middle((one) => one.cpuMicros, 2),
    p50_ms: middle((one) => one.p50Ms, 2),
    p99_ms: middle((one) => one.p99Ms, 2),
    main_thread_share: middle((one) => one.cpuShare, 2),
    generator_share: middle((one) => one.generatorShare, 2),
  };
}

/** What a protocol's rounds come to. */
function figures(rounds: readonly Round[], answerBytes: number) {
  const rates = rounds.map((round) => round.daemon.rate / round.floor.rate);
  const cpu = rounds.map((round) => round.floor.cpuMicros / round.daemon.cpuMicros);
  return {
    ratio_to_floor: rounded(median(rates)),
    ratio_min: rounded(Math.min(...rates)),
    ratio_max: rounded(Math.max(...rates)),
    cpu_ratio_to_floor: rounded(median(cpu)),
    answer_bytes: answerBytes,
    daemon: side(rounds.map((round) => round.daemon)),
    floor: side(rounds.map((round) => round.floor)),
  };
}

type Figures = ReturnType<typeof figures> & Awaited<ReturnType<typeof unsaturated>>;

/** The figures of the protocol with the lowest ratio, and all of them by protocol. */
function report(all: Readonly<Record<ProtocolName, Figures>>, pollShare: number, options: BenchOptions) {
  const [lowest, ...others] = Object.values(all);
  const worst = others.reduce((low, one) => (one.ratio_to_floor < low.ratio_to_floor ? one : low), lowest!);
  const lowestCpu = Math.min(...Object.values(all).map((one) => one.cpu_ratio_to_floor));
  const highestP99 = Math.max(...Object.values(all).map((one) => one.p99_ratio));
  return {
    bench: 'status',
    ...worst.daemon,
    ...worst,
    cpu_ratio_to_floor: lowestCpu,
    p99_ratio: highestP99,
    poll_share: rounded(pollShare),
    protocols: all,
    ...options,
    machine: machine(),
  };
}

async function rightAnswer(load: Load, port: number, protocol: Protocol, handle: Buffer): Promise<Uint8Array> {
  const answer = await load.status(port, protocol, handle);
  const phase = protocol.phaseOf(answer);
  if (phase !== 'RUNNING') throw new Error(`${protocol.method} answered ${phase}, not RUNNING`);
  return answer;
}

/** What polling takes of the main thread, once every task has been read: as a share of it, and for a task. */
async function polling(daemon: Daemon, { tasks, seconds }: BenchOptions) {
  while (daemon.tasksRead() < tasks!) await sleep(200);
  const before = mainThreadMicros(daemon.pid);
  const readBefore = daemon.tasksRead();
  await sleep(seconds! * 1000);
  const micros = mainThreadMicros(daemon.pid) - before;
  const read = daemon.tasksRead() - readBefore;
  return { share: micros / 1e6 / seconds!, microsPerTask: read === 0 ? 0 : micros / read };
}

/** Batches a second: enough for every task in each interval, and for the first reads. */
const READ_QPS = 100;

export const bench = defineBench({
  summary: 'Status and GetTask over many tasks that are polled, of the running daemon, beside a bare grpc-js server',
  defaults: {
    tasks: 100_000,
    resync: 30,
    calls: 20_000,
    rounds: 6,
    warmup: 60_000,
    seconds: 5,
    connections: 2,
    streams: 50,
  },
  fields: [
    'ratio_to_floor',
    'ratio_min',
    'ratio_max',
    'cpu_ratio_to_floor',
    'p99_ratio',
    'calls_per_second',
    'cpu_us',
    'p50_ms',
    'p99_ms',
    'main_thread_share',
    'generator_share',
    'half_rate',
    'half_rate_p99_ms',
    'half_rate_floor_p99_ms',
    'answer_bytes',
    'poll_share',
    'daemon',
    'floor',
    'protocols',
  ],
  // `p99_ratio` is none: beside other work it says more of that work than of the daemon.
  targets: { ratio_to_floor: { atLeast: 1.1 }, cpu_ratio_to_floor: { atLeast: 1.1 } },

  async run(options, progress) {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-bench-'));
    await makeState(folder, options.tasks!);
    const resyncInterval = `${options.resync}s`;
    const started = await Daemon.start({
      batch: true,
      maxTasks: options.tasks!,
      readQps: READ_QPS,
      resyncInterval,
      stateDir: folder,
    });
    const load = new Load({ connections: options.connections!, streams: options.streams! });
    const floorProcess = new Worker(new URL('./floor.js', import.meta.url));
    try {
      const handles = Array.from({ length: options.tasks! }, (_, index) => madeHandle(index));
      const { share, microsPerTask } = await polling(started, options);
      progress(
        `${handles.length} tasks, polling takes ${share.toFixed(3)} of a core, ${microsPerTask.toFixed(1)} µs a task`,
      );
      const pollMicros = () => started.tasksRead() * microsPerTask;
      const daemon = { port: started.port, pid: started.pid, pollMicros };
      const protocols = Object.entries(PROTOCOLS).map(([name, make]) => ({ name: name as ProtocolName, ...make() }));
      const answers: Partial<Record<ProtocolName, Uint8Array>> = {};
      for (const one of protocols) answers[one.name] = await rightAnswer(load, daemon.port, one, handles.at(-1)!);
      const floorStarted = await floorProcess.ask<FloorStarted>({ answers } as FloorRequest);
      const floor = { ...floorStarted, pollMicros: () => 0 };
      const all: Partial<Record<ProtocolName, Figures>> = {};
      for (const one of protocols) {
        for (const { port } of [floor, daemon]) {
          await load.loadStatus(port, one, handles);
          await load.statusCalls(port, options.warmup!);
        }
        progress(`${one.name}: warmed up with ${options.warmup} calls each`);
        const saturated = figures(await interleave(load, floor, daemon, options), answers[one.name]!.length);
        const rate = saturated.daemon.calls_per_second / 2;
        all[one.name] = { ...saturated, ...(await unsaturated(load, floor, daemon, rate, options)) };
      }
      return report(all as Record<ProtocolName, Figures>, share, options);
    } finally {
      await Promise.all([load.stop(), floorProcess.stop(), started.stop()]);
      rmSync(folder, { recursive: true, force: true });
    }
  },

  describe: (result) => {
    const { protocols } = result as { protocols: Record<string, Figures> };
    const line = (name: string, one: Figures['daemon']) =>
      `${name}  ${one.calls_per_second} calls/s, ${one.cpu_us} µs of the main thread a call, p50 ${one.p50_ms} ms, p99 ${one.p99_ms} ms`;
    return Object.entries(protocols)
      .flatMap(([name, { floor, daemon, ...ratio }]) => [
        line(`${name} floor `, floor),
        line(`${name} daemon`, daemon),
        `${name} ratio to floor by rate ${ratio.ratio_to_floor} (${ratio.ratio_min} to ${ratio.ratio_max}), by CPU ${ratio.cpu_ratio_to_floor}`,
        `${name} at ${ratio.half_rate} calls/s p99 ${ratio.half_rate_p99_ms} ms, floor ${ratio.half_rate_floor_p99_ms} ms`,
      ])
      .join('\n');
  },
});
