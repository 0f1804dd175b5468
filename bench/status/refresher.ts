import type { TaskId } from '../../src/model/attempt-key.js';
import type { Refresher } from '../../src/refresh/types.js';

/** A schedule that polls nothing and remembers, as the real one does, when each task was last asked for. */
export function benchRefresher(): Refresher {
  const asked = new Map<TaskId, { atMs: number }>();
  return {
    track: ({ id }) => void asked.set(id, { atMs: 0 }),
    untrack: (id) => void asked.delete(id),
    asked(id) {
      const item = asked.get(id);
      if (item !== undefined) item.atMs = Date.now();
    },
    readNow: () => Promise.reject(new Error('the bench reads nothing')),
    wake() {},
    reconfigure() {},
    stats: () => ({
      tracked: asked.size,
      inFlight: 0,
      due: 0,
      oldestOverdueMs: 0,
      remote: 'up',
      remoteDownSinceMs: undefined,
      longestIntervalMs: 0,
      ageFactor: 0,
    }),
    stop: () => Promise.resolve(),
  };
}
