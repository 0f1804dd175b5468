import type { ChildProcess } from 'node:child_process';
import { killMarked } from './marked.js';

/** A process or thread of a plugin whose end, with that of all it started, has not been seen. */
export interface Started {
  readonly mark: string;
  /** Undefined for a thread. */
  readonly child: ChildProcess | undefined;
}

/** What is started while the others are looked for is found in the next round. */
const ROUNDS = 20;
/** For the kernel to carry a kill out. */
const ROUND_MS = 5;

/**
 * What a host has started and not seen the end of, so that a daemon that ends out of order leaves nothing behind. Each
 * run of a process is in it from its start until all it started has ended; nothing else holds one longer.
 */
export class StartedProcesses {
  readonly #started = new Set<Started>();

  add(started: Started): void {
    this.#started.add(started);
  }

  delete(started: Started): void {
    this.#started.delete(started);
  }

  /**
   * Kills them and what they started, at once: it neither waits for the event loop nor for their ends, so that it can be the last
   * thing a process does. Takes some milliseconds for each thousand processes of the machine, 0.1 s at most besides.
   */
  killAll(): void {
    if (this.#started.size === 0) return;
    for (const { child } of this.#started) if (child !== undefined && !endWasHeard(child)) killGroup(child, 'SIGKILL');
    const marks = new Set([...this.#started].map(({ mark }) => mark));
    for (let round = 0; round < ROUNDS && killMarked(marks) > 0; round++) pause(ROUND_MS);
  }
}

/** Signals what shares the process group of a child that leads one. */
export function killGroup(child: ChildProcess, signal: NodeJS.Signals): void {
  if (child.pid === undefined) return;
  try {
    process.kill(-child.pid, signal);
  } catch {
    // Nobody is left in the group, or the platform has none.
    child.kill(signal);
  }
}

/** Whether its end was heard of: its id, and that of its group, may be another's by now. */
export function endWasHeard(child: ChildProcess): boolean {
  return child.exitCode !== null || child.signalCode !== null;
}

function pause(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
