import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ResourceArgs } from '../../src/model/plugin-call.js';
import { created, fail, type Harness, ok, running, settle } from './harness.js';
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
