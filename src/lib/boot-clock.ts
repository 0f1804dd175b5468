import { openSync, readSync } from 'node:fs';
import { machineMs } from './clock.js';

/** The kernel tells it to a hundredth of a second. */
export const BOOT_GRAIN_MS = 10;

/**
 * What its holder uses of a time that somebody else counts as well: a lease, a grant. The rest is for clocks that do not run alike: two of
 * them may differ by a twentieth, a thousand times what those of machines do.
 */
export const HELD_SHARE = 0.95;

/** Where the kernel tells it. */
export const UPTIME = '/proc/uptime';
/** Opened once: it is read before each call that leaves, and reading it anew costs a tenth of opening it. */
let file: number | undefined;
const text = Buffer.alloc(64);

/**
 * Milliseconds since the machine was booted. Unlike the monotonic clock this one goes on while the machine is suspended, which is when a
 * lease runs out unseen. Rounded down to `BOOT_GRAIN_MS`. Where the kernel does not tell it, the monotonic clock.
 */
export function bootMs(): number {
  try {
    file ??= openSync(UPTIME, 'r');
    const length = readSync(file, text, 0, text.length, 0);
    return Math.round(Number.parseFloat(text.toString('latin1', 0, length)) * 1000);
  } catch {
    return machineMs();
  }
}
