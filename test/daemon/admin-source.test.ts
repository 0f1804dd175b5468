import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type AdminParts, adminSource, readinessOf } from '../../src/daemon/admin-source.js';
import { HostError } from '../../src/errors/index.js';
import type { PluginHost } from '../../src/host/types.js';
import { created, fail, makeHarness, running, settle } from '../tasks/harness.js';

const owed = (id: string) => ({ id, identity: { plugin: 'p' }, reason: 'r', sinceMs: 0, attempts: 1 });

function sourceOver(ids: string[]) {
  const tasks = { owedDeletes: { list: () => ids.map(owed) } };
  return adminSource({ tasks } as unknown as AdminParts);
}

test('pages of a listing join to the whole, and end without `next`', () => {
  const ids = ['a', 'b', 'c', 'd', 'e'];
  const source = sourceOver(ids);
  const seen: unknown[] = [];
  let after: string | undefined = '';
  for (let pages = 0; after !== undefined; pages++) {
    assert.ok(pages < 3);
    const page = source.deletes({ limit: 2, after });
    seen.push(...page.rows.map(({ id }) => id));
    after = page.next;
  }
  assert.deepEqual(seen, ids);
  assert.deepEqual(sourceOver([]).deletes({ limit: 2, after: '' }), { rows: [], next: undefined });
});

test('a page after a row that is gone is an error, and not the end of the list', () => {
  const ids = ['a', 'b', 'c'];
  const source = sourceOver(ids);
  assert.equal(source.deletes({ limit: 1, after: '' }).next, 'a');
  ids.shift();
  assert.throws(
    () => source.deletes({ limit: 1, after: 'a' }),
    (error) => HostError.is(error) && error.code === 'REQUEST_FIELD_INVALID' && /start again/.test(error.message),
  );
});

test('the row of a task says since when and by how many reads its job is not found, and whether a wave froze it', async () => {
  const h = await makeHarness();
  h.plugin.on.create = (args) => created(args.idempotencyKey);
  h.plugin.on.get = () => running();
  const parts = { tasks: h.tasks, store: h.store, runtimes: { get: () => h.runtime } };
  const source = adminSource(parts as unknown as AdminParts);
  const filters = { plugin: undefined, phase: undefined, stage: undefined, project: undefined, id: undefined };
  const told = () => source.tasks({ ...filters, limit: 10, after: '' }).rows.map(({ notFound }) => notFound);
  for (const name of ['a', 'b', 'c']) await settle(h.clock, h.tasks.create(h.spec(name), h.scope()));
  await h.clock.advance(60_000);
  assert.deepEqual(told(), [null, null, null]);
  h.plugin.on.get = () => fail('not_found');
  await h.clock.advance(300_000);
  for (const row of told() as { frozen: boolean; reads: number }[]) assert.ok(row.frozen && row.reads >= 3);
  h.plugin.on.get = () => running();
  await h.clock.advance(120_000);
  assert.deepEqual(told(), [null, null, null]);
  await h.stop();
});

test('a plugin that no one configured cannot be paused, resumed or reloaded, and the error says which there are', async () => {
  const host = { plugins: () => [{ id: 'slurm' }, { id: 'spark' }] };
  const source = adminSource({ host, runtimes: { get: () => undefined } } as unknown as AdminParts);
  const says = (error: unknown) =>
    HostError.is(error) && error.code === 'PLUGIN_UNKNOWN' && /"slrm"; there are: slurm, spark$/.test(error.message);
  assert.throws(() => source.pause('slrm'), says);
  assert.throws(() => source.resume('slrm'), says);
  await assert.rejects(source.reload('slrm'), says);
  assert.throws(
    () => source.pause('slurm'),
    (error) => HostError.is(error) && error.code === 'PLUGIN_NOT_SERVING',
  );
});

test('readiness names a paused plugin, which keeps nothing from being ready', () => {
  const plugin = (id: string) => ({ id, state: 'serving', stateReason: '', required: true });
  const host = { plugins: () => [plugin('a'), plugin('b')] } as unknown as PluginHost;
  const seen = readinessOf('ready', host, (id) => id === 'b');
  assert.equal(seen.ready, true);
  assert.deepEqual(seen.unready, [{ what: 'plugin b', why: 'paused by an operator', fatal: false }]);
  assert.deepEqual(readinessOf('ready', host).unready, []);
});

test('tasks are found by the beginning of their id, and by nothing else of it', async () => {
  const h = await makeHarness();
  h.plugin.on.create = (args) => created(args.idempotencyKey);
  h.plugin.on.get = () => running();
  const parts = { tasks: h.tasks, store: h.store, runtimes: { get: () => h.runtime } };
  const source = adminSource(parts as unknown as AdminParts);
  const ids: string[] = [];
  for (const name of ['a', 'b']) {
    ids.push((await settle(h.clock, h.tasks.create(h.spec(name), h.scope()))).task.id);
  }
  const query = { plugin: undefined, phase: undefined, stage: undefined, project: undefined, limit: 10, after: '' };
  const found = (id: string) => source.tasks({ ...query, id }).rows.map((row) => row.id);
  for (const id of ids) {
    assert.deepEqual(found(id), [id]);
    assert.deepEqual(found(id.slice(0, 20)), [id]);
    assert.deepEqual(found(id.slice(1)), []);
  }
  await h.stop();
});
