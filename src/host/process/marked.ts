import { readdirSync, readFileSync } from 'node:fs';
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
  const marks = new Set([mark]);
  for (let round = 0; round < ROUNDS; round++) {
    let found = 0;
    for (const pid of others(await readdir('/proc').catch(() => []))) {
      // Those of others cannot be read, and those that have just ended are gone.
      const environment = await readFile(`/proc/${pid}/environ`, 'latin1').catch(() => '');
      if (hasMark(environment, marks)) found += kill(pid);
    }
    if (found === 0) return;
  }
}

/** The same for several marks, once and without the event loop; answers how many processes it found. */
export function killMarked(marks: ReadonlySet<string>): number {
  if (process.platform !== 'linux') return 0;
  let found = 0;
  for (const pid of others(readOr([], () => readdirSync('/proc')))) {
    const environment = readOr('', () => readFileSync(`/proc/${pid}/environ`, 'latin1'));
    if (hasMark(environment, marks)) found += kill(pid);
  }
  return found;
}

function others(names: readonly string[]): number[] {
  return names.map(Number).filter((pid) => Number.isInteger(pid) && pid !== process.pid);
}

function readOr<T>(absent: T, read: () => T): T {
  try {
    return read();
  } catch {
    return absent;
  }
}

function hasMark(environment: string, marks: ReadonlySet<string>): boolean {
  const start = `${MARK_VARIABLE}=`;
  return environment.split('\0').some((entry) => entry.startsWith(start) && marks.has(entry.slice(start.length)));
}

function kill(pid: number): number {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
  return 1;
}
