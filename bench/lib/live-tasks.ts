import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { BenchOptions } from './bench.js';
import { Daemon, type DaemonOptions } from './daemon.js';
import { Load } from './load.js';
import { madeHandle, makeState } from './made-state.js';
import type { Protocol } from './protocols.js';

/** Runs over a folder of its own, which is gone afterwards. */
export async function inFolder<T>(work: (folder: string) => Promise<T>): Promise<T> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'plugin-host-bench-'));
  try {
    return await work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * A daemon that begins with `tasks` live tasks, last read within `resync` seconds, whose plugin reads them a hundred a call; and
 * calls about them, after `warmup` of these. Both are stopped at the end.
 */
export function withLiveTasks<T>(
  options: BenchOptions,
  protocol: Protocol,
  more: Pick<DaemonOptions, 'readQps' | 'changeS'>,
  work: (daemon: Daemon, load: Load) => Promise<T>,
): Promise<T> {
  const { tasks, resync, warmup, connections, streams } = options as Record<string, number>;
  return inFolder(async (stateDir) => {
    await makeState(stateDir, tasks!, resync! * 1000);
    const daemon = await Daemon.start({
      batch: true,
      maxTasks: tasks!,
      resyncInterval: `${resync}s`,
      stateDir,
      ...more,
    });
    const load = new Load({ connections: connections!, streams: streams! });
    try {
      const handles = Array.from({ length: tasks! }, (_, index) => madeHandle(index));
      await load.loadStatus(daemon.port, protocol, handles);
      await load.statusCalls(daemon.port, warmup!);
      return await work(daemon, load);
    } finally {
      await Promise.all([load.stop(), daemon.stop()]);
    }
  });
}
