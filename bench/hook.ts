import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { constants, PerformanceObserver } from 'node:perf_hooks';
import { setTimeout as sleep } from 'node:timers/promises';
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8';

/**
 * Loaded into the daemon's process by the bench (`node --expose-gc --import hook.js`) and by nobody else: a loopback port
 * that collects all garbage and tells what is left. Its number is written to the file that the environment names.
 */
const collect = (globalThis as { gc?: (options?: object) => void }).gc;
const file = process.env.BENCH_HOOK_FILE;

if (collect === undefined || file === undefined) {
  throw new Error('the hook of the bench needs --expose-gc and BENCH_HOOK_FILE');
}

// A bare full collection moves nothing out of pages of which a third is in use: after a burst of creates they hold as much
// room again as the tasks themselves. V8 empties them by itself when memory is short or the process is idle.
setFlagsFromString('--compact-on-every-full-gc');

/** What a first collection finalizes, also in a task of the event loop, is freed by a later one. */
const TIMES = 4;
const PAUSE_MS = 250;
/**
 * As V8 collects before it would give up. Only this one makes the young generation small again, which a burst of creates has grown by
 * tens of MiB. It comes last: by itself it keeps what the others free.
 */
const SHRINKING = { type: 'major', execution: 'sync', flavor: 'last-resort' };

/** Each collection stops the process: `/once` is for one that is to go on meanwhile. */
async function weigh(once: boolean): Promise<object> {
  if (once) {
    collect?.();
    return process.memoryUsage();
  }
  for (let times = TIMES; times > 0; times--) {
    collect?.();
    await sleep(PAUSE_MS);
  }
  const left = process.memoryUsage();
  collect?.(SHRINKING);
  // Pages are given back by another thread.
  await sleep(PAUSE_MS);
  return left;
}

/** What Node tells of a collection; its types have no detail. */
interface Collected {
  readonly detail: { readonly kind: number };
}

let collections = 0;
const observer = new PerformanceObserver((list) => {
  for (const entry of list.getEntries()) {
    if ((entry as unknown as Collected).detail.kind === constants.NODE_PERFORMANCE_GC_MAJOR) collections += 1;
  }
});
observer.observe({ entryTypes: ['gc'] });

/** Bytes among the old objects, and how many full collections there were. The observer is told of those in the turn after them. */
async function old(): Promise<object> {
  await sleep(PAUSE_MS);
  const space = getHeapSpaceStatistics().find(({ space_name: name }) => name === 'old_space');
  return { bytes: space?.space_used_size, collections };
}

const server = createServer(({ url }, response) => {
  (url === '/old' ? old() : weigh(url === '/once')).then(
    (left) => response.end(JSON.stringify(left)),
    (error: Error) => response.destroy(error),
  );
});
server.listen(0, '127.0.0.1', () => writeFileSync(file, String((server.address() as { port: number }).port)));
server.unref();
