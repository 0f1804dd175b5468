import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';
import type { Leak } from './leaks.js';

/**
 * Loaded into a process that is watched (`node --import leaking.js`) to show that a leak is seen: something is taken again and again,
 * and never given back. The environment says what, and how often.
 */
const kept: unknown[] = [];
const take: Readonly<Record<Leak, () => unknown>> = {
  /** About a MiB. */
  heap: () => Array.from({ length: 20_000 }, (_, index) => ({ index })),
  descriptors: () => openSync('/dev/null', 'r'),
  /** It ends with the pipe that it reads. */
  processes: () => spawn('cat', { stdio: ['pipe', 'ignore', 'ignore'] }),
};

const { SOAK_LEAK, SOAK_LEAK_EVERY_MS } = process.env;
setInterval(() => kept.push(take[SOAK_LEAK as Leak]()), Number(SOAK_LEAK_EVERY_MS)).unref();
