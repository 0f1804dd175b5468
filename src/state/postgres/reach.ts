import { HostError } from '../../errors/index.js';
import { backoffMs } from '../../lib/backoff.js';
import type { Clock } from '../../lib/clock.js';
import type { Connections } from './connections.js';
import { pause } from './ownership.js';
import type { PostgresPlace } from './place.js';
import { serverTrouble } from './server.js';

/** A daemon and its database are often started together. */
const START_RETRY = { initialMs: 200, maxMs: 5_000 };

/** What waiting for a server needs. */
export interface Patience {
  readonly place: PostgresPlace;
  readonly clock: Clock;
  readonly random: () => number;
  /** Told of each password and private key before it is used. */
  readonly onSecret?: ((secret: string) => void) | undefined;
}

/** Resolves once a server answers that may keep a state; waits for one that cannot be reached yet. Throws what is wrong with it. */
export async function reached(
  connections: Connections,
  { place, clock, random }: Patience,
  stop?: AbortSignal,
): Promise<void> {
  const untilMs = clock.now() + place.startTimeoutMs;
  for (let tries = 1; ; tries++) {
    try {
      const trouble = await serverTrouble(connections, place);
      if (trouble !== undefined) throw trouble;
      return;
    } catch (error) {
      const delay = backoffMs(tries, START_RETRY, random);
      const mayPass = HostError.is(error) && error.code === 'STATE_UNREACHABLE';
      if (!mayPass || stop?.aborted === true || clock.now() + delay > untilMs) throw error;
      await pause(clock, delay, stop);
    }
  }
}
