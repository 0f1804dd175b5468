import { setTimeout as sleep } from 'node:timers/promises';
import { machineMs } from '../../src/lib/clock.js';
import type { ChaosEngine } from './engine.js';
import type { Flavour, Fleet } from './fleet.js';
import type { LastWords, Violation } from './judge.js';
import type { Remotes } from './remote.js';

/** Until as many run as may, and until all of them are cancelled. Milliseconds. */
const PATIENCE_MS = 90_000;
const FOREVER_MS = 10 ** 9;
/** Those that find what an earlier create made: one whose answer is late on a busy machine is no unclear one. */
const FLAVOURS: readonly Flavour[] = ['keyed', 'searched'];
/** In turn, so that no bound of a project is met. */
const PROJECTS = 2;

/**
 * Where tasks are spread, no replica shows what the owner of a plugin's limits takes for held: so when all is over, as many tasks as there are
 * tokens are created, and all of them are to run at a time. Answers tokens that could not be had.
 */
export async function refill(
  engine: ChaosEngine,
  remotes: Remotes,
  fleet: Readonly<Record<Flavour, Fleet>>,
  { holders }: LastWords,
): Promise<Violation[]> {
  const found = await Promise.all(
    FLAVOURS.map(async (flavour): Promise<Violation[]> => {
      const { quota } = fleet[flavour];
      const free = quota - holders.filter(({ plugin }) => plugin === flavour).length;
      const creates = Array.from({ length: quota }, (_, n) => engine.createBeside(planOf(flavour, n)));
      const open = () => remotes.jobs.filter(({ task, overAtMs }) => isBeside(task, flavour) && overAtMs === undefined);
      await until(() => open().length >= free);
      const had = open().length;
      for (const create of creates) await (await create)();
      await until(() => open().length === 0);
      if (had >= free) return [];
      return [
        { kind: 'leaked', what: `${flavour}: ${had} of ${free} tokens could be had when all was over`, keys: [] },
      ];
    }),
  );
  return found.flat();
}

const nameOf = (flavour: Flavour) => `beside-${flavour}-`;
const isBeside = (task: string, flavour: Flavour) => task.startsWith(nameOf(flavour));

function planOf(flavour: Flavour, n: number) {
  const name = `${nameOf(flavour)}${n}`;
  const ends = { plan: 'delete', runMs: FOREVER_MS, end: 'done', afterMs: 0, pollMs: 0 } as const;
  return { index: 2 * n, flavour, name, node: name, project: `beside-${n % PROJECTS}`, textLength: 0, ...ends };
}

async function until(is: () => boolean): Promise<void> {
  const untilMs = machineMs() + PATIENCE_MS;
  while (!is() && machineMs() < untilMs) await sleep(100);
}
