import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ResourceArgs } from '../../src/model/plugin-call.js';
import { created, fail, type Harness, HINTS, ok, running, settle } from './harness.js';
import { Machine } from './machine.js';

/** How the reads of tasks fail is not forgotten with a run of the daemon (rule 4). */

const MINUTE = 60_000;

/** Jobs by their names, of which these answer otherwise. */
function serves({ plugin }: Harness, ill: (job: string) => ReturnType<typeof fail> | undefined): void {
  plugin.on.create = (args) => created(`"${args.metadata.generatedName}"`);
  plugin.on.get = (args: ResourceArgs) => ill(JSON.parse(args.meta.toString())) ?? running();
  plugin.on.delete = () => ok({});
}

const phases = ({ store }: Harness, ...which: string[]) =>
  [...store.listed()]
    .filter(({ meta }) => which.includes(JSON.parse(String(meta))))
    .map(({ state }) => state.error?.code ?? state.phase);

/** Starts a daemon for this long, and kills it. */
async function run(
  machine: Machine,
  ms: number,
  ill: (job: string) => ReturnType<typeof fail> | undefined,
  then: (h: Harness) => void = () => {},
): Promise<void> {
  const h = await machine.start();
  serves(h, ill);
  await h.clock.advance(ms);
  then(h);
  machine.kill();
}

async function jobs(machine: Machine, ...names: string[]): Promise<void> {
  const h = await machine.start();
  serves(h, () => undefined);
  for (const name of names) await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  await h.clock.advance(2 * MINUTE);
  machine.kill();
}

test('reads that fail go on to be counted over restarts, time apart in which no daemon ran, and a read that succeeds begins anew', async () => {
  const machine = new Machine();
  await jobs(machine, 'ill', 'well');
  const ill = (job: string) => (job === 'ill' ? fail('invalid') : undefined);
  // Each run alone is too short to give a task up.
  await run(machine, 90_000, ill, (h) => assert.deepEqual(phases(h, 'ill'), ['RUNNING']));
  await machine.manual.advance(24 * 60 * MINUTE);
  await run(machine, 30_000, ill, (h) => {
    assert.deepEqual(phases(h, 'ill'), ['RUNNING'], 'it failed for less than two minutes in all');
    assert.ok([...h.store.listed()].some(({ consecutiveFailures }) => consecutiveFailures > 5));
  });
  await run(machine, 30_000, () => undefined);
  await run(machine, 90_000, ill, (h) =>
    assert.deepEqual(phases(h, 'ill'), ['RUNNING'], 'a read that succeeded came between'),
  );
  await run(machine, 90_000, ill, (h) => assert.deepEqual(phases(h, 'ill', 'well'), ['READS_FAILING', 'RUNNING']));
});

test('tasks that a wave of NotFound froze stay frozen over a restart, until they are found or the outage grace of all runs is over', async () => {
  const machine = new Machine();
  const lost = ['a', 'b', 'c'];
  await jobs(machine, ...lost, 'd');
  const gone = (job: string) => (lost.includes(job) ? fail('not_found') : undefined);
  const begun = await machine.start();
  serves(begun, () => undefined);
  await begun.clock.advance(2 * MINUTE);
  serves(begun, gone);
  await begun.clock.advance(3 * MINUTE);
  assert.equal(begun.runtime.refresher.stats().notFoundFrozen, 3);
  machine.kill();
  await run(machine, 20 * MINUTE, gone, (h) => {
    assert.equal(h.runtime.refresher.stats().notFoundFrozen, 3);
    assert.deepEqual(phases(h, ...lost), ['RUNNING', 'RUNNING', 'RUNNING']);
  });
  lost.pop();
  await run(machine, 30 * MINUTE, gone, (h) => {
    assert.deepEqual(phases(h, 'a', 'b', 'c', 'd'), Array(4).fill('RUNNING'));
    assert.equal(h.runtime.refresher.stats().notFoundFrozen, 2, 'one was found');
  });
  await run(machine, 15 * MINUTE, gone, (h) =>
    assert.deepEqual(phases(h, 'a', 'b', 'c', 'd'), ['RESOURCE_LOST', 'RESOURCE_LOST', 'RUNNING', 'RUNNING']),
  );
});

const away = () => fail('transient');

/** So many daemons one after the other, each killed after five minutes, all of whose reads fail. */
async function lives(machine: Machine, times: number, then?: (h: Harness) => void): Promise<void> {
  for (let life = 0; life < times; life++) await run(machine, 5 * MINUTE, away, then);
}

test('the grace of an outage of reads runs on over restarts, time apart in which no daemon ran, and an answer begins it anew', async () => {
  const machine = new Machine();
  const names = ['a', 'b', 'c'];
  await jobs(machine, ...names);
  const goOn = (h: Harness) => assert.deepEqual(phases(h, ...names), ['RUNNING', 'RUNNING', 'RUNNING']);
  await lives(machine, 8, goOn);
  await machine.manual.advance(24 * 60 * MINUTE);
  await lives(machine, 2, goOn);
  await run(machine, MINUTE, () => undefined);
  await lives(machine, 10, goOn);
  await lives(machine, 8);
  await run(machine, MINUTE, away, (h) => {
    for (const code of phases(h, ...names)) assert.match(code, /^(?:REMOTE_OUTAGE|READS_FAILING)$/);
    assert.equal(h.store.unfinished, 0);
  });
  await run(machine, MINUTE, away, (h) => assert.equal(h.store.unfinished, 0));
});

