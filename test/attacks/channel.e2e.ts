import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { WIDE_LIMITS } from '../daemon/support.js';
import { fixture } from '../host/support.js';
import { besideHonest, MIB } from './support.js';

/**
 * What an honest caller sees while a plugin's process misuses its channel: Status of another plugin's task is asked for all
 * the time, before the attack and during it. The figures are printed; what is asserted leaves room for a busy machine.
 * ATTACKS=pongs,drip looks at these alone.
 */

/** From the attack on, at least; longer where the process is not yet ended. */
const ATTACK_MS = 4_000;
/** A process that only holds its frame back is ended by its missing heartbeats. */
const PATIENCE_MS = 90_000;
const MOST_GROWTH_BYTES = 400 * MIB;
const MOST_P99_MS = 1_000;

async function play(t: TestContext, attack: string): Promise<void> {
  const { daemon, honest, base, grown } = await besideHonest(t, 'hostile', {
    settings: { attack },
    config: WIDE_LIMITS,
    callTimeout: '2s',
  });

  const since = performance.now();
  await daemon.client.create({ generatedName: 'attack', template: { type: 'hostile' } });
  let endedMs: number | undefined;
  const ended = async () => {
    const { state, restarts } = await daemon.plugin('hostile');
    return restarts > 0 || state !== 'SERVING';
  };
  while (performance.now() - since < (endedMs === undefined ? PATIENCE_MS : ATTACK_MS)) {
    if (endedMs === undefined && (await ended())) endedMs = Math.round(performance.now() - since);
    await sleep(50);
  }
  const during = honest.take();
  await honest.stop();
  const growth = grown();
  console.log(JSON.stringify({ attack, base, during, endedMs, growthMiB: Math.round(growth / MIB) }));

  assert.equal(daemon.running.child.exitCode, null, 'the daemon lives');
  assert.deepEqual(honest.errors, []);
  assert.ok(endedMs !== undefined, 'the process of the plugin was not ended');
  assert.ok(growth < MOST_GROWTH_BYTES, `the daemon took ${growth} bytes more`);
  assert.ok(during.p99 < MOST_P99_MS, `p99 of Status ${during.p99} ms`);
}

const { ATTACKS, SLOW } = (await import(pathToFileURL(fixture('hostile.mjs')).href)) as Record<string, object>;
const wanted = process.env.ATTACKS?.split(',');
for (const attack of Object.keys({ ...ATTACKS, ...SLOW })) {
  if (wanted !== undefined && !wanted.includes(attack)) continue;
  test(`honest callers are answered while a plugin's process plays "${attack}"`, { timeout: 180_000 }, (t) =>
    play(t, attack),
  );
}
