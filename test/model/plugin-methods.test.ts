import assert from 'node:assert/strict';
import { test } from 'node:test';
import { OUTCOME_PLACES } from '../../src/model/outcomes.js';
import type { PluginMethod } from '../../src/model/plugin-call.js';
import {
  featuresOf,
  isOffered,
  methodsOffered,
  methodTraits,
  NO_FEATURES,
  PLUGIN_METHODS,
} from '../../src/model/plugin-methods.js';

test('deletes go before everything, and only what reaches the remote has a lane', () => {
  const first = PLUGIN_METHODS.filter((method) => methodTraits(method).first === true);
  assert.deepEqual(first, ['delete']);
  const inside = PLUGIN_METHODS.filter((method) => methodTraits(method).lane === undefined);
  assert.deepEqual(inside.sort(), ['adoptMeta', 'batchKeys', 'resourceRequirements']);
  const reads = PLUGIN_METHODS.filter((method) => methodTraits(method).lane === 'read');
  assert.deepEqual(reads.sort(), ['get', 'getLogs', 'getMany', 'getMetrics']);
  const whole = PLUGIN_METHODS.filter((method) => methodTraits(method).runs === 'task');
  assert.deepEqual(whole, ['do']);
});

test('every place of the outcome table but status, which runs within a read, is that of some method', () => {
  const places = new Set<string>(PLUGIN_METHODS.map((method) => methodTraits(method).place));
  assert.deepEqual([...places, 'status'].sort(), [...OUTCOME_PLACES].sort());
});

test('a plugin without features offers what every plugin has and nothing else', () => {
  const offered = PLUGIN_METHODS.filter((method) => isOffered(method, NO_FEATURES));
  assert.deepEqual(offered.sort(), ['create', 'delete', 'do', 'get']);
});

test('each optional method is a feature of its own, known by its name alone', () => {
  const optional = methodsOffered('optional');
  assert.ok(optional.length >= 4);
  for (const one of optional) {
    const features = featuresOf(undefined, true, (method) => method === one);
    const offered = PLUGIN_METHODS.filter((method) => isOffered(method, features) && !isOffered(method, NO_FEATURES));
    assert.deepEqual(offered, [one]);
  }
});

test('a batch is offered without keys, and keys only by who reads batches', () => {
  const with_ = (batchKeys: boolean) => featuresOf({ maxBatch: 5, batchKeys }, true, () => false);
  assert.equal(isOffered('getMany', with_(false)), true);
  assert.equal(isOffered('batchKeys', with_(false)), false);
  assert.equal(isOffered('batchKeys', with_(true)), true);
});

test('only a batch has more than one item, and it has as many as it asks for', () => {
  const several = PLUGIN_METHODS.filter((method: PluginMethod) => methodTraits(method).items !== undefined);
  assert.deepEqual(several, ['getMany']);
  const item = { meta: Buffer.alloc(0), outputPrefix: '', idempotencyKey: '', connection: undefined };
  assert.equal(methodTraits('getMany').items?.({ items: [item, item, item] }), 3);
});
