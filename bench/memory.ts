import { readFileSync } from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { defineBench } from './lib/bench.js';
import { machine, residentBytes } from './lib/cpu.js';
import { Daemon, type DaemonOptions } from './lib/daemon.js';
import { inFolder } from './lib/live-tasks.js';
import { Load } from './lib/load.js';
import { makeState } from './lib/made-state.js';
import { rounded } from './lib/numbers.js';
import { PROTOCOLS } from './lib/protocols.js';

const HOOK = new URL('./hook.js', import.meta.url).href;

interface Left {
  readonly resident: number;
  readonly heapUsed: number;
  readonly external: number;
  readonly arrayBuffers: number;
}

/** Resident bytes are taken for stable when so many in a row differ by no more, and are waited for no longer. */
const STABLE_BYTES = 256 * 1024;
const STABLE_IN_A_ROW = 3;
const STABLE_TRIES = 20;

/** What the daemon holds after full collections; freed pages go back to the system in the seconds after them. */
async function collected(daemon: Daemon, hookPort: number, settleSeconds: number): Promise<Left> {
  const url = `http://127.0.0.1:${hookPort}/`;
  await sleep(settleSeconds * 1000);
  let before = Number.POSITIVE_INFINITY;
  for (let tries = 1, inARow = 1; ; tries++) {
    const { heapUsed, external, arrayBuffers } = (await (await fetch(url)).json()) as NodeJS.MemoryUsage;
    const resident = residentBytes(daemon.pid);
    inARow = Math.abs(before - resident) <= STABLE_BYTES ? inARow + 1 : 1;
    if (inARow === STABLE_IN_A_ROW || tries === STABLE_TRIES) return { resident, heapUsed, external, arrayBuffers };
    before = resident;
  }
}

/** For tasks beyond those that are weighed. */
const ROOM = 20_000;

/** Beside so many live tasks it is measured what a Create leaves: V8 makes a full collection the later, the more there is. */
const PROMOTED_AT = 100_000;
/** Few enough that V8 makes no full collection of its own meanwhile, as a rule. */
const PROMOTED = 5_000;

interface Old {
  readonly bytes: number;
  readonly collections: number;
}

/** What a Create leaves among the old objects until the next full collection: its task, and whatever else is not let go of in time. */
async function promotedByCreate(create: (tasks: number) => Promise<unknown>, hookPort: number): Promise<number> {
  const url = `http://127.0.0.1:${hookPort}/`;
  const look = async () => (await (await fetch(`${url}old`)).json()) as Old;
  for (;;) {
    // Makes old what the daemon keeps its calls in.
    await fetch(`${url}once`);
    const before = await look();
    await create(PROMOTED);
    const after = await look();
    if (after.collections === before.collections) return (after.bytes - before.bytes) / PROMOTED;
  }
}

/** What a daemon holds that began with so many live tasks in its state: no call has left anything with its allocator. */
function restarted(tasks: number, settleSeconds: number): Promise<Left> {
  return inFolder(async (folder) => {
    const stateDir = path.join(folder, 'state');
    await makeState(stateDir, tasks);
    const file = path.join(folder, 'hook');
    const daemon = await Daemon.start({ ...daemonOptions(tasks, file), stateDir });
    try {
      return await collected(daemon, Number(readFileSync(file, 'utf8')), settleSeconds);
    } finally {
      await daemon.stop();
    }
  });
}

/** Polls next to nothing, and is collected by the hook, which writes its port to the file. */
function daemonOptions(maxTasks: number, file: string): DaemonOptions {
  return {
    maxTasks,
    readQps: 0.1,
    resyncInterval: '1h',
    execArgv: ['--expose-gc', '--import', HOOK],
    env: { BENCH_HOOK_FILE: file },
  };
}

