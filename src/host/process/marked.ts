import { readdir, readFile } from 'node:fs/promises';

/**
 * Name of the variable by which what a plugin process started is found, also where it left the process group (`setsid`).
 * Its value is random for each process. Linux only; what has emptied its environment, or runs as another user, is not found.
 */
export const MARK_VARIABLE = 'PLUGIN_HOST_PROCESS_MARK';

/** What is started while the others are looked for is found in the next round. */
const ROUNDS = 5;

/** Kills every process whose environment has the mark, but this one. Never rejects. */
export async function endMarked(mark: string): Promise<void> {
  if (process.platform !== 'linux') return;
  const wanted = `${MARK_VARIABLE}=${mark}`;
  for (let round = 0; round < ROUNDS; round++) {
    const found = await marked(wanted);
    if (found.length === 0) return;
    for (const pid of found) {
      try {
        process.kill(pid, 'SIGKILL');
      } catch {
        // It has ended by itself.
      }
    }
  }
}

async function marked(wanted: string): Promise<number[]> {
  const names = await readdir('/proc').catch(() => []);
  const found: number[] = [];
  for (const pid of names.map(Number)) {
    if (!Number.isInteger(pid) || pid === process.pid) continue;
    // Those of others cannot be read, and those that have just ended are gone.
    const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
    if (environment.split('\0').includes(wanted)) found.push(pid);
  }
  return found;
}
