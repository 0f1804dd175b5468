import { setTimeout as sleep } from 'node:timers/promises';
import { createClient } from 'webapi-plugin-host/client';
import { type BenchOptions, defineBench } from './lib/bench.js';
import { machine, mainThreadMicros } from './lib/cpu.js';
import type { Daemon } from './lib/daemon.js';
import { withLiveTasks } from './lib/live-tasks.js';
import type { Load } from './lib/load.js';
import { median, rounded } from './lib/numbers.js';
import { PROTOCOLS } from './lib/protocols.js';

/** Follows every task of a daemon by one stream. */
class Follower {
  readonly #stop = new AbortController();
  readonly #done: Promise<void>;
  changes = 0;
  lagged = 0;

  constructor(port: number) {
    this.#done = this.#follow(port);
  }

  async #follow(port: number): Promise<void> {
    const client = createClient({ address: `127.0.0.1:${port}` });
    try {
      for await (const update of client.watch({}, { signal: this.#stop.signal })) {
        if (update.kind === 'change') this.changes += 1;
        if (update.kind === 'lagged') this.lagged += 1;
      }
    } catch (error) {
      if (!this.#stop.signal.aborted) throw error;
    } finally {
      client.close();
    }
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await this.#done;
  }
}

interface Round {
  /** Of a core, the daemon's main thread: with nobody asking, with one that follows, with one that polls. */
  readonly alone: number;
  readonly followed: number;
  readonly polled: number;
  readonly changes: number;
}

async function measureRound(daemon: Daemon, load: Load, options: BenchOptions): Promise<Round> {
  const { tasks, poll, seconds } = options as Record<'tasks' | 'poll' | 'seconds', number>;
  const share = async (work: () => Promise<unknown>): Promise<number> => {
    const before = mainThreadMicros(daemon.pid);
    const from = performance.now();
    await work();
    return (mainThreadMicros(daemon.pid) - before) / 1000 / (performance.now() - from);
  };
  const alone = await share(() => sleep(seconds * 1000));
  const follower = new Follower(daemon.port);
  await sleep(1000);
  const before = follower.changes;
  const followed = await share(() => sleep(seconds * 1000));
  const changes = (follower.changes - before) / seconds;
  await follower.stop();
  if (follower.lagged > 0) throw new Error(`the follower missed changes ${follower.lagged} times`);
  if (changes === 0) throw new Error('no task changed, so following them says nothing');
  const polled = await share(() => load.statusOpen(daemon.port, tasks / poll, seconds));
  return { alone, followed, polled, changes };
}

export const bench = defineBench({
  summary:
    'what it costs the daemon to have all its tasks followed by Watch, over having each polled; tasks change meanwhile',
  defaults: {
    tasks: 100_000,
    poll: 30,
    change: 120,
    resync: 60,
    seconds: 15,
    rounds: 3,
    warmup: 20_000,
    connections: 2,
    streams: 50,
  },
  fields: ['ratio', 'watch_share', 'poll_share', 'alone_share', 'changes_per_second', 'polls_per_second'],
  targets: { ratio: { atMost: 0.15 } },

  run(options, progress) {
    // What the interval takes and no more, so that the polling of the remote is steady.
    const readQps = (1.2 * options.tasks!) / options.resync! / 100;
    const more = { readQps, changeS: options.change! };
    return withLiveTasks(options, PROTOCOLS.native(), more, async (daemon, load) => {
      // Until each was read, states of the file change all at once.
      while (daemon.tasksRead() < options.tasks!) await sleep(200);
      const rounds: Round[] = [];
      for (let round = 0; round < options.rounds!; round++) {
        const one = await measureRound(daemon, load, options);
        rounds.push(one);
        progress(
          `alone ${one.alone.toFixed(3)} of a core, followed ${one.followed.toFixed(3)}, polled ${one.polled.toFixed(3)}`,
        );
      }
      const of = (pick: (one: Round) => number, digits = 4) => rounded(median(rounds.map(pick)), digits);
      const followed = of((one) => one.followed - one.alone);
      const polled = of((one) => one.polled - one.alone);
      return {
        bench: 'watch',
        // What is lost in the noise of the machine is nothing, and not less.
        ratio: rounded(Math.max(0, followed) / polled),
        watch_share: followed,
        poll_share: polled,
        alone_share: of((one) => one.alone),
        changes_per_second: of((one) => one.changes, 1),
        polls_per_second: rounded(options.tasks! / options.poll!, 0),
        ...options,
        machine: machine(),
      };
    });
  },

  describe: (result) =>
    `watch  ${result.tasks} tasks followed: ${result.watch_share} of a core (${result.changes_per_second} changes a second), ` +
    `polled every ${result.poll} s: ${result.poll_share} (${result.polls_per_second} calls a second); ratio ${result.ratio}`,
});
