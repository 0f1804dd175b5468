import { systemClock } from '../../src/lib/clock.js';
import { DEFAULT_PLUGIN_CONFIG } from '../../src/plugin-api/config.js';
import { refreshConfig } from '../../src/refresh/config.js';
import { createRefresher } from '../../src/refresh/refresher.js';
import type { Refresher } from '../../src/refresh/types.js';

/** The daemon's schedule behind a gate that is closed: it keeps track of every task and reads none. */
export function closedRefresher(): Refresher {
  return createRefresher({
    host: {
      read: () => Promise.reject(new Error('the bench reads nothing')),
      capacity: () => ({
        slotsFree: 0,
        tokensNow: 0,
        msUntilToken: 1000,
        pausedUntilMs: undefined,
        queued: 0,
        open: false,
      }),
      onOutcome: () => ({ terminal: false }),
    },
    config: refreshConfig(DEFAULT_PLUGIN_CONFIG, 1),
    clock: systemClock,
    random: Math.random,
  });
}