export const bench = defineBench({
  summary: 'resident bytes of a live task in the running daemon, after a full collection',
  defaults: { tasks: 100_000, settle: 5 },
  fields: [
    'bytes_per_task',
    'heap_bytes_per_task',
    'external_bytes_per_task',
    'array_buffer_bytes_per_task',
    'restarted_bytes_per_task',
    'restarted_heap_bytes_per_task',
    'promoted_bytes_per_create',
    'left_bytes',
    'empty_resident_bytes',
    'full_resident_bytes',
    'handle_bytes',
  ],
  targets: { bytes_per_task: { atMost: 1_000 }, promoted_bytes_per_create: { atMost: 3_500 } },

  run: (options, progress) =>
    inFolder(async (folder) => {
      const file = path.join(folder, 'hook');
      const before = await restarted(0, options.settle!);
      const after = await restarted(options.tasks!, options.settle!);
      progress(`a daemon that began with ${options.tasks} tasks was weighed`);
      const daemon = await Daemon.start(daemonOptions(options.tasks! + ROOM, file));
      const load = new Load({ connections: 2, streams: 50 });
      try {
        const hookPort = Number(readFileSync(file, 'utf8'));
        const deleted = async (handles: readonly Buffer[]) => {
          await load.delete(daemon.port, handles);
          // A Delete is answered before its job is deleted, and until then its task is held.
          while ((await daemon.metric('pluginhost_deletes_owed')) > 0) await sleep(100);
        };
        const passing = (await load.create(daemon.port, Math.min(PROMOTED_AT, options.tasks!))).handles;
        const promoted = await promotedByCreate(async (tasks) => {
          passing.push(...(await load.create(daemon.port, tasks)).handles);
        }, hookPort);
        await deleted(passing);
        // Just such a burst as is weighed later has come and gone before the empty daemon is weighed: code is compiled, and the allocator
        // keeps what such a burst takes of it, which is the burst's (`left_bytes`) and not the tasks'.
        await deleted((await load.create(daemon.port, options.tasks!)).handles);
        const empty = await collected(daemon, hookPort, options.settle!);
        const { handles } = await load.create(daemon.port, options.tasks!);
        progress(`${handles.length} tasks`);
        const full = await collected(daemon, hookPort, options.settle!);
        const native = PROTOCOLS.native();
        const phase = native.phaseOf(await load.status(daemon.port, native, handles[0]!));
        if (phase !== 'RUNNING') throw new Error(`Status answered ${phase}, not RUNNING`);
        const over = (left: Left, none: Left, pick: (left: Left) => number) =>
          rounded((pick(left) - pick(none)) / options.tasks!, 0);
        const perTask = (pick: (left: Left) => number) => over(full, empty, pick);
        const [resident, heap] = [perTask((left) => left.resident), perTask((left) => left.heapUsed)];
        return {
          bench: 'memory',
          // Below what V8 itself knows of the tasks, pages that the allocator gave back later were weighed with the empty daemon.
          bytes_per_task: resident < heap ? null : resident,
          heap_bytes_per_task: heap,
          external_bytes_per_task: perTask((left) => left.external),
          array_buffer_bytes_per_task: perTask((left) => left.arrayBuffers),
          restarted_bytes_per_task: over(after, before, (left) => left.resident),
          restarted_heap_bytes_per_task: over(after, before, (left) => left.heapUsed),
          promoted_bytes_per_create: rounded(promoted, 0),
          left_bytes: empty.resident - before.resident,
          empty_resident_bytes: empty.resident,
          full_resident_bytes: full.resident,
          // Of a create that was answered before its job was known the handle has no meta.
          handle_bytes: handles.reduce((longest, { length }) => Math.max(longest, length), 0),
          ...options,
          machine: machine(),
        };
      } finally {
        await Promise.all([load.stop(), daemon.stop()]);
      }
    }),

  describe: (result) =>
    `memory  ${result.bytes_per_task ?? 'no figure of'} bytes a live task, resident (heap ${result.heap_bytes_per_task}, external ${result.external_bytes_per_task}); ` +
    `${result.restarted_bytes_per_task} (heap ${result.restarted_heap_bytes_per_task}) after a restart; ` +
    `${result.tasks} tasks, handles of ${result.handle_bytes} bytes`,
});
