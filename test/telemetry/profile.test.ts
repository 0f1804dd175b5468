import assert from 'node:assert/strict';
import { url } from 'node:inspector';
import { test } from 'node:test';
import { takeProfile } from '../../src/telemetry/index.js';

/** Uses this much CPU time, however long that takes. */
function spinsForTheProfile(): void {
  const from = process.cpuUsage();
  while (process.cpuUsage(from).user < 20_000);
}

test('a profile names what ran while it was taken, is shared by who asks meanwhile, and opens no port', async () => {
  const taken = takeProfile(1);
  assert.equal(takeProfile(5), taken);
  const spinning = setInterval(spinsForTheProfile, 1);
  const profile = (await taken) as { nodes: { callFrame: { functionName: string } }[]; samples: number[] };
  clearInterval(spinning);
  assert.ok(profile.samples.length > 0);
  assert.ok(profile.nodes.some(({ callFrame }) => callFrame.functionName === 'spinsForTheProfile'));
  assert.equal(url(), undefined);
  const next = takeProfile(0.01);
  assert.notEqual(next, taken);
  await next;
});
