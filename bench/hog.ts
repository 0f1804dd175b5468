import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { defineBench } from './lib/bench.js';
import { machine } from './lib/cpu.js';
import { Daemon } from './lib/daemon.js';
import { Load } from './lib/load.js';
import { median, rounded } from './lib/numbers.js';
import { PROTOCOLS } from './lib/protocols.js';

const sourceOf = (name: string): string => fileURLToPath(new URL(`./${name}.js`, import.meta.url));

export const bench = defineBench({
  summary: 'Status while one plugin spins and another floods its channel, over Status while none does',
  defaults: { tasks: 5000, rate: 1000, seconds: 5, rounds: 4, warmup: 20_000, connections: 2, streams: 50 },
  fields: ['p99_ratio', 'p99_ratio_min', 'p99_ms', 'calm_p99_ms', 'hogs_ended'],
  targets: { p99_ratio: { atMost: 3 } },

  async run(options, progress) {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-bench-'));
    const flag = path.join(folder, 'flag');
    const daemon = await Daemon.start({
      maxTasks: options.tasks!,
      readQps: 0.1,
      resyncInterval: '1h',
      others: {
        spinning: { source: sourceOf('spinning'), settings: { flag } },
        flooding: { source: sourceOf('flooding'), settings: { flag } },
      },
    });
    const load = new Load({ connections: options.connections!, streams: options.streams! });
    try {
      const { handles } = await load.create(daemon.port, options.tasks!);
      await load.loadStatus(daemon.port, PROTOCOLS.native(), handles);
      await load.statusCalls(daemon.port, options.warmup!);
      const p99 = async () => (await load.statusOpen(daemon.port, options.rate!, options.seconds!)).p99Ms;
      const besideHogs = async () => {
        writeFileSync(flag, '');
        const seen = await p99();
        rmSync(flag);
        // What the flood left in pipes is read, and a process that was ended for it is there again.
        await sleep(options.seconds! * 1000);
        return seen;
      };
      // What only hogs make it run is compiled then, and their first full collection has ended what the calls before have left.
      progress(`warmed up, ${(await besideHogs()).toFixed(2)} ms beside the hogs meanwhile`);
      const rounds: { readonly calm: number; readonly hogged: number }[] = [];
      for (let round = 0; round < options.rounds!; round++) {
        const calm = await p99();
        const hogged = await besideHogs();
        rounds.push({ calm, hogged });
        progress(`p99 ${calm.toFixed(2)} ms, ${hogged.toFixed(2)} ms beside the hogs`);
      }
      return {
        bench: 'hog',
        p99_ratio: rounded(median(rounds.map(({ calm, hogged }) => hogged / calm))),
        p99_ratio_min: rounded(Math.min(...rounds.map(({ calm, hogged }) => hogged / calm))),
        p99_ms: rounded(median(rounds.map(({ hogged }) => hogged)), 2),
        calm_p99_ms: rounded(median(rounds.map(({ calm }) => calm)), 2),
        hogs_ended: daemon.logged('plugin.trouble'),
        ...options,
        machine: machine(),
      };
    } finally {
      rmSync(flag, { force: true });
      await Promise.all([load.stop(), daemon.stop()]);
      rmSync(folder, { recursive: true, force: true });
    }
  },

  describe: (result) =>
    `hog  p99 of Status ${result.p99_ms} ms beside a plugin that spins and one that floods, ${result.calm_p99_ms} ms without: ${result.p99_ratio}`,
});
