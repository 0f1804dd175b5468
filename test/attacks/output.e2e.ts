import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { fixture } from '../host/support.js';
import { besideHonest, MIB } from './support.js';

/**
 * What an honest caller sees while a plugin's process prints as fast as it is read: Status of another plugin's task is asked for all the
 * time, before it and during it. The figures are printed; what is asserted leaves room for a busy machine.
 */

const PRINTING_MS = 8_000;
const PATIENCE_MS = 60_000;
const MOST_GROWTH_BYTES = 100 * MIB;
const MOST_P99_MS = 500;

async function play(t: TestContext, what: string): Promise<void> {
  const settings = { what, ms: PRINTING_MS };
  const { daemon, honest, base, grown } = await besideHonest(t, 'printing', { settings, callTimeout: '30s' });

  const since = performance.now();
  const attack = await daemon.client.create({ generatedName: 'attack', template: { type: 'printing' } });
  const phase = async () => (await daemon.client.status(attack.handle)).phaseInfo.phase;
  while ((await phase()) !== 'RUNNING') {
    assert.ok(performance.now() - since < PATIENCE_MS, 'its answer does not come behind what it prints');
    await sleep(100);
  }
  const during = honest.take();
  await honest.stop();
  const growth = grown();
  console.log(JSON.stringify({ what, base, during, growthMiB: Math.round(growth / MIB) }));

  assert.deepEqual(honest.errors, []);
  assert.equal(
    (await daemon.plugin('printing')).restarts,
    0,
    'who prints waits for whoever reads it, and is not ended',
  );
  assert.ok(growth < MOST_GROWTH_BYTES, `the daemon took ${growth} bytes more`);
  assert.ok(during.p99 < MOST_P99_MS, `p99 of Status ${during.p99} ms`);
}

const { PRINTED } = (await import(pathToFileURL(fixture('printing.mjs')).href)) as { PRINTED: object };
for (const what of Object.keys(PRINTED)) {
  test(`honest callers are answered while a plugin prints without a rest: ${what}`, { timeout: 120_000 }, (t) =>
    play(t, what),
  );
}
