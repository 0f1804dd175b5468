import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { BOOT_GRAIN_MS, bootMs } from '../../src/lib/boot-clock.js';
import { machineMs } from '../../src/lib/clock.js';

test('the boot clock goes on as the monotonic one does, in steps of its grain, and never back', async () => {
  const outer = machineMs();
  const boot = bootMs();
  const inner = machineMs();
  let last = boot;
  for (let i = 0; i < 20; i++) {
    await sleep(5);
    const now = bootMs();
    assert.ok(now >= last);
    last = now;
  }
  const innerMs = machineMs() - inner;
  const bootPassedMs = bootMs() - boot;
  const outerMs = machineMs() - outer;
  assert.ok(bootPassedMs >= innerMs - BOOT_GRAIN_MS && bootPassedMs <= outerMs + BOOT_GRAIN_MS, `${bootPassedMs} ms`);
});
