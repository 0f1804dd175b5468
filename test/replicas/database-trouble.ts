import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { until } from '../daemon/support.js';
import type { PostgresServer } from '../postgres/server.js';
import type { Engines } from './engines.js';
import type { Placed, Scene } from './scene.js';
import { eventsOf, LEASE_MS } from './support.js';

/** The server dies and comes back after two leases, twice: whoever works calls nothing past the lease, and has it again then. */
export async function killDatabaseTwice(scene: Scene, engines: Engines, server: PostgresServer): Promise<void> {
  const workers = scene.parts === 1 ? [await scene.owner()] : [...scene.living];
  const renewals = (replica: (typeof workers)[number]) =>
    eventsOf(replica).filter((event) => event === 'cluster.lease_renewed').length;
  for (let round = 1; round <= 2; round++) {
    await engines.progress();
    await server.kill();
    const overMs = performance.timeOrigin + performance.now() + LEASE_MS;
    await sleep(2 * LEASE_MS);
    const late = scene.remote.calls.filter(({ atMs }) => atMs > overMs + 300).length;
    assert.equal(late, 0, 'calls past the lease');
    await server.run();
    for (const replica of workers) await until('the lease', () => renewals(replica) === round);
  }
  await engines.progress();
}

/** The server is slow, then too slow for a lease, and then as before. */
export async function slowDatabaseDown(engines: Engines, placed: readonly Placed[]): Promise<void> {
  const slow = (delayMs: number) => {
    for (const { database } of placed) database.delayMs = delayMs;
  };
  slow(120);
  await engines.progress(20);
  slow(LEASE_MS / 2);
  await sleep(2 * LEASE_MS);
  slow(0);
  await engines.progress(20);
}