test('an outage of reads of which no task is left is none of those that come later', async () => {
  const machine = new Machine();
  await jobs(machine, 'a', 'b');
  await lives(machine, 11);
  const h = await machine.start();
  serves(h, away);
  const handles = [...h.store.listed()].map(({ answeredHandle }) => answeredHandle!);
  for (const handle of handles) await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
  await h.clock.advance(1_000);
  assert.equal(h.store.unfinished, 0);
  for (const name of ['c', 'd']) await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  machine.kill();
  await lives(machine, 7, (later) => assert.deepEqual(phases(later, 'c', 'd'), ['QUEUED', 'QUEUED']));
});

/** A daemon whose creates all fail. */
async function failsToCreate(machine: Machine, ms: number, then: (h: Harness) => void): Promise<void> {
  const h = await machine.start();
  h.plugin.on.create = away;
  await h.clock.advance(ms);
  then(h);
  assert.deepEqual(h.faults, []);
  machine.kill();
}

async function accepted(machine: Machine, ...names: string[]): Promise<void> {
  const h = await machine.start({ warmUpMs: MINUTE });
  h.plugin.on.create = away;
  for (const name of names) await settle(h.clock, h.tasks.create(h.spec(name), h.scope(3_000)));
  machine.kill();
}

const ends = ({ store }: Harness) => [...store.listed()].map(({ state }) => state.error?.code ?? state.phase);

test('a lane that a remote asked to rest rests after a kill as long as was asked, time in which no daemon ran included', async () => {
  const machine = new Machine();
  await jobs(machine, 'a');
  const startMs = machine.manual.now();
  const reads: number[] = [];
  const beginRun = async () => {
    const h = await machine.start();
    h.plugin.on.get = () => {
      reads.push(h.clock.now() - startMs);
      return reads.length === 1 ? fail('throttled', { retryAfterMs: 10 * MINUTE }) : running();
    };
    return h;
  };
  const first = await beginRun();
  await first.clock.advance(2 * MINUTE);
  assert.equal(reads.length, 1);
  const untilMs = (reads[0] ?? 0) + 10 * MINUTE;
  machine.kill();
  // Once more before it is over, so that what one start knows goes on to the next.
  for (let lives = 0; lives < 2; lives++) {
    await machine.manual.advance(2 * MINUTE);
    const h = await beginRun();
    await h.clock.advance(MINUTE);
    assert.equal(reads.length, 1, 'nothing is read while it rests');
    machine.kill();
  }
  const last = await beginRun();
  await last.clock.advance(10 * MINUTE);
  const [, next = 0] = reads;
  assert.ok(next >= untilMs && next < untilMs + MINUTE, `${next} where ${untilMs} was asked for`);
  machine.kill();
});

test('the budget of a create is spent over restarts, time apart in which no daemon ran', async () => {
  const machine = new Machine();
  await accepted(machine, 'a');
  for (let life = 0; life < 2; life++) {
    await failsToCreate(machine, 4 * MINUTE, (h) => assert.deepEqual(ends(h), ['WAITING_FOR_RESOURCES']));
    await machine.manual.advance(60 * MINUTE);
  }
  for (let life = 0; life < 6; life++) await failsToCreate(machine, 4 * MINUTE, () => {});
  await failsToCreate(machine, MINUTE, (h) => assert.deepEqual(ends(h), ['CREATE_BUDGET_SPENT']));
});

test('the budget of what a plugin asks before a create is spent over restarts, and that of the create begins after it', async () => {
  const machine = new Machine();
  const asks = {
    plugin: ({ features }: Harness['plugin']) => void Object.assign(features, { resourceRequirements: true }),
  };
  const begun = await machine.start({ ...asks, warmUpMs: MINUTE });
  await settle(begun.clock, begun.tasks.create(begun.spec('a'), begun.scope(3_000)));
  machine.kill();
  for (let life = 0; life < 2; life++) {
    const h = await machine.start(asks);
    await h.clock.advance(3 * MINUTE);
    assert.deepEqual(ends(h), ['WAITING_FOR_RESOURCES']);
    machine.kill();
  }
  const asked = await machine.start(asks);
  asked.plugin.on.resourceRequirements = () => ok({ namespace: 'q' });
  asked.plugin.on.create = away;
  await asked.clock.advance(8 * MINUTE);
  assert.deepEqual(ends(asked), ['WAITING_FOR_RESOURCES'], 'nothing of its own budget was spent');
  machine.kill();
  await failsToCreate(machine, 9 * MINUTE, (h) => assert.deepEqual(ends(h), ['CREATE_BUDGET_SPENT']));
});

test('the grace of an outage of creates runs on over restarts, and budgets only after it', async () => {
  const machine = new Machine();
  await accepted(machine, 'a', 'b', 'c');
  const waiting = (h: Harness) => assert.deepEqual([...new Set(ends(h))], ['WAITING_FOR_RESOURCES']);
  for (let life = 0; life < 11; life++) await failsToCreate(machine, 5 * MINUTE, waiting);
  for (let life = 0; life < 16; life++) await failsToCreate(machine, 5 * MINUTE, () => {});
  await failsToCreate(machine, 5 * MINUTE, (h) => assert.deepEqual([...new Set(ends(h))], ['CREATE_BUDGET_SPENT']));
});

test('a clean stop forgets no outage of creates', async () => {
  const machine = new Machine();
  await accepted(machine, 'a', 'b', 'c');
  for (let life = 0; life < 30; life++) {
    const h = await machine.start();
    h.plugin.on.create = away;
    await h.clock.advance(5 * MINUTE);
    if (life === 29) assert.deepEqual([...new Set(ends(h))], ['CREATE_BUDGET_SPENT']);
    await h.stop();
  }
});
