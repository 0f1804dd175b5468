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

/** The 99th percentile in each part of a round, in milliseconds. */
interface Round {
  readonly calm: number;
  readonly channel: number;
  readonly output: number;
}

/** What the pipes hold of a flood is read in a fraction of it. */
const AFTER_FLOOD_MS = 2_000;

export const bench = defineBench({
  summary: 'Status while one plugin spins and another floods its channel, or its output, over Status while none does',
  defaults: { tasks: 5000, rate: 1000, seconds: 5, rounds: 5, warmup: 20_000, idle: 45, connections: 2, streams: 50 },
  fields: [
    'p99_ratio',
    'p99_ms',
    'p99_ms_max',
    'printed_p99_ratio',
    'printed_p99_ms',
    'printed_p99_ms_max',
    'calm_p99_ms',
    'calm_p99_ms_max',
    'hogs_ended',
  ],
  targets: { p99_ratio: { atMost: 3 }, printed_p99_ratio: { atMost: 3 } },

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
      const besideHogs = async (flood: 'channel' | 'output') => {
        writeFileSync(flag, flood);
        const seen = await p99();
        rmSync(flag);
        await sleep(AFTER_FLOOD_MS);
        return seen;
      };
      const shown = (all: readonly number[]) => all.map((ms) => `${ms.toFixed(2)} ms`).join(', ');
      // What only hogs make it run is compiled then, and their first full collection has ended what the calls before have left.
      progress(`warmed up, beside the hogs ${shown([await besideHogs('channel'), await besideHogs('output')])}`);
      // V8 holds the heap of an idle daemon small: what a flood makes it take outside of it asks for full collections, then and not before.
      await sleep(options.idle! * 1000);
      const rounds: Round[] = [];
      for (let index = 0; index < options.rounds!; index++) {
        const calm = await p99();
        const round = { calm, channel: await besideHogs('channel'), output: await besideHogs('output') };
        rounds.push(round);
        progress(`p99 calm, beside a flood of the channel, and of the output: ${shown(Object.values(round))}`);
      }
      for (const what of ['its channel', 'stdout', 'stderr']) {
        if (daemon.logged(`lines of ${what} were left out`) === 0) throw new Error(`nothing flooded ${what}`);
      }
      // Of the rounds the one in the middle: a full collection is more than a hundredth of a round's time, and comes once in several.
      const middle = (part: keyof Round) => median(rounds.map((round) => round[part]));
      const highest = (part: keyof Round) => rounded(Math.max(...rounds.map((round) => round[part])), 2);
      return {
        bench: 'hog',
        p99_ratio: rounded(middle('channel') / middle('calm')),
        p99_ms: rounded(middle('channel'), 2),
        p99_ms_max: highest('channel'),
        printed_p99_ratio: rounded(middle('output') / middle('calm')),
        printed_p99_ms: rounded(middle('output'), 2),
        printed_p99_ms_max: highest('output'),
        calm_p99_ms: rounded(middle('calm'), 2),
        calm_p99_ms_max: highest('calm'),
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
    `hog  p99 of Status ${result.calm_p99_ms} ms; beside a plugin that spins ${result.p99_ms} ms while one floods its channel (${result.p99_ratio}), ` +
    `${result.printed_p99_ms} ms while it floods its output (${result.printed_p99_ratio})`,
});
