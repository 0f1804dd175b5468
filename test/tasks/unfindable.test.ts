import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { FailureKind, PluginFailure } from '../../src/model/plugin-call.js';
import { created, fail, type Harness, HINTS, held, makeHarness, ok, running, settle } from './harness.js';

/** A daemon with a plugin whose remote can neither take a key nor be searched. */
async function daemon(): Promise<Harness> {
  const h = await makeHarness({
    plugin: (plugin) => {
      plugin.features.findsByKey = false;
    },
  });
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  return h;
}

const create = (h: Harness, name = 'a') => settle(h.clock, h.tasks.create(h.spec(name), h.scope()));

test('a create that may have been sent is never repeated where its job could not be found: CREATE_UNCLEAR, listed, its token freed', async () => {
  for (const kind of [
    'transient',
    'unknown',
    'deadline',
    'process_died',
    'not_found',
    'cancelled',
  ] satisfies FailureKind[]) {
    const h = await daemon();
    h.plugin.on.create = () => fail(kind, { message: 'no answer came' });
    const { task } = await create(h);
    assert.equal(task.state.phase, 'RETRYABLE_FAILURE', kind);
    assert.equal(task.state.error?.code, 'CREATE_UNCLEAR');
    assert.match(task.state.error?.message ?? '', /no answer came/);
    assert.equal(h.runtime.quotas.holds(task.id), false);
    await h.clock.advance(24 * 3_600_000);
    assert.equal(h.plugin.count('create'), 1, 'nobody looks for it either');
    const [listed, ...more] = h.tasks.unclearCreates.listed();
    assert.equal(more.length, 0);
    assert.match(listed?.leftBecause ?? '', /cannot find a job by its key/);
    await h.stop();
  }
});

test('what made no job for sure is repeated, or refused, as for every other plugin', async () => {
  const sure: [kind: FailureKind, parts: Partial<PluginFailure>][] = [
    ['transient', { notCreated: true }],
    ['throttled', { retryAfterMs: 1_000 }],
    ['not_admitted', {}],
    ['cancelled', { code: 'LEASE_LAPSED', notCreated: true }],
  ];
  for (const [kind, parts] of sure) {
    const h = await daemon();
    let calls = 0;
    h.plugin.on.create = () => (calls++ === 0 ? fail(kind, parts) : created());
    const { handle } = await create(h);
    await h.clock.advance(120_000);
    assert.equal((await settle(h.clock, h.tasks.status(handle, HINTS, h.scope()))).state.phase, 'RUNNING', kind);
    assert.equal(h.plugin.count('create'), 2);
    assert.equal(h.tasks.unclearCreates.size, 0);
    await h.stop();
  }
  const h = await daemon();
  h.plugin.on.create = () => fail('permanent', { code: 'BAD' });
  assert.equal((await create(h)).task.state.error?.code, 'BAD');
  assert.equal(h.tasks.unclearCreates.size, 0);
  await h.stop();
});

test('a Delete while the create is on its way makes no second call: the job that may be there is listed', async () => {
  const h = await daemon();
  const answer = held<ReturnType<typeof created>>();
  h.plugin.on.create = () => answer.promise;
  const { handle } = await create(h);
  const deleting = h.tasks.delete(handle, 'r', HINTS);
  await settle(h.clock, deleting);
  answer.release(fail('deadline'));
  await h.clock.advance(24 * 3_600_000);
  assert.equal(h.plugin.count('create'), 1);
  assert.equal(h.tasks.unclearCreates.size, 1);
  await h.stop();
});
