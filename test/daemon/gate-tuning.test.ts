import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gateConfig } from '../../src/calls/config.js';
import { completeEntry } from '../../src/host/load/entry.js';
import { DEFAULT_PLUGIN_CONFIG } from '../../src/model/options/plugin.js';

const workers = (n: number) => ({
  ...DEFAULT_PLUGIN_CONFIG,
  caching: { ...DEFAULT_PLUGIN_CONFIG.caching, workers: n },
});

test("concurrency that the operator leaves out follows the plugin's workers, also when a reload changes them", () => {
  const entry = completeEntry({ source: 'p', callTimeout: '7s', writeConcurrency: 3 });
  for (const n of [10, 50]) {
    const { readConcurrency, writeConcurrency, callTimeoutMs } = gateConfig(workers(n), entry);
    assert.deepEqual([readConcurrency, writeConcurrency, callTimeoutMs], [n, 3, 7_000]);
  }
  assert.equal(gateConfig(workers(50), completeEntry({ source: 'p' })).writeConcurrency, 50);
});
