import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gatePlugin } from '../../src/calls/hosted.js';
import type { HostedPlugin } from '../../src/host/types.js';
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
    call: async () => ({ ok: true, value: 'answer' }),
    onStateChange(listener: (change: StateChange) => void) {
      listeners.add(listener);
      return () => void listeners.delete(listener);
    },
  };
  const become = (state: PluginState, stateReason = '') => {
    Object.assign(subject, { state, stateReason });
    for (const listener of [...listeners]) listener({} as StateChange);
  };
  return { subject, plugin: gatePlugin(subject as unknown as HostedPlugin), become, drained, listeners };
}

test('a plugin takes calls while it serves and its channel is not saturated', async () => {
  const { subject, plugin, drained } = hosted();
  assert.equal(plugin.writable, true);
  subject.writable = false;
  assert.equal(plugin.writable, false);
  assert.equal(plugin.refusal, undefined);
  let told = false;
  const waiting = plugin.awaitWritable().then(() => (told = true));
  await Promise.resolve();
  assert.equal(told, false);
  drained.resolve();
  await waiting;
});

test('a plugin that restarts is waited for, one that is quarantined or failed refuses with its reason', async () => {
  const { plugin, become, listeners } = hosted();
  become('restarting');
  assert.equal(plugin.writable, false);
  assert.equal(plugin.refusal, undefined);
  const waiting = plugin.awaitWritable();
  become('quarantined', 'it crashed 5 times');
  await waiting;
  assert.equal(listeners.size, 0, 'the listener is gone once it was told');
  assert.deepEqual(plugin.refusal, {
    code: 'PLUGIN_QUARANTINED',
    message: 'plugin demo is quarantined: it crashed 5 times',
  });
  become('failed');
  assert.deepEqual(plugin.refusal, { code: 'PLUGIN_NOT_SERVING', message: 'plugin demo is failed' });
  become('serving');
  assert.equal(plugin.writable, true);
  assert.equal(plugin.refusal, undefined);
});

test('a state that lasts refuses whoever cannot wait, one that passes refuses nobody', () => {
  const { plugin, become } = hosted();
  const refuses = (state: PluginState) => {
    become(state);
    return plugin.refusal?.code;
  };
  for (const state of ['failed', 'skipped', 'stopped'] as const) assert.equal(refuses(state), 'PLUGIN_NOT_SERVING');
  assert.equal(refuses('quarantined'), 'PLUGIN_QUARANTINED');
  for (const state of ['starting', 'restarting', 'serving'] as const) assert.equal(refuses(state), undefined);
});

test('a call goes to the plugin with its arguments, and its answer comes back', async () => {
  const { plugin } = hosted();
  assert.deepEqual(await plugin.call('get', {} as never, { deadlineMs: 1 } as never), { ok: true, value: 'answer' });
});
