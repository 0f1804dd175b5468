import { writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { setFlagsFromString } from 'node:v8';

/**
 * Loaded into the daemon's process by the bench (`node --expose-gc --import hook.js`) and by nobody else: a loopback port
 * that collects all garbage and tells what is left. Its number is written to the file that the environment names.
 */
const collect = (globalThis as { gc?: () => void }).gc;
const file = process.env.BENCH_HOOK_FILE;

if (collect === undefined || file === undefined) {
  throw new Error('the hook of the bench needs --expose-gc and BENCH_HOOK_FILE');
}

// A bare full collection moves nothing out of pages of which a third is in use: after a burst of creates they hold as much
// room again as the tasks themselves. V8 empties them by itself when memory is short or the process is idle.
setFlagsFromString('--compact-on-every-full-gc');

/** What a first collection finalizes is freed by a second one. Each stops the process: `/once` is for one that is to go on meanwhile. */
const TIMES = 4;

const server = createServer(({ url }, response) => {
  for (let times = url === '/once' ? 1 : TIMES; times > 0; times--) collect();
  response.end(JSON.stringify(process.memoryUsage()));
});
server.listen(0, '127.0.0.1', () => writeFileSync(file, String((server.address() as { port: number }).port)));
server.unref();
