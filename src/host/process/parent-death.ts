import { spawnSync } from 'node:child_process';
import { ShortageError } from '../../lib/shortage.js';

const COMMAND = ['/usr/bin/setpriv', '--pdeathsig', 'KILL'] as const;
let known: readonly string[] | undefined;

/** How the trial of the command ended, as spawnSync tells it. */
export interface Trial {
  readonly status: number | null;
  readonly error?: Error | undefined;
}

/**
 * What goes before the command of a plugin process so that the kernel ends it with the daemon, also one that spins and
 * never sees its channel close. util-linux's setpriv sets the signal and then becomes the command, under the same pid.
 * Empty where there is no such program or, as busybox's, it does not know the option; tried until that is known, since a
 * machine that is short of something says nothing about it. Throws ShortageError then.
 */
export function diesWithParent(): readonly string[] {
  if (known === undefined) known = process.platform === 'linux' ? judge(tryOut()) : [];
  return known;
}

function tryOut(): Trial {
  const [program, ...args] = COMMAND;
  return spawnSync(program, [...args, process.execPath, '--version'], { stdio: 'ignore', timeout: 30_000 });
}

/** Throws ShortageError where the trial did not come to an answer. */
export function judge({ status, error }: Trial): readonly string[] {
  if (status === 0) return COMMAND;
  const code = (error as NodeJS.ErrnoException | undefined)?.code;
  if (status !== null || code === 'ENOENT' || code === 'EACCES' || code === 'EPERM') return [];
  throw new ShortageError(`setpriv could not be tried: ${error?.message ?? 'it was ended by a signal'}`);
}
