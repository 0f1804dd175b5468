import { realpathSync } from 'node:fs';
import { HostError, messageOf } from '../../errors/index.js';
import type { StateFolder } from './folder.js';
import { damagedFiles, fileTrouble, hasCode } from './trouble.js';

/**
 * Folders that are open in this process. The kernel's lock is the process's: opening a folder a second time and closing it
 * again would let go of the lock of the first.
 */
const openHere = new Set<string>();

/** Takes a folder for one opening of it, until what it answers is called. Throws STATE_LOCKED where this process has it. */
export function claimFolder(dir: string): () => void {
  const real = realpathSync(dir);
  if (openHere.has(real)) throw lockedBy(dir, 'this very process');
  openHere.add(real);
  return () => openHere.delete(real);
}

/** Why a state could not be opened; names who has it. */
export async function openFailure(folder: StateFolder, error: unknown): Promise<HostError> {
  if (HostError.is(error)) return error;
  if (!hasCode(error, 'LEVEL_LOCKED')) {
    const trouble = fileTrouble(folder.dir, 'cannot be opened', error);
    // A file that the database counts on; the folder itself was there a moment ago.
    return trouble.code === 'STATE_LOST' ? damagedFiles(folder.dir, messageOf(trouble), error) : trouble;
  }
  const holder = await folder.holder();
  const who =
    holder === undefined ? 'another process' : `process ${holder.pid} on ${holder.host}, since ${holder.since},`;
  return lockedBy(folder.dir, who, error);
}

function lockedBy(dir: string, who: string, cause?: unknown): HostError {
  return new HostError(
    'STATE_LOCKED',
    `${who} has the state in ${dir}; stop it, or give this daemon a state.dir of its own`,
    cause === undefined ? {} : { cause },
  );
}
