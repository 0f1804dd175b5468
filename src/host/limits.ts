import type { HostLimits } from './types.js';

const MIB = 1024 * 1024;

/** Metric names of one plugin, and durations of one name that it gathers in a second. */
export const MAX_METRICS = 50;
export const MAX_OBSERVATIONS = 1_000;
/** What a plugin sends of its metrics in a second at most: each name may be a counter, a gauge and a histogram. */
export const MEASUREMENTS_PER_SECOND = MAX_METRICS * (MAX_OBSERVATIONS + 5);

export const DEFAULT_HOST_LIMITS: HostLimits = Object.freeze({
  maxRequestBytes: 80 * MIB,
  maxAnswerBytes: 16 * MIB,
  answerBytesPerSecond: 64 * MIB,
  answerValuesPerSecond: 1_000_000,
  highWaterBytes: 4 * MIB,
  maxQueuedBytes: 160 * MIB,
  heartbeatMs: 1_000,
  hangMs: 5_000,
  silentMs: 60_000,
  memoryPollMs: 250,
  maxAbandonedCalls: 1_000,
  restartInitialMs: 200,
  restartMaxMs: 30_000,
  maxCrashes: 5,
  crashWindowMs: 300_000,
  quarantineMs: 300_000,
  logLinesPerSecond: 200,
  stopStepMs: 2_000,
  startConcurrency: 4,
});
