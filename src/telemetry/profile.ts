import { Session } from 'node:inspector/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import type { JsonObject } from '../lib/json.js';

/** A sample each millisecond: a few percent of the main thread while it is taken, and nothing before or after. */
const SAMPLE_MICROS = 1_000;

let underWay: Promise<JsonObject> | undefined;

/**
 * A CPU profile of this process's main thread over so many seconds, as `.cpuprofile` files have it. No port is opened for it.
 * One is taken at a time: who asks meanwhile is answered the one that is under way.
 */
export function takeProfile(seconds: number): Promise<JsonObject> {
  underWay ??= profileFor(seconds).finally(() => {
    underWay = undefined;
  });
  return underWay;
}

async function profileFor(seconds: number): Promise<JsonObject> {
  const session = new Session();
  session.connect();
  try {
    await session.post('Profiler.enable');
    await session.post('Profiler.setSamplingInterval', { interval: SAMPLE_MICROS });
    await session.post('Profiler.start');
    await sleep(seconds * 1_000);
    const { profile } = await session.post('Profiler.stop');
    return profile as unknown as JsonObject;
  } finally {
    session.disconnect();
  }
}
