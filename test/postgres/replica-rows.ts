import assert from 'node:assert/strict';
import type { TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { HostError } from '../../src/errors/index.js';
import { systemClock } from '../../src/lib/clock.js';
import {
  type LastOwner,
  type MemberSays,
  PostgresEngine,
  PostgresMembers,
  type PostgresPlace,
} from '../../src/state/index.js';
import { start } from '../support/spawn.js';
import type { sharedServer } from './server.js';

type Shared = ReturnType<typeof sharedServer>;

export const LEASE_MS = 6_000;
export const SAYS: MemberSays = { plugins: ['x'], leaving: false, unreachable: [], refused: [] };
export const NOBODY: LastOwner = { owner: undefined, tenure: '0', counter: undefined };

export const patience = (place: PostgresPlace) => ({ place, clock: systemClock, random: Math.random });

export const joining = (epoch: string) => ({
  ...{ epoch, name: `host ${epoch}`, address: '10.0.0.1:8000', version: '1', config: '{}' },
  says: SAYS,
});

/** Rows that no other test has, with these replicas in them. */
export async function membersIn(shared: Shared, t: TestContext, epochs: readonly string[], parts = 1) {
  const place = shared.server.place({ schema: shared.newSchema(), leaseMs: LEASE_MS });
  const members = new PostgresMembers(patience(place), parts);
  await members.open();
  t.after(() => members.close());
  for (const epoch of epochs) await members.join(joining(epoch));
  return { place, members };
}

/** The state as the replica of this epoch writes it, by the tenures that it last took parts under. */
export async function engineOf(
  t: TestContext,
  place: PostgresPlace,
  epoch: string,
  tenures = ['1'],
): Promise<PostgresEngine> {
  const lostIt = () => new HostError('STATE_LOCKED', 'another one has it');
  const holder = { epoch, tenureOf: (part: number) => tenures[part] ?? '0', lostIt };
  const engine = new PostgresEngine({ ...patience(place), holder, parts: tenures.length });
  await engine.open();
  t.after(() => engine.close());
  return engine;
}

export async function keysIn(engine: PostgresEngine): Promise<string[]> {
  const keys: string[] = [];
  for await (const batch of engine.load()) keys.push(...batch.map(([key]) => key));
  return keys.sort();
}

/** Does this in a transaction, so that a commit stands in the middle of its statement; answers how to end it. */
export async function inTransaction({ server }: Shared, t: TestContext, statement: string): Promise<() => void> {
  const session = start(t, server.psql, [...server.psqlOptions], { env: server.psqlEnv });
  session.child.stdin?.write(`BEGIN; ${statement}; SELECT 'done';\n`);
  await session.waitFor(/done/);
  return () => session.child.stdin?.end('COMMIT;\n');
}

/** A commit waits for a lock. */
export async function heldUp({ server }: Shared): Promise<void> {
  const waiting = `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%put_facts%'`;
  for (let tries = 0; server.sql(waiting) === '0'; tries++) {
    assert.ok(tries < 200, 'the commit waits');
    await sleep(50);
  }
}
