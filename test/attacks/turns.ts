// Loaded into the daemon before it (`--import`): at SIGUSR2 it tells, in one line on standard error, how much work the longest turn of
// the event loop had since the last time, in milliseconds of processor time: a busy machine makes a turn longer, and not its work more.
import { writeSync } from 'node:fs';

/** Of the process, its collector's threads included; of the thread alone where this version of Node tells it. */
const usage = (process as { threadCpuUsage?: typeof process.cpuUsage }).threadCpuUsage ?? process.cpuUsage;

let before = usage();
let longestMs = 0;

function turn(): void {
  const now = usage();
  longestMs = Math.max(longestMs, (now.user + now.system - before.user - before.system) / 1000);
  before = now;
  setTimeout(turn, 1).unref();
}

turn();
process.on('SIGUSR2', () => {
  writeSync(2, `${JSON.stringify({ longestTurnMs: Math.round(longestMs) })}\n`);
  longestMs = 0;
});
