import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createGate } from '../../src/calls/gate.js';
import type { GateCallOptions } from '../../src/calls/types.js';
import { ManualClock } from '../../src/lib/clock.js';
import { OUTCOMES } from '../../src/model/outcomes.js';
import { FAILURE_KINDS, type PluginMethod, type PluginOutcome } from '../../src/model/plugin-call.js';
import { FakePlugin, fails, resource, running, wideConfig } from './fake-plugin.js';

const methods = [
  ['create', 'create'],
  ['get', 'get'],
  ['getMany', 'getManyItem'],
  ['delete', 'delete'],
  ['do', 'do'],
  ['getLogs', 'getLogs'],
  ['getMetrics', 'getLogs'],
] as const;

for (const [method, place] of methods) {
  for (const kind of FAILURE_KINDS) {
    test(`${method} with ${kind}: the caller has the failure as it is, the slot is free, and only a throttle rests the lane`, async () => {
      const clock = new ManualClock();
      const plugin = new FakePlugin(() => clock.now());
      const now = clock.now();
      const snapshot = { read: { level: 10, atMs: now }, write: { level: 10, atMs: now } };
      const gate = createGate({ plugin, config: wideConfig, clock, random: () => 0.5, snapshot });
      const call = gate.call.bind(gate) as (
        m: PluginMethod,
        a: unknown,
        o: GateCallOptions,
      ) => Promise<PluginOutcome<unknown>>;
      const lane = ['create', 'delete', 'do'].includes(method) ? 'write' : 'read';
      const args = method === 'getMany' ? { items: [resource, resource] } : resource;
      const sent = call(method, args, { admission: 'wait' });
      const outcome = fails(kind, 9_000);
      plugin.settle(0, method === 'getMany' ? { ok: true, value: [running, outcome] } : outcome);
      const answer = await sent;
      assert.deepEqual(answer, method === 'getMany' ? { ok: true, value: [running, outcome] } : outcome);
      assert.equal(gate.capacity(lane).inFlight, 0);
      const rests = OUTCOMES[place][kind].retry === 'pause' || kind === 'throttled';
      assert.equal(gate.capacity(lane).pausedUntilMs, rests ? now + 9_000 : undefined);
      assert.equal(gate.capacity(lane === 'read' ? 'write' : 'read').pausedUntilMs, undefined);
      await gate.close();
    });
  }
}
