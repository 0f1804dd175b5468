import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { defineBench } from './lib/bench.js';
import { machine, mainThreadMicros, processSeconds } from './lib/cpu.js';
import { Daemon } from './lib/daemon.js';
import { Load } from './lib/load.js';
import { median, rounded } from './lib/numbers.js';
import { PROTOCOLS } from './lib/protocols.js';

const SERVICE = fileURLToPath(new URL('../../bench/connector_service.py', import.meta.url));
const TOOLS = new URL('../../scripts/interop/tools.mjs', import.meta.url).href;

/** flytekit's own service with a connector that answers at once, as the bench's plugin does. */
class PythonService {
  readonly #child: ChildProcess;
  readonly port: number;

  private constructor(child: ChildProcess, port: number) {
    this.#child = child;
    this.port = port;
  }

  get pid(): number {
    return this.#child.pid!;
  }

  static async start(): Promise<PythonService> {
    const { ensurePython } = (await import(TOOLS)) as { ensurePython: () => string };
    const child = spawn(ensurePython(), [SERVICE], { stdio: ['ignore', 'pipe', 'inherit'] });
    for await (const line of createInterface({ input: child.stdout! })) {
      const port = /^ready (\d+)$/.exec(line)?.[1];
      if (port !== undefined) return new PythonService(child, Number(port));
    }
    throw new Error('the Python service ended before it was ready');
  }

  async stop(): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    const gone = once(this.#child, 'exit');
    this.#child.kill('SIGKILL');
    await gone;
  }
}

/** What its connector gave as the meta of a job, as it comes back with each call. */
const metaOf = (index: number): Buffer =>
  Buffer.from(JSON.stringify({ job: `job-${String(index).padStart(18, '0')}`, cluster: 'bench-cluster-0' }));

interface Measured {
  /** Microseconds of all threads, and of the main one. */
  readonly cpu: number;
  readonly main: number;
  readonly rate: number;
}

async function measure(load: Load, { port, pid }: { port: number; pid: number }, calls: number): Promise<Measured> {
  const [cpu, main] = [processSeconds(pid), mainThreadMicros(pid)];
  const round = await load.statusCalls(port, calls);
  return {
    cpu: ((processSeconds(pid) - cpu) * 1e6) / calls,
    main: (mainThreadMicros(pid) - main) / calls,
    rate: calls / round.seconds,
  };
}

export const bench = defineBench({
  summary: 'GetTask of Flyte 1 by the daemon, over the same by the Python service that it replaces; CPU of all threads',
  defaults: {
    tasks: 10_000,
    calls: 20_000,
    python_calls: 5000,
    rounds: 4,
    warmup: 60_000,
    connections: 2,
    streams: 50,
  },
  fields: [
    'ratio_to_python',
    'main_thread_ratio',
    'rate_ratio',
    'cpu_us',
    'python_cpu_us',
    'main_us',
    'python_main_us',
    'calls_per_second',
    'python_calls_per_second',
  ],
  targets: { ratio_to_python: { atLeast: 6 } },

  async run(options, progress) {
    const python = await PythonService.start();
    const daemons: Daemon[] = [];
    const load = new Load({ connections: options.connections!, streams: options.streams! });
    try {
      const daemon = await Daemon.start({ maxTasks: options.tasks!, readQps: 0.1, resyncInterval: '1h' });
      daemons.push(daemon);
      const flyte1 = PROTOCOLS.flyte1();
      const { handles } = await load.create(daemon.port, options.tasks!);
      const metas = handles.map((_, index) => metaOf(index));
      for (const [port, asked] of [
        [daemon.port, handles],
        [python.port, metas],
      ] as const) {
        const phase = flyte1.phaseOf(await load.status(port, flyte1, asked[0]!));
        if (phase !== 'RUNNING') throw new Error(`GetTask answered ${phase}, not RUNNING`);
        await load.loadStatus(port, flyte1, asked);
      }
      await load.statusCalls(daemon.port, options.warmup!);
      await load.statusCalls(python.port, options.python_calls!);
      progress('both are warmed up');
      const rounds: { readonly ours: Measured; readonly theirs: Measured }[] = [];
      for (let round = 0; round < options.rounds!; round++) {
        const theirs = await measure(load, python, options.python_calls!);
        rounds.push({ theirs, ours: await measure(load, daemon, options.calls!) });
      }
      const of = (pick: (one: (typeof rounds)[number]) => number, digits = 2) =>
        rounded(median(rounds.map(pick)), digits);
      return {
        bench: 'python',
        ratio_to_python: of(({ ours, theirs }) => theirs.cpu / ours.cpu, 3),
        main_thread_ratio: of(({ ours, theirs }) => theirs.main / ours.main, 3),
        rate_ratio: of(({ ours, theirs }) => ours.rate / theirs.rate, 3),
        cpu_us: of(({ ours }) => ours.cpu),
        python_cpu_us: of(({ theirs }) => theirs.cpu),
        main_us: of(({ ours }) => ours.main),
        python_main_us: of(({ theirs }) => theirs.main),
        calls_per_second: of(({ ours }) => ours.rate, 0),
        python_calls_per_second: of(({ theirs }) => theirs.rate, 0),
        ...options,
        machine: machine(),
      };
    } finally {
      await Promise.all([load.stop(), python.stop(), ...daemons.map((daemon) => daemon.stop())]);
    }
  },

  describe: (result) =>
    `python  GetTask ${result.cpu_us} µs of all threads, the Python service ${result.python_cpu_us}: ${result.ratio_to_python} times ` +
    `(main threads ${result.main_thread_ratio}); ${result.calls_per_second} and ${result.python_calls_per_second} calls a second`,
});
