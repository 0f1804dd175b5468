import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { PartNeeds } from '../../src/daemon/part-needs.js';
import type { VirtualReplica } from '../cluster/virtual-replicas.js';
import { LEASE_MS, World } from '../cluster/virtual-world.js';

const PARTS = 8;
const MINUTE = 60_000;
const NEVER = Number.NEGATIVE_INFINITY;
const PLUGINS = ['p', 'q'] as const;

interface Sight {
  firstFailureMs: number | undefined;
  answeredAtMs: number;
}

/** A remote that fails is taken to be down. */
function statsOf(sight: Sight) {
  return { tracked: 0, remote: sight.firstFailureMs === undefined ? ('up' as const) : ('down' as const), ...sight };
}

/** Replicas that read the tasks of their parts each second, over remotes that some of them may not reach. */
class Remotes {
  readonly world = new World(PARTS);
  /** `<replica>/<plugin>` that does not get through. */
  readonly cut = new Set<string>();
  /** Plugins that have tasks in a part. */
  readonly tasks = new Map<number, readonly string[]>();
  readonly #needs: PartNeeds[] = [];

  async add(name: string): Promise<void> {
    const { world } = this;
    const replica = await world.add({ name, hookMs: () => 100 });
    const sights = new Map(
      PLUGINS.map((id): [string, Sight] => [id, { firstFailureMs: undefined, answeredAtMs: NEVER }]),
    );
    const runtimes = PLUGINS.map((id) => ({
      plugin: { id },
      refresher: { stats: () => statsOf(sights.get(id) as Sight) },
      creates: { sight: { downSinceMs: undefined, firstFailureMs: undefined, answeredAtMs: NEVER } },
    }));
    const needs = new PartNeeds({
      seat: replica.seat,
      plugins: PLUGINS,
      host: { plugins: () => PLUGINS.map((id) => ({ id, state: 'serving' as const, version: '' })) },
      runtimes: { all: () => runtimes },
      workFor: (part) => this.tasks.get(part),
      clock: replica.clock,
    });
    needs.start();
    this.#needs.push(needs);
    const read = () => {
      for (const [id, sight] of sights) this.#read(replica, id, sight);
      replica.clock.setTimer(1_000, read);
    };
    read();
  }

  #read({ seat }: VirtualReplica, plugin: string, sight: Sight): void {
    const nowMs = this.world.clock.now();
    const has = [...this.tasks].some(([part, plugins]) => seat.stateOf(part) === 'owned' && plugins.includes(plugin));
    if (!has || !this.cut.has(`${seat.epoch}/${plugin}`)) sight.firstFailureMs = undefined;
    else sight.firstFailureMs ??= nowMs;
    if (has && sight.firstFailureMs === undefined) sight.answeredAtMs = nowMs;
  }

  /** Whose parts have tasks of a plugin, sorted. */
  ownersOf(plugin: string): string[] {
    return [...this.tasks]
      .filter(([, plugins]) => plugins.includes(plugin))
      .map(([part]) => this.world.table.parts[part]?.owner ?? 'nobody')
      .sort();
  }

  get takes(): number {
    return this.world.table.takes;
  }

  close(): void {
    for (const needs of this.#needs) needs.close();
  }
}

/** Three replicas; in half of all parts there are tasks of `p`, in the others of `q`. */
async function evenly(t: TestContext): Promise<Remotes> {
  const remotes = new Remotes();
  t.after(() => remotes.close());
  for (let part = 0; part < PARTS; part++) remotes.tasks.set(part, [part % 2 === 0 ? 'p' : 'q']);
  for (const name of ['a', 'b', 'c']) await remotes.add(name);
  await remotes.world.run(PARTS * 1_000 + 4 * LEASE_MS);
  assert.deepEqual([...remotes.world.counts()].sort(), [2, 3, 3]);
  return remotes;
}

const of = (owners: readonly string[], name: string) => owners.filter((owner) => owner === name).length;

test('one that alone cannot reach a remote hands over what needs it and nothing else, tries it with one part in a while, and has its share again once that reached it', async (t) => {
  const remotes = await evenly(t);
  const { world } = remotes;
  const [had, before] = [of(remotes.ownersOf('p'), 'a'), remotes.takes];
  assert.ok(had > 0);
  remotes.cut.add('a/p');
  await world.run(30_000);
  assert.equal(of(remotes.ownersOf('p'), 'a'), 0);
  const { takes } = remotes;
  assert.ok(takes - before <= 2 * had, `${takes - before} moves for ${had} parts and what evens them out`);
  assert.deepEqual([...world.counts()].sort(), [2, 3, 3], 'it works on others instead');

  await world.run(20_000);
  assert.equal(remotes.takes, takes, 'and then nothing moves');
  const most: number[] = [];
  for (let minute = 0; minute < 45; minute++) {
    const start = remotes.takes;
    await world.clock.advance(MINUTE);
    most.push(remotes.takes - start);
    assert.ok(of(remotes.ownersOf('p'), 'a') <= 1, 'one part at a time tries it');
  }
  assert.ok(Math.max(...most) <= 4, `${most}`);
  assert.ok(most.slice(32).reduce((sum, count) => sum + count, 0) <= 6, `ever more rarely: ${most}`);

  remotes.cut.clear();
  for (let minute = 0; minute < 31; minute++) await world.clock.advance(MINUTE);
  assert.deepEqual([...world.counts()].sort(), [2, 3, 3]);
  const rest = remotes.takes;
  await world.clock.advance(10 * MINUTE);
  assert.equal(remotes.takes, rest);
});

test('where nobody reaches a remote nothing moves, and nothing moves when all reach it again', async (t) => {
  const remotes = await evenly(t);
  const { takes, world } = remotes;
  for (const name of ['b', 'c', 'a']) {
    remotes.cut.add(`${name}/p`);
    await world.run(2_000);
  }
  await world.clock.advance(40 * MINUTE);
  for (const name of ['c', 'a', 'b']) {
    remotes.cut.delete(`${name}/p`);
    await world.run(300);
  }
  await world.clock.advance(5 * MINUTE);
  assert.equal(remotes.takes, takes);
});
