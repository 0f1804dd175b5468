import { defineBench } from './lib/bench.js';
import { childrenOf, machine, mainThreadMicros, processSeconds, residentBytes } from './lib/cpu.js';
import { withLiveTasks } from './lib/live-tasks.js';
import { rounded } from './lib/numbers.js';
import { PROTOCOLS } from './lib/protocols.js';

/** Tasks that one read tells of. */
const BATCH = 100;
const LATE = 'pluginhost_schedule_late_reads_total';

export const bench = defineBench({
  summary: 'many live tasks that are polled, and their engines asking by the clock, whether they are answered or not',
  defaults: {
    tasks: 500_000,
    resync: 600,
    reads: 1000,
    rate: 16_700,
    seconds: 60,
    warmup: 30_000,
    connections: 4,
    streams: 50,
  },
  fields: [
    'achieved_ratio',
    'p50_ms',
    'p99_ms',
    'reads_per_second',
    'late_polls',
    'main_thread_share',
    'daemon_share',
    'plugin_share',
    'generator_share',
    'resident_bytes_per_task',
  ],

  targets: { achieved_ratio: { atLeast: 0.99 }, late_polls: { atMost: 0 } },

  run: (options, progress) =>
    withLiveTasks(options, PROTOCOLS.flyte1(), { readQps: options.reads! / BATCH }, async (daemon, load) => {
      progress(`${options.tasks} tasks are live`);
      const [plugin] = childrenOf(daemon.pid);
      const before = {
        main: mainThreadMicros(daemon.pid),
        daemon: processSeconds(daemon.pid),
        plugin: processSeconds(plugin!),
        read: daemon.tasksRead(),
        late: await daemon.metric(LATE),
      };
      const round = await load.statusOpen(daemon.port, options.rate!, options.seconds!);
      const share = (seconds: number) => rounded(seconds / round.seconds, 2);
      return {
        bench: 'live',
        achieved_ratio: rounded(round.calls / round.seconds / options.rate!),
        p50_ms: rounded(round.p50Ms, 2),
        p99_ms: rounded(round.p99Ms, 2),
        reads_per_second: rounded((daemon.tasksRead() - before.read) / round.seconds, 0),
        late_polls: (await daemon.metric(LATE)) - before.late,
        main_thread_share: share((mainThreadMicros(daemon.pid) - before.main) / 1e6),
        daemon_share: share(processSeconds(daemon.pid) - before.daemon),
        plugin_share: share(processSeconds(plugin!) - before.plugin),
        generator_share: share(round.cpuSeconds),
        resident_bytes_per_task: rounded(residentBytes(daemon.pid) / options.tasks!, 0),
        ...options,
        machine: machine(),
      };
    }),

  describe: (result) =>
    `live  ${result.tasks} tasks, ${result.rate} GetTask/s: ${result.achieved_ratio} achieved, p99 ${result.p99_ms} ms, ` +
    `${result.reads_per_second} tasks read a second, ${result.late_polls} of them late; shares of a core: daemon ${result.daemon_share}, ` +
    `plugin ${result.plugin_share}, load ${result.generator_share}; ${result.resident_bytes_per_task} bytes a task, all of the process`,
});
