import type { FloorRequest, FloorStarted } from './floor.js';
import type { Bench, BenchOptions } from './lib/bench.js';
import { machine, mainThreadMicros } from './lib/cpu.js';
import { Daemon } from './lib/daemon.js';
import { Load } from './lib/load.js';
import { median, rounded } from './lib/numbers.js';
import { Worker } from './lib/processes.js';
import { PROTOCOLS, type Protocol, type ProtocolName } from './lib/protocols.js';

interface Target {
  readonly port: number;
  readonly pid: number;
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

async function measure(load: Load, { port, pid }: Target, calls: number): Promise<Measured> {
  const before = mainThreadMicros(pid);
  const round = await load.statusCalls(port, calls);
  const micros = mainThreadMicros(pid) - before;
  return {
    rate: round.calls / round.seconds,
    cpuMicros: micros / round.calls,
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

type Figures = ReturnType<typeof figures>;

/** The figures of the protocol with the lowest ratio, and all of them by protocol. */
function report(all: Readonly<Record<ProtocolName, Figures>>, options: BenchOptions): Record<string, unknown> {
  const [lowest, ...others] = Object.values(all);
  const worst = others.reduce((low, one) => (one.ratio_to_floor < low.ratio_to_floor ? one : low), lowest!);
  const lowestCpu = Math.min(...Object.values(all).map((one) => one.cpu_ratio_to_floor));
  return {
    bench: 'status',
    ...worst.daemon,
    ...worst,
    cpu_ratio_to_floor: lowestCpu,
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

export const bench: Bench = {
  summary: 'Status and GetTask over many tasks, of the running daemon, beside a bare grpc-js server',
  defaults: { tasks: 10_000, calls: 20_000, rounds: 6, warmup: 60_000, connections: 2, streams: 50 },

  async run(options, progress) {
    const daemon = await Daemon.start({ maxTasks: options.tasks!, readQps: 0.1, resyncInterval: '1h' });
    const load = new Load({ connections: options.connections!, streams: options.streams! });
    const floorProcess = new Worker(new URL('./floor.js', import.meta.url));
    try {
      const { handles } = await load.create(daemon.port, options.tasks!);
      progress(`${handles.length} tasks`);
      const protocols = Object.entries(PROTOCOLS).map(([name, make]) => ({ name: name as ProtocolName, ...make() }));
      const answers: Partial<Record<ProtocolName, Uint8Array>> = {};
      for (const one of protocols) answers[one.name] = await rightAnswer(load, daemon.port, one, handles.at(-1)!);
      const floor = await floorProcess.ask<FloorStarted>({ answers } as FloorRequest);
      const all: Partial<Record<ProtocolName, Figures>> = {};
      for (const one of protocols) {
        for (const { port } of [floor, daemon]) {
          await load.loadStatus(port, one, handles);
          await load.statusCalls(port, options.warmup!);
        }
        progress(`${one.name}: warmed up with ${options.warmup} calls each`);
        all[one.name] = figures(await interleave(load, floor, daemon, options), answers[one.name]!.length);
      }
      return report(all as Record<ProtocolName, Figures>, options);
    } finally {
      await Promise.all([load.stop(), floorProcess.stop(), daemon.stop()]);
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
      ])
      .join('\n');
  },
};
