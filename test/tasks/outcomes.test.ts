import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { outcomeRule } from '../../src/model/outcomes.js';
import { FAILURE_KINDS, type FailureKind, type PluginFailure } from '../../src/model/plugin-call.js';
import { created, fail, HINTS, makeHarness, ok, running, settle, success } from './harness.js';

/** Failures that a plugin call itself can have; what the gate refuses on its own cannot come from a plugin. */
const FROM_A_CALL = FAILURE_KINDS.filter((kind) => kind !== 'not_admitted' && kind !== 'cancelled');
const QUOTA = { resourceQuotas: { default: 1 } };

function failure(kind: FailureKind): Partial<PluginFailure> {
  return kind === 'throttled'
    ? { retryAfterMs: 1_000 }
    : kind === 'permanent'
      ? { code: 'Refused', faultKind: 'USER' }
      : {};
}

for (const kind of FROM_A_CALL) {
  const rule = outcomeRule('create', kind);

  test(`create × ${kind}: ends, counts, repeats and keeps the token as the outcome table says`, async () => {
    const h = await makeHarness({ config: QUOTA, options: { createBudgetMs: 120_000 } });
    h.plugin.on.create = () => fail(kind, failure(kind));
    const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    const endsAtOnce = rule.ends !== undefined && rule.endsWhen === undefined;
    assert.equal(task.stage === 'over', endsAtOnce);
    assert.equal(h.runtime.quotas.holds(task.id), !endsAtOnce && rule.token === 'kept');
    await h.clock.advance(3_600_000);
    const end = endsAtOnce ? rule.ends : rule.counted === 'yes' ? rule.endsPastBound : undefined;
    if (end === undefined) {
      assert.equal(task.stage, 'creating');
      h.plugin.on.create = () => created();
      h.plugin.on.get = () => running();
      await h.clock.advance(600_000);
      assert.equal(task.stage, 'live');
    } else {
      assert.equal(task.state.phase, end.phase);
      assert.equal(task.state.error?.code, end.code === 'plugin' ? failure(kind).code : end.code);
      assert.equal(h.runtime.quotas.holds(task.id), false);
    }
    assert.equal(h.plugin.count('create') > 1, rule.retry !== 'no');
    await h.stop();
    assert.deepEqual(h.faults, []);
  });

  test(`resourceRequirements × ${kind}: counts, repeats and ends as a create does, and takes no token`, async () => {
    const h = await makeHarness({ config: QUOTA, options: { createBudgetMs: 120_000 } });
    h.plugin.features.resourceRequirements = true;
    h.plugin.on.resourceRequirements = () => fail(kind, failure(kind));
    h.plugin.on.create = () => created();
    h.plugin.on.get = () => running();
    const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    const endsAtOnce = rule.ends !== undefined && rule.endsWhen === undefined;
    assert.equal(task.stage, endsAtOnce ? 'over' : 'accepted');
    if (endsAtOnce) assert.match(task.state.error?.message ?? '', /^resourceRequirements: /);
    else assert.match(task.state.reason, /(is repeated|throttles): /);
    await h.clock.advance(3_600_000);
    const end = endsAtOnce ? rule.ends : rule.counted === 'yes' ? rule.endsPastBound : undefined;
    if (end === undefined) {
      h.plugin.on.resourceRequirements = () => ok({ namespace: 'default' });
      await h.clock.advance(600_000);
      assert.equal(task.stage, 'live');
    } else {
      assert.equal(task.state.phase, end.phase);
      assert.equal(task.state.error?.code, end.code === 'plugin' ? failure(kind).code : end.code);
      assert.equal(h.plugin.count('create'), 0);
      assert.equal(h.runtime.quotas.holds(task.id), false);
    }
    assert.equal(h.plugin.count('resourceRequirements') > 1, rule.retry !== 'no');
    await h.stop();
    assert.deepEqual(h.faults, []);
  });

  test(`do × ${kind}: is the phase or the error that the outcome table says`, async () => {
    const rule = outcomeRule('do', kind);
    const h = await makeHarness({
      plugin: (plugin) => {
        plugin.kind = 'sync';
      },
    });
    h.plugin.on.do = () => fail(kind, failure(kind));
    const answer = await settle(h.clock, h.tasks.do(h.spec('a'), h.scope())).catch((error: unknown) => error);
    if (rule.answer === 'phase') assert.equal((answer as { phase: string }).phase, rule.ends?.phase);
    else assert.ok(HostError.is(answer) && answer.code === rule.answer, String(answer));
    h.plugin.on.do = () => success();
    await h.clock.advance(60_000);
    const repeat = await settle(h.clock, h.tasks.do(h.spec('a'), h.scope()));
    assert.equal(repeat.phase === 'SUCCESS', rule.retry !== 'no');
    await h.stop();
  });

  test(`delete × ${kind}: is repeated or done, and holds the token, as the outcome table says`, async () => {
    const rule = outcomeRule('delete', kind);
    const h = await makeHarness({ config: QUOTA });
    h.plugin.on.create = () => created();
    h.plugin.on.get = () => running();
    h.plugin.on.delete = () => fail(kind, failure(kind));
    const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    await settle(h.clock, h.tasks.delete(handle, 'r', HINTS));
    await h.clock.advance(600_000);
    const done = rule.retry === 'confirm';
    assert.equal(h.tasks.owedDeletes.size, done ? 0 : 1);
    assert.equal(h.runtime.quotas.holds(task.id), !done);
    assert.ok(h.plugin.count('delete') > 1, 'one answer alone ends no delete');
    h.plugin.on.delete = () => ok({});
    await h.clock.advance(600_000);
    assert.equal(h.tasks.owedDeletes.size, 0);
    assert.equal(h.runtime.quotas.holds(task.id), false);
    await h.stop();
  });

  test(`get × ${kind}: a Get that waits for the read is answered what the outcome table says`, async () => {
    const rule = outcomeRule('get', kind);
    const h = await makeHarness();
    h.plugin.on.create = () => created();
    h.plugin.on.get = () => running();
    h.plugin.on.delete = () => ok({});
    const { handle } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    await settle(h.clock, h.tasks.get(handle, HINTS, h.scope()));
    // The code that the error class gives where the plugin names none.
    const named = { not_found: 'PLUGIN_THREW_NOT_FOUND', transient: 'PLUGIN_THREW_TRANSIENT' }[kind as string];
    h.plugin.on.get = () => fail(kind, named === undefined ? failure(kind) : { code: named });
    const answer = await settle(h.clock, h.tasks.get(handle, HINTS, h.scope())).catch((thrown: unknown) => thrown);
    if (rule.answer === 'phase') assert.equal((answer as { state: { phase: string } }).state.phase, rule.ends?.phase);
    else assert.ok(HostError.is(answer) && answer.code === rule.answer, String(answer));
    await h.stop();
  });

  test(`getLogs × ${kind}: is passed on as the outcome table says`, async () => {
    const rule = outcomeRule('getLogs', kind);
    const h = await makeHarness({
      plugin: (plugin) => {
        plugin.features.getLogs = true;
      },
    });
    h.plugin.on.create = () => created();
    h.plugin.on.get = () => running();
    h.plugin.on.getLogs = () => fail(kind, failure(kind));
    const { handle, task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
    const asked = h.tasks.getLogs(handle, { lines: 10, token: '' }, HINTS, h.scope());
    const error = await settle(h.clock, asked).catch((thrown: unknown) => thrown);
    assert.ok(HostError.is(error) && error.code === rule.answer, String(error));
    assert.equal(task.consecutiveFailures, 0);
    await h.stop();
  });
}

test('a resource meta that no repeat would mend ends the create at once', async () => {
  const h = await makeHarness();
  h.plugin.on.create = () => fail('invalid', { code: 'RESOURCE_META_TOO_LARGE' });
  const { task } = await settle(h.clock, h.tasks.create(h.spec('a'), h.scope()));
  assert.equal(task.state.phase, 'PERMANENT_FAILURE');
  assert.equal(task.state.error?.code, 'RESOURCE_META_TOO_LARGE');
  await h.stop();
});
