import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type GatePlugin, refusalOf, takesCalls, untilChanged } from '../../src/calls/serving.js';
import { createDeferred } from '../../src/lib/deferred.js';
import type { PluginState, StateChange } from '../../src/model/events/host.js';

/** As much of a hosted plugin as the gate looks at. */
function hosted() {
  const listeners = new Set<(change: StateChange) => void>();
  const drained = createDeferred<void>();
  const subject = {
    id: 'demo',
    state: 'serving' as PluginState,
    stateReason: '',
    writable: true,
    drained: () => drained.promise,
    onStateChange(listener: (change: StateChange) => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  const become = (state: PluginState, stateReason = '') => {
    Object.assign(subject, { state, stateReason });
    for (const listener of [...listeners]) listener({} as StateChange);
  };
  return { subject, plugin: subject as unknown as GatePlugin, become, drained, listeners };
}

test('a plugin takes calls while it serves and its channel is not saturated', async () => {
  const { subject, plugin, drained } = hosted();
  assert.equal(takesCalls(plugin), true);
  subject.writable = false;
  assert.equal(takesCalls(plugin), false);
  assert.equal(refusalOf(plugin), undefined);
  let told = false;
  const waiting = untilChanged(plugin).then(() => (told = true));
  await Promise.resolve();
  assert.equal(told, false);
  drained.resolve();
  await waiting;
});

test('a plugin that restarts is waited for, one that is quarantined or failed refuses with its reason', async () => {
  const { plugin, become, listeners } = hosted();
  become('restarting');
  assert.equal(takesCalls(plugin), false);
  assert.equal(refusalOf(plugin), undefined);
  const waiting = untilChanged(plugin);
  become('quarantined', 'it crashed 5 times');
  await waiting;
  assert.equal(listeners.size, 0, 'the listener is gone once it was told');
  assert.deepEqual(refusalOf(plugin), {
    code: 'PLUGIN_QUARANTINED',
    message: 'plugin demo is quarantined: it crashed 5 times',
  });
  become('failed');
  assert.deepEqual(refusalOf(plugin), { code: 'PLUGIN_NOT_SERVING', message: 'plugin demo is failed' });
  become('serving');
  assert.equal(takesCalls(plugin), true);
  assert.equal(refusalOf(plugin), undefined);
});

test('a state that lasts refuses whoever cannot wait, one that passes refuses nobody', () => {
  const { plugin, become } = hosted();
  const refuses = (state: PluginState) => {
    become(state);
    return refusalOf(plugin)?.code;
  };
  for (const state of ['failed', 'skipped', 'stopped'] as const) assert.equal(refuses(state), 'PLUGIN_NOT_SERVING');
  assert.equal(refuses('quarantined'), 'PLUGIN_QUARANTINED');
  for (const state of ['starting', 'restarting', 'serving'] as const) assert.equal(refuses(state), undefined);
});
