import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gateConfig } from '../../src/calls/config.js';
import { DEFAULT_PLUGIN_CONFIG } from '../../src/model/options/plugin.js';

test('reads and writes have as many slots as there are workers, each unless the operator says otherwise', () => {
  const slots = (readConcurrency: number | undefined, writeConcurrency: number | undefined) => {
    const config = gateConfig(DEFAULT_PLUGIN_CONFIG, { readConcurrency, writeConcurrency, callTimeoutMs: 1 });
    return [config.readConcurrency, config.writeConcurrency];
  };
  const { workers } = DEFAULT_PLUGIN_CONFIG.caching;
  assert.deepEqual(slots(undefined, undefined), [workers, workers]);
  assert.deepEqual(slots(3, undefined), [3, workers]);
  assert.deepEqual(slots(undefined, 4), [workers, 4]);
});

test('what the operator does not set: a task that a sync plugin runs has ten minutes, a call waits fifteen', () => {
  const tuning = { readConcurrency: undefined, writeConcurrency: undefined, callTimeoutMs: 1 };
  const { doTimeoutMs, maxWaitMs, maxQueue } = gateConfig(DEFAULT_PLUGIN_CONFIG, tuning);
  assert.deepEqual([doTimeoutMs, maxWaitMs, maxQueue], [10 * 60_000, 15 * 60_000, 10_000]);
});
