import { setTimeout as sleep } from 'node:timers/promises';
import { Load } from './load.js';
import { PROTOCOLS } from './protocols.js';

const NATIVE = PROTOCOLS.native();
/** Between two looks at who works, and two calls of the caller that sees the outage. Milliseconds. */
export const LOOK_MS = 25;

export interface Breadth {
  readonly connections: number;
  readonly streams: number;
}

/** One who asks for a task all the time, and the longest time that went by between two answers. Seconds. */
export function asking(load: Load, port: number, handle: Buffer): { stop(): Promise<number> } {
  let over = false;
  let longestMs = 0;
  const running = (async () => {
    for (let lastMs = performance.now(); !over; ) {
      const answered = await load.status(port, NATIVE, handle).then(
        () => true,
        () => false,
      );
      if (answered) {
        const nowMs = performance.now();
        longestMs = Math.max(longestMs, nowMs - lastMs);
        lastMs = nowMs;
      }
      await sleep(LOOK_MS);
    }
  })();
  return {
    async stop() {
      over = true;
      await running;
      return longestMs / 1000;
    },
  };
}

/** As many loads, whose streams together are as many as those of one. */
export async function withLoads<T>(
  { connections, streams }: Breadth,
  shares: number,
  work: (loads: readonly Load[]) => Promise<T>,
): Promise<T> {
  const width = { connections, streams: Math.max(1, Math.floor(streams / shares)) };
  const loads = Array.from({ length: shares }, (_, index) => new Load(width, `f3a9c0d1e2b${shares + index}`));
  try {
    return await work(loads);
  } finally {
    await Promise.all(loads.map((load) => load.stop()));
  }
}
