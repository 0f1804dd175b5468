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
