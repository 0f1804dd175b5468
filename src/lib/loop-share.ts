import { type EventLoopUtilization, performance } from 'node:perf_hooks';

/** Over less than this a share says little. Milliseconds. */
const WINDOW_MS = 1_000;

/**
 * Answers, each time it is called, which share of its time the event loop was busy since the time before; undefined where that was just
 * now. A process that gets no core counts as busy: it has no time to give away.
 */
export function loopShares(
  measure: () => EventLoopUtilization = performance.eventLoopUtilization,
): () => number | undefined {
  let before = measure();
  return () => {
    const now = measure();
    const active = now.active - before.active;
    const all = active + now.idle - before.idle;
    if (all < WINDOW_MS) return undefined;
    before = now;
    return active / all;
  };
}
