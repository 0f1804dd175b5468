import { setTimeout as sleep } from 'node:timers/promises';
import { HostError, messageOf } from '../errors/index.js';
import type { Clock } from '../lib/clock.js';
import type { Log } from '../telemetry/logger.js';

/**
 * - `created`: built, nothing is started.
 * - `starting`: plugins load, ports are bound.
 * - `ready`: serves.
 * - `draining`: on its way to the end; what still arrives is served as far as it can be.
 * - `stopped`: everything is closed, as it was asked to be.
 * - `failed`: the start or a step of the stop failed; everything else that was opened is closed.
 *
 * A stop that is asked for during the start goes from `starting` to `draining`.
 */
export const DAEMON_STATES = ['created', 'starting', 'ready', 'draining', 'stopped', 'failed'] as const;
export type DaemonState = (typeof DAEMON_STATES)[number];

const MOVES: Readonly<Record<DaemonState, readonly DaemonState[]>> = {
  created: ['starting', 'stopped'],
  starting: ['ready', 'draining', 'failed'],
  ready: ['draining'],
  draining: ['stopped', 'failed'],
  stopped: [],
  failed: [],
};

/**
 * The daemon's state, with one setter; an illegal move throws and names both states.
 *
 * Its states are told at `DaemonState`; `MOVES` has every move that there is.
 */
export class Lifecycle {
  readonly #log: Log;
  readonly #listeners = new Set<() => void>();
  #state: DaemonState = 'created';

  constructor(log: Log) {
    this.#log = log;
  }

  get state(): DaemonState {
    return this.#state;
  }

  to(state: DaemonState): void {
    const previous = this.#state;
    if (!MOVES[previous].includes(state)) {
      throw new HostError('DAEMON_STATE', `the daemon cannot go from ${previous} to ${state}`);
    }
    this.#state = state;
    this.#log.emit('daemon.state', { state, previous });
    this.changed();
  }

  changed(): void {
    for (const listener of this.#listeners) listener();
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
}

interface Step {
  readonly name: string;
  readonly run: () => Promise<unknown> | unknown;
}

/**
 * What was started, last first: every start pushes its own undo. A step that fails is logged and the rest goes on; the
 * failures are thrown together at the end.
 *
 * States: gathering; unwinding, in which `current` names what is being closed and what is pushed is closed as well; empty again.
 */
export class Releasers {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #steps: Step[] = [];
  /** The step that runs now, for the report of a forced stop. */
  current = '';

  constructor(clock: Clock, log: Log) {
    this.#clock = clock;
    this.#log = log;
  }

  push(name: string, run: Step['run']): void {
    this.#steps.push({ name, run });
  }

  async unwind(): Promise<void> {
    const failures: unknown[] = [];
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      this.current = step.name;
      const startMs = this.#clock.now();
      try {
        await step.run();
        this.#log.emit('daemon.stop_step', { step: step.name, tookMs: Math.round(this.#clock.now() - startMs) });
      } catch (error) {
        failures.push(error);
        this.#log.emit('daemon.stop_failed', { step: step.name, error: messageOf(error) });
      }
    }
    this.current = '';
    if (failures.length === 1) throw failures[0];
    if (failures.length > 1) throw new AggregateError(failures, `${failures.length} steps of the stop failed`);
  }
}

/** Waits until the work has ended, for `ms` at most. Throws what it throws. */
export async function within(ms: number, work: Promise<unknown>): Promise<void> {
  const settled = new AbortController();
  try {
    await Promise.race([work, sleep(ms, undefined, { signal: settled.signal }).catch(() => undefined)]);
  } finally {
    settled.abort();
  }
}
