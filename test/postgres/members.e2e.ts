import assert from 'node:assert/strict';
import { it, type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { HostError } from '../../src/errors/index.js';
import { systemClock } from '../../src/lib/clock.js';
import { PostgresEngine, PostgresMembers, type PostgresPlace } from '../../src/state/index.js';
import { start } from '../support/spawn.js';
import { sharedServer } from './server.js';

const shared = sharedServer('members');
const LEASE_MS = 6_000;
const patience = (place: PostgresPlace) => ({ place, clock: systemClock, random: Math.random });
const fact = (name: string): Map<string, Buffer> => new Map([[`do/${name}`, Buffer.from(name)]]);

/** Rows that no other test has, with `count` replicas in them. */
async function membersOf(t: TestContext, epochs: readonly string[]) {
  const place = shared.server.place({ schema: shared.newSchema(), leaseMs: LEASE_MS });
  const members = new PostgresMembers(patience(place));
  await members.open();
  t.after(() => members.close());
  for (const epoch of epochs) {
    await members.join({ epoch, name: `host ${epoch}`, address: '10.0.0.1:8000', version: '1', config: '{}' });
  }
  return { place, members };
}

/** The state as the replica of this epoch writes it. */
async function engineOf(t: TestContext, place: PostgresPlace, epoch: string): Promise<PostgresEngine> {
  const lostIt = () => new HostError('STATE_LOCKED', 'another one has it');
  const holder = { epoch, assertHeld: () => {}, lostIt };
  const engine = new PostgresEngine({ ...patience(place), holder });
  await engine.open();
  t.after(() => engine.close());
  return engine;
}

async function keysIn(engine: PostgresEngine): Promise<string[]> {
  const keys: string[] = [];
  for await (const batch of engine.load()) keys.push(...batch.map(([key]) => key));
  return keys.sort();
}

it('shows who is there, where, since when, and who has the state', async (t) => {
  const { members } = await membersOf(t, ['a', 'b']);
  assert.equal(await members.take('b', undefined), true);
  await members.renew('a');
  const { owner, members: rows } = await members.look();
  assert.equal(owner, 'b');
  assert.deepEqual(
    rows.map(({ epoch, name, address, version, counter }) => [epoch, name, address, version, counter]),
    [
      ['a', 'host a', '10.0.0.1:8000', '1', '1'],
      ['b', 'host b', '10.0.0.1:8000', '1', '0'],
    ],
  );
  const [a, b] = rows;
  assert.ok((a?.joinedAtMs ?? 0) > 1_700_000_000_000 && (b?.ownsSinceMs ?? 0) >= (b?.joinedAtMs ?? 0));
  assert.equal(a?.ownsSinceMs, undefined);
  assert.equal(await members.configOf('a'), '{}');
  assert.equal(await members.configOf('nobody'), undefined);
});

it('is taken from the dead by one of those who want it, and by nobody where its owner gave a sign of life meanwhile', async (t) => {
  const { members } = await membersOf(t, ['a', 'b', 'c']);
  await members.take('a', undefined);
  assert.equal(await members.take('b', undefined), false, 'it is not free');
  assert.equal(await members.renew('a'), true);
  assert.equal(await members.take('b', { epoch: 'a', counter: '0' }), false, 'it lives');
  assert.equal(await members.renew('a'), true, 'and has lost nothing');
  const took = await Promise.all(['b', 'c'].map((epoch) => members.take(epoch, { epoch: 'a', counter: '2' })));
  assert.deepEqual([...took].sort(), [false, true]);
  assert.equal(await members.renew('a'), false, 'it learns that it was taken for dead');
  const { owner } = await members.look();
  assert.equal(owner, took[0] ? 'b' : 'c');
});

it('who comes again, since it was not told that it had come, gives a sign of life: its lease is counted from there', async (t) => {
  const { members } = await membersOf(t, ['a', 'b']);
  await members.take('a', undefined);
  await members.join({ epoch: 'a', name: 'host a', address: '10.0.0.1:8000', version: '1', config: '{}' });
  assert.equal(await members.take('b', { epoch: 'a', counter: '0' }), false, 'it lives');
  assert.equal((await members.look()).members.find(({ epoch }) => epoch === 'a')?.counter, '1');
});

it('an owner without a row is followed by who wants it, and one that is taken for dead wants nothing', async (t) => {
  const { members } = await membersOf(t, ['a', 'b']);
  await members.take('a', undefined);
  await members.forget('a', '0');
  assert.deepEqual(
    (await members.look()).members.map(({ epoch }) => epoch),
    ['a', 'b'],
    'an owner is not forgotten',
  );
  await members.forget('b', '7');
  await members.forget('b', '0');
  assert.deepEqual(
    (await members.look()).members.map(({ epoch }) => epoch),
    ['a'],
  );
  assert.equal(await members.take('b', { epoch: 'a', counter: '0' }), false, 'it has no row itself');
  await members.leave('a');
  assert.deepEqual(await members.look(), { owner: undefined, members: [] });
});

it('who was replaced writes nothing, and what it wrote before is there', async (t) => {
  const { place, members } = await membersOf(t, ['a', 'b']);
  await members.take('a', undefined);
  const first = await engineOf(t, place, 'a');
  await first.commit(fact('before'), []);
  assert.equal(await members.take('b', { epoch: 'a', counter: '0' }), true);
  await assert.rejects(first.commit(fact('late'), ['do/before']), { code: 'STATE_LOCKED' });
  const second = await engineOf(t, place, 'b');
  assert.deepEqual(await keysIn(second), ['do/before']);
  await second.commit(fact('after'), []);
  assert.deepEqual(await keysIn(second), ['do/after', 'do/before']);
});

it('a commit under way holds a takeover up, so that what is acknowledged is in what is loaded', async (t) => {
  const { place, members } = await membersOf(t, ['a', 'b']);
  await members.take('a', undefined);
  const first = await engineOf(t, place, 'a');
  await first.commit(fact('slow'), []);
  // Somebody holds the row of the fact, so that the commit stands in the middle of its statement.
  const { psql, psqlOptions, psqlEnv } = shared.server;
  const lock = start(t, psql, psqlOptions, { env: psqlEnv });
  lock.child.stdin?.write(`BEGIN; SELECT 'locked' FROM ${place.schema}.facts WHERE key = 'do/slow' FOR UPDATE;\n`);
  await lock.waitFor(/locked/);
  const order: string[] = [];
  const committing = first.commit(new Map([['do/slow', Buffer.from('new')]]), []).then(() => order.push('committed'));
  const waiting = `SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE '%put_facts%'`;
  while (shared.server.sql(waiting) === '0') await sleep(50);
  const taking = members.take('b', { epoch: 'a', counter: '0' }).then(
    (took) => order.push(`taken ${took}`),
    () => order.push('not taken'),
  );
  await sleep(300);
  assert.equal(order.length, 0, order.join());
  lock.child.stdin?.end('COMMIT;\n');
  await committing;
  await taking;
  assert.ok(order.includes('committed'), order.join());
  const second = await engineOf(t, place, 'b');
  for await (const batch of second.load()) assert.equal(batch[0]?.[1].toString(), 'new');
});
