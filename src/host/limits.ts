import type { HostLimits } from './types.js';

const MIB = 1024 * 1024;

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
