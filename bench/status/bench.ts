import { createClient } from '../../src/client/index.js';
import type { Bench, BenchOptions } from '../lib/bench.js';
import { median, rounded } from '../lib/numbers.js';
import { Worker } from '../lib/processes.js';
import {
  type GeneratorRequest,
  type RoundResult,
  type ServerRequest,
  type ServerStarted,
  STATUS_PATH,
} from './messages.js';

const module = (name: string): URL => new URL(`./${name}.js`, import.meta.url);

type Name = 'floor' | 'tuned_floor' | 'status';

/** A server process under load. */
interface Target {
  readonly name: Name;
  readonly worker: Worker;
  readonly started: ServerStarted;
}

type Round = Readonly<Record<Name, Measured>>;

interface Measured {
  readonly callsPerSecond: number;
  /** Of the server process. */
  readonly cpuMicrosPerCall: number;
  /** Share of one core that the server used. */
  readonly serverCpuShare: number;
  readonly generatorCpuShare: number;
}

async function measure(target: Target, generator: Worker, seconds: number): Promise<Measured> {
  const cpuBefore = await target.worker.ask<number>({ kind: 'cpu' });
  const request: GeneratorRequest = { kind: 'round', port: target.started.port, seconds };
  const round = await generator.ask<RoundResult>(request);
  const cpu = (await target.worker.ask<number>({ kind: 'cpu' })) - cpuBefore;
  if (round.errors > 0)
    throw new Error(`${round.errors} of ${round.calls + round.errors} calls to ${target.name} failed`);
  return {
    callsPerSecond: round.calls / round.seconds,
    cpuMicrosPerCall: (cpu / round.calls) * 1e6,
    serverCpuShare: cpu / round.seconds,
    generatorCpuShare: round.cpuSeconds / round.seconds,
  };
}

/** One real answer, decoded, so that a fast wrong one is not taken for a good one. */
async function assertAnswers(target: Target): Promise<void> {
  const client = createClient({ address: `127.0.0.1:${target.started.port}` });
  try {
    const request = target.started.requests.at(-1)!;
    // The handle is the request's first field: tag, two bytes of length, content.
    const length = (request[1]! & 0x7f) | (request[2]! << 7);
    const { phaseInfo } = await client.status(request.subarray(3, 3 + length));
    if (phaseInfo.phase !== 'RUNNING') throw new Error(`Status answered ${phaseInfo.phase}, not RUNNING`);
  } finally {
    client.close();
  }
}

/** Every target once. Who goes first changes from round to round, so that a machine that slows down favours nobody. */
async function oneRound(targets: readonly Target[], index: number, generator: Worker, seconds: number): Promise<Round> {
  const measured: Partial<Record<Name, Measured>> = {};
  for (let offset = 0; offset < targets.length; offset++) {
    const target = targets[(index + offset) % targets.length]!;
    measured[target.name] = await measure(target, generator, seconds);
  }
  return measured as Round;
}

function report(targets: readonly Target[], rounds: readonly Round[], options: BenchOptions): Record<string, unknown> {
  const middle = (pick: (round: Round) => number) => median(rounds.map(pick));
  const sides = targets.map(({ name, started }) => [
    name,
    {
      calls_per_second: Math.round(middle((round) => round[name].callsPerSecond)),
      cpu_us_per_call: rounded(
        middle((round) => round[name].cpuMicrosPerCall),
        2,
      ),
      server_cpu_share: rounded(
        middle((round) => round[name].serverCpuShare),
        2,
      ),
      generator_cpu_share: rounded(
        middle((round) => round[name].generatorCpuShare),
        2,
      ),
      answer_bytes: started.answerBytes,
    },
  ]);
  const rates = rounds.map((round) => round.status.callsPerSecond / round.floor.callsPerSecond);
  const cpu = (floor: Name) =>
    rounded(middle((round) => round[floor].cpuMicrosPerCall / round.status.cpuMicrosPerCall));
  return {
    bench: 'status',
    ratio_to_floor: rounded(median(rates)),
    ratio_min: rounded(Math.min(...rates)),
    ratio_max: rounded(Math.max(...rates)),
    cpu_ratio_to_floor: cpu('floor'),
    ratio_to_tuned_floor: rounded(middle((round) => round.status.callsPerSecond / round.tuned_floor.callsPerSecond)),
    cpu_ratio_to_tuned_floor: cpu('tuned_floor'),
    ...Object.fromEntries(sides),
    tasks: options.tasks,
    rounds: rounds.length,
    seconds_per_round: options.seconds,
    connections: options.connections,
    streams_per_connection: options.streams,
    node: process.version,
  };
}

async function compare(
  targets: readonly Target[],
  generator: Worker,
  options: BenchOptions,
  progress: (line: string) => void,
): Promise<Record<string, unknown>> {
  for (const target of targets) await measure(target, generator, options.warmup!);
  const rounds: Round[] = [];
  for (let index = 0; index < options.rounds!; index++) {
    const round = await oneRound(targets, index, generator, options.seconds!);
    rounds.push(round);
    const rates = targets.map(({ name }) => `${name} ${Math.round(round[name].callsPerSecond)}/s`);
    progress(`round ${index + 1}: ${rates.join(', ')}`);
  }
  return report(targets, rounds, options);
}

async function start(worker: Worker, name: Name, tasks: number): Promise<Target> {
  const request: ServerRequest = { kind: 'start', tasks, tuned: name === 'tuned_floor' };
  return { name, worker, started: await worker.ask<ServerStarted>(request) };
}

export const bench: Bench = {
  summary: 'Status on tasks in memory against a bare grpc-js server that answers one constant message',
  defaults: { tasks: 10_000, rounds: 20, seconds: 0.5, warmup: 2, connections: 4, streams: 16 },

  async run(options, progress) {
    const workers = ['floor', 'floor', 'handler', 'generator'].map((name) => new Worker(module(name)));
    const [bare, tuned, handler, generator] = workers as [Worker, Worker, Worker, Worker];
    const { tasks, connections, streams } = options as { tasks: number; connections: number; streams: number };
    try {
      const real = await start(handler, 'status', tasks);
      const targets = [await start(bare, 'floor', tasks), await start(tuned, 'tuned_floor', tasks), real];
      await assertAnswers(real);
      const { requests } = real.started;
      for (const { started } of targets) {
        const { port } = started;
        const load: GeneratorRequest = { kind: 'load', port, path: STATUS_PATH, requests, connections, streams };
        await generator.ask(load);
      }
      return await compare(targets, generator, options, progress);
    } finally {
      await Promise.all(workers.map((worker) => worker.stop()));
    }
  },

  describe(result) {
    const sides = result as Record<Name, Record<string, number>>;
    const line = (label: string, side: Record<string, number>) =>
      `${label.padEnd(30)} ${side.calls_per_second} calls/s, ${side.cpu_us_per_call} µs of CPU a call, ${side.answer_bytes} bytes an answer`;
    return [
      line('bare grpc-js', sides.floor),
      line('bare grpc-js without channelz', sides.tuned_floor),
      line('Status', sides.status),
      `ratio to floor ${result.ratio_to_floor} (rounds ${result.ratio_min} to ${result.ratio_max}), by CPU ${result.cpu_ratio_to_floor}`,
      `ratio to the floor without channelz ${result.ratio_to_tuned_floor}, by CPU ${result.cpu_ratio_to_tuned_floor}`,
    ].join('\n');
  },
};
