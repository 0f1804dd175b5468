import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { phaseState } from '../../src/model/phase-state.js';
import { created, fail, HINTS, literals, ok, running, settle, success } from './harness.js';
import { makeTimeline, type Timeline } from './timeline.js';

/** The whole of what the daemon says, calls and shows in the life of tasks, with its times: no word of it is by chance. */

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

/** Creates a task; the answer comes within a third of the nine seconds that the engine gives it. */
const create = (h: Timeline, name: string, parts = {}) =>
  settle(h.clock, h.tasks.create(h.spec(name, parts), h.scope()));
const remove = (h: Timeline, handle: Buffer, reason: string) => settle(h.clock, h.tasks.delete(handle, reason, HINTS));

/** Ends a test: nothing that the daemon did was a fault, and nothing of it is left to do. */
async function ends(h: Timeline): Promise<void> {
  await h.stop();
  assert.deepEqual([h.faults, h.clock.pending], [[], 0]);
}

test('a create that fails is repeated after one, two, four seconds, one that is throttled no earlier than the remote says', async () => {
  const h = await makeTimeline();
  h.plugin.on.get = () => running('on node 7');
  const outcomes = [
    fail('transient', { message: 'refused' }),
    fail('throttled', { retryAfterMs: 7_000 }),
    fail('unknown'),
    fail('throttled'),
  ];
  h.plugin.on.create = () => outcomes.shift() ?? created();
  await create(h, 'a');
  await h.clock.advance(30_000);
  assert.deepEqual(h.told(), [
    '0 accepted a-1',
    '0 -> create a-1',
    '0 createRetried a-1 TRANSIENT refused 1000',
    '1000 -> create a-1',
    '1000 createRetried a-1 THROTTLED throttled happened 7000',
    '8000 -> create a-1',
    '8000 createRetried a-1 UNKNOWN unknown happened 4000',
    '12000 -> create a-1',
    '12000 createRetried a-1 THROTTLED throttled happened 8000',
    '20000 -> create a-1',
    '20000 created a-1',
  ]);
  assert.deepEqual(h.seen(), [
    '2970 a-1 WAITING_FOR_RESOURCES the remote throttles: throttled happened',
    '8000 a-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '8000 a-1 WAITING_FOR_RESOURCES creating failed and is repeated: unknown happened',
    '12000 a-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '12000 a-1 WAITING_FOR_RESOURCES the remote throttles: throttled happened',
    '20000 a-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '20000 a-1 QUEUED the remote has the job',
    '21000 a-1 RUNNING on node 7',
  ]);
  await ends(h);
});

test('a create whose budget is spent ends its task; its job is looked for after one, four and sixteen minutes more, then it is the operator’s', async () => {
  const h = await makeTimeline({ options: { createBudgetMs: 20_000, unclearLooks: 3 } });
  h.plugin.on.create = () => fail('deadline', { message: 'no answer' });
  const { handle } = await create(h, 'a');
  await h.clock.advance(24 * HOUR);
  assert.deepEqual(h.told(), [
    '0 accepted a-1',
    '0 -> create a-1',
    '0 createRetried a-1 DEADLINE no answer 1000',
    '1000 -> create a-1',
    '1000 createRetried a-1 DEADLINE no answer 2000',
    '3000 -> create a-1',
    '3000 createRetried a-1 DEADLINE no answer 4000',
    '7000 -> create a-1',
    '7000 createRetried a-1 DEADLINE no answer 8000',
    '15000 -> create a-1',
    '15000 createRetried a-1 DEADLINE no answer 16000',
    '31000 -> create a-1',
    '31000 createUnclear a-1 fake CREATE_BUDGET_SPENT creating was tried for 31 s; the last error: [DEADLINE] no answer',
    '31000 ended a-1',
    '91000 -> create a-1',
    '331000 -> create a-1',
    '1291000 -> create a-1',
    '1291000 createLeft a-1 fake 3 looks did not find out no answer',
  ]);
  assert.deepEqual(h.seen(), [
    '2970 a-1 WAITING_FOR_RESOURCES creating failed and is repeated: no answer',
    '3000 a-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '3000 a-1 WAITING_FOR_RESOURCES creating failed and is repeated: no answer',
    '7000 a-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '7000 a-1 WAITING_FOR_RESOURCES creating failed and is repeated: no answer',
    '15000 a-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '15000 a-1 WAITING_FOR_RESOURCES creating failed and is repeated: no answer',
    '31000 a-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '31000 a-1 RETRYABLE_FAILURE creating was tried for 31 s; the last error: [DEADLINE] no answer',
  ]);
  assert.deepEqual(
    [...h.store.unclear.listed()].map(({ sinceMs, looks, leftBecause, lastError }) => [
      h.clock.now() - sinceMs,
      looks,
      leftBecause,
      lastError,
    ]),
    [[24 * HOUR + 3_000 - 31_000, 3, '3 looks did not find out', { code: 'DEADLINE', message: 'no answer' }]],
  );
  await remove(h, handle, 'no longer wanted');
  assert.deepEqual([h.told(), h.seen().length], [[], 1], 'a delete of what is over is shown, and orders nothing');
  await ends(h);
});

test('a throttled or refused look is put off by what the remote says, and costs no look', async () => {
  const h = await makeTimeline({ options: { createBudgetMs: 5_000, unclearLooks: 2 } });
  h.plugin.on.create = () => fail('transient');
  await create(h, 'a');
  await h.clock.advance(10_000);
  h.told();
  const outcomes = [fail('throttled', { retryAfterMs: HOUR }), fail('not_admitted'), fail('permanent')];
  h.plugin.on.create = () => outcomes.shift() ?? created('{"job":9}', phaseState('RUNNING'), true);
  h.plugin.on.delete = () => ok({});
  await h.clock.advance(10 * HOUR);
  assert.deepEqual(h.told(), [
    '67000 -> create a-1',
    '3667000 -> create a-1',
    '3727000 -> create a-1',
    '3967000 -> create a-1',
    '3967000 createCleared a-1 fake cancelled',
    '3967000 deleteOwed a-1 fake the task had ended before the daemon knew its job',
    '3967000 -> delete a-1 {"job":9} the task had ended before the daemon knew its job',
    '3967000 deleteDone a-1 fake 1',
  ]);
  assert.deepEqual(h.seen(), [
    '2970 a-1 WAITING_FOR_RESOURCES creating failed and is repeated: transient happened',
    '3000 a-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '3000 a-1 WAITING_FOR_RESOURCES creating failed and is repeated: transient happened',
    '7000 a-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '7000 a-1 RETRYABLE_FAILURE creating was tried for 7 s; the last error: [TRANSIENT] transient happened',
  ]);
  await ends(h);
});

test('an owed delete is repeated after one, two, four seconds, no earlier than the remote says, whatever it answers', async () => {
  const h = await makeTimeline();
  h.plugin.on.get = () => running();
  h.plugin.on.create = () => created();
  const { handle } = await create(h, 'a');
  await h.clock.advance(1_000);
  h.told();
  const outcomes = [
    fail('transient', { message: 'refused' }),
    fail('transient', { retryAfterMs: 5_000 }),
    fail('throttled', { retryAfterMs: 10 * MINUTE }),
    fail('permanent'),
    fail('unknown'),
  ];
  h.plugin.on.delete = () => outcomes.shift() ?? ok({});
  await remove(h, handle, 'no longer wanted');
  await h.clock.advance(HOUR);
  assert.deepEqual(h.told(), [
    '1250 deleteOwed a-1 fake no longer wanted',
    '1250 -> delete a-1 {"job":1} no longer wanted',
    '1250 deleteFailed a-1 fake TRANSIENT refused 1',
    '2250 -> delete a-1 {"job":1} no longer wanted',
    '2250 deleteFailed a-1 fake TRANSIENT transient happened 2',
    '7250 -> delete a-1 {"job":1} no longer wanted',
    '7250 deleteFailed a-1 fake THROTTLED throttled happened 3',
    '607250 -> delete a-1 {"job":1} no longer wanted',
    '607250 deleteFailed a-1 fake PERMANENT permanent happened 4',
    '615250 -> delete a-1 {"job":1} no longer wanted',
    '615250 deleteFailed a-1 fake UNKNOWN unknown happened 5',
    '631250 -> delete a-1 {"job":1} no longer wanted',
    '631250 deleteDone a-1 fake 6',
  ]);
  assert.deepEqual(h.seen(), [
    '0 a-1 QUEUED the remote has the job',
    '1000 a-1 RUNNING runs',
    '1250 a-1 RUNNING runs (deleted)',
  ]);
  await ends(h);
});

test('a delete that does not find its job asks four times over the minimum time, and anew where another answer came between', async () => {
  const h = await makeTimeline();
  h.plugin.on.get = () => running();
  h.plugin.on.create = () => created();
  const { handle } = await create(h, 'a');
  await h.clock.advance(HOUR);
  h.told();
  const outcomes = [fail('not_found'), fail('not_found'), fail('transient')];
  h.plugin.on.delete = () => outcomes.shift() ?? fail('not_found', { message: 'none such' });
  await remove(h, handle, 'r');
  await h.clock.advance(HOUR);
  assert.deepEqual(h.told(), [
    '3600250 deleteOwed a-1 fake r',
    '3600250 -> delete a-1 {"job":1} r',
    '3620250 -> delete a-1 {"job":1} r',
    '3660250 -> delete a-1 {"job":1} r',
    '3660250 deleteFailed a-1 fake TRANSIENT transient happened 3',
    '3664250 -> delete a-1 {"job":1} r',
    '3684250 -> delete a-1 {"job":1} r',
    '3724250 -> delete a-1 {"job":1} r',
    '3784250 -> delete a-1 {"job":1} r',
    '3784250 deleteDone a-1 fake 7',
  ]);
  assert.deepEqual(h.seen(), [
    '0 a-1 QUEUED the remote has the job',
    '1000 a-1 RUNNING runs',
    '3600250 a-1 RUNNING runs (deleted)',
  ]);
  await ends(h);
});

test('outputs that the data store does not take are asked for again after one, two, four seconds; past their budget they end the task', async () => {
  const h = await makeTimeline({
    options: { maxInlineOutputBytes: 10, outputsBudgetMs: 10_000 },
    beforeWrite: async () => {
      throw new HostError('DATA_UNAVAILABLE', 'the store failed (503)');
    },
  });
  h.plugin.on.get = () => success(literals('a', 'b', 'c', 'd'));
  h.plugin.on.delete = () => ok({});
  h.plugin.on.create = () => created();
  await create(h, 'a', { outputNames: ['a', 'b'] });
  await h.clock.advance(MINUTE);
  assert.deepEqual(h.told(), [
    '0 accepted a-1',
    '0 -> create a-1',
    '0 created a-1',
    '1000 outputsDropped a-1 [c,d]',
    '1000 outputsDelayed a-1 DATA_UNAVAILABLE the outputs are 18 bytes, an answer may carry 10 with all that comes with them, and writing them under s3://bucket/a failed: the store failed (503) 1000',
    '2000 outputsDropped a-1 [c,d]',
    '2000 outputsDelayed a-1 DATA_UNAVAILABLE the outputs are 18 bytes, an answer may carry 10 with all that comes with them, and writing them under s3://bucket/a failed: the store failed (503) 2000',
    '4000 outputsDropped a-1 [c,d]',
    '4000 outputsDelayed a-1 DATA_UNAVAILABLE the outputs are 18 bytes, an answer may carry 10 with all that comes with them, and writing them under s3://bucket/a failed: the store failed (503) 4000',
    '8000 outputsDropped a-1 [c,d]',
    '8000 outputsDelayed a-1 DATA_UNAVAILABLE the outputs are 18 bytes, an answer may carry 10 with all that comes with them, and writing them under s3://bucket/a failed: the store failed (503) 8000',
    '16000 outputsDropped a-1 [c,d]',
    '16000 ended a-1',
    '16000 deleteOwed a-1 fake the daemon ended the task: the outputs are 18 bytes, an answer may carry 10 with all that comes with them, and writing them under s3://bucket/a failed: the store failed (503)',
    '16000 -> delete a-1 {"job":1} the daemon ended the task: the outputs are 18 bytes, an answer may carry 10 with all that comes with them, and writing them under s3://bucket/a failed: the store failed (503)',
    '16000 deleteDone a-1 fake 1',
  ]);
  assert.deepEqual(h.seen(), [
    '0 a-1 QUEUED the remote has the job',
    '16000 a-1 RETRYABLE_FAILURE the outputs are 18 bytes, an answer may carry 10 with all that comes with them, and writing them under s3://bucket/a failed: the store failed (503)',
  ]);
  await ends(h);
});

test('a task whose answer was lost is cancelled when its grace is over, unless somebody asked for it', async () => {
  const h = await makeTimeline({ options: { orphanGraceMs: 90_000 } });
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  h.plugin.on.create = () => created();
  const lost = await create(h, 'lost');
  const asked = await create(h, 'asked');
  for (const { undelivered } of [lost, asked]) undelivered();
  assert.equal(h.tasks.orphans.size, 2);
  await h.clock.advance(89_000);
  h.tasks.peek(asked.handle);
  await h.clock.advance(HOUR);
  assert.deepEqual(h.told(), [
    '0 accepted lost-1',
    '0 -> create lost-1',
    '0 created lost-1',
    '250 accepted asked-1',
    '250 -> create asked-1',
    '250 created asked-1',
    '90500 orphanDeleted lost-1',
    '90500 deleteOwed lost-1 fake its create was never answered and nobody has asked for it since',
    '90500 -> delete lost-1 {"job":1} its create was never answered and nobody has asked for it since',
    '90500 deleteDone lost-1 fake 1',
  ]);
  assert.deepEqual(h.seen(), [
    '0 lost-1 QUEUED the remote has the job',
    '250 asked-1 QUEUED the remote has the job',
    '1000 lost-1 RUNNING runs',
    '1250 asked-1 RUNNING runs',
    '90500 lost-1 RUNNING runs (deleted)',
  ]);
  assert.equal(h.tasks.orphans.size, 0);
  await ends(h);
});

test('a task waits for what it takes: its requirements are asked for like any create, then its token, each in its words', async () => {
  const h = await makeTimeline({
    config: { resourceQuotas: { gpu: 1 } },
    plugin: (plugin) => {
      plugin.features.resourceRequirements = true;
    },
  });
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => ok({});
  h.plugin.on.create = () => created();
  const answers = [fail('transient', { message: 'not now' }), fail('throttled'), ok({ namespace: 'gpu' })];
  h.plugin.on.resourceRequirements = () => answers.shift() ?? ok({ namespace: 'gpu', constraints: { project: 1 } });
  const { handle } = await create(h, 'first');
  await create(h, 'second');
  await h.clock.advance(10_000);
  await remove(h, handle, 'r');
  await h.clock.advance(10_000);
  answers.push(fail('permanent', { message: 'bad template', code: 'BAD', faultKind: 'USER' }));
  const refused = await create(h, 'refused');
  assert.deepEqual(refused.task.state.error, {
    code: 'BAD',
    message: 'resourceRequirements: bad template',
    kind: 'USER',
  });
  assert.deepEqual(h.told(), [
    '0 accepted first-1',
    '0 -> resourceRequirements',
    '0 createRetried first-1 TRANSIENT not now 1000',
    '1000 -> resourceRequirements',
    '1000 createRetried first-1 THROTTLED throttled happened 2000',
    '3000 -> resourceRequirements',
    '3000 -> create first-1',
    '3000 created first-1',
    '3000 accepted second-1',
    '3000 -> resourceRequirements',
    '16000 deleteOwed first-1 fake r',
    '16000 -> delete first-1 {"job":1} r',
    '16000 deleteDone first-1 fake 1',
    '16000 -> create second-1',
    '16000 created second-1',
    '26250 accepted refused-1',
    '26250 -> resourceRequirements',
    '26250 ended refused-1',
  ]);
  assert.deepEqual(h.seen(), [
    '2970 first-1 WAITING_FOR_RESOURCES the remote throttles: throttled happened',
    '3000 first-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '3000 first-1 QUEUED the remote has the job',
    '4000 first-1 RUNNING runs',
    '5970 second-1 WAITING_FOR_RESOURCES waits for quota namespace "gpu"',
    '16000 first-1 RUNNING runs (deleted)',
    '16000 second-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '16000 second-1 QUEUED the remote has the job',
    '17000 second-1 RUNNING runs',
    '26250 refused-1 PERMANENT_FAILURE resourceRequirements: bad template',
  ]);
  await ends(h);
});

test('requirements that cannot be had within the budget end the attempt, and nothing of it is looked for', async () => {
  const h = await makeTimeline({
    options: { createBudgetMs: 10_000 },
    plugin: (plugin) => {
      plugin.features.resourceRequirements = true;
    },
  });
  h.plugin.on.resourceRequirements = () => fail('transient', { message: 'not now' });
  await create(h, 'a');
  await h.clock.advance(HOUR);
  assert.deepEqual(h.told(), [
    '0 accepted a-1',
    '0 -> resourceRequirements',
    '0 createRetried a-1 TRANSIENT not now 1000',
    '1000 -> resourceRequirements',
    '1000 createRetried a-1 TRANSIENT not now 2000',
    '3000 -> resourceRequirements',
    '3000 createRetried a-1 TRANSIENT not now 4000',
    '7000 -> resourceRequirements',
    '7000 createRetried a-1 TRANSIENT not now 8000',
    '15000 -> resourceRequirements',
    '15000 ended a-1',
  ]);
  assert.deepEqual(h.seen(), [
    '2970 a-1 WAITING_FOR_RESOURCES resourceRequirements failed and is repeated: not now',
    '15000 a-1 RETRYABLE_FAILURE resourceRequirements was tried for 15 s; the last error: [TRANSIENT] not now',
  ]);
  await ends(h);
});

test('a plugin that did not come up is waited for, and what it says of itself is the reason', async () => {
  const h = await makeTimeline();
  const listeners = h.plugin.listeners.size;
  h.plugin.on.get = () => running();
  h.plugin.on.create = () => created();
  h.plugin.isDown();
  await create(h, 'silent');
  h.plugin.stateReason = 'it crashed';
  await create(h, 'a');
  h.plugin.comesUp();
  await h.clock.advance(10_000);
  assert.deepEqual(h.told(), [
    '0 accepted silent-1',
    '3000 accepted a-1',
    '6000 -> create silent-1',
    '6000 -> create a-1',
    '6000 created silent-1',
    '6000 created a-1',
  ]);
  assert.deepEqual(h.seen(), [
    '2970 silent-1 WAITING_FOR_RESOURCES plugin "fake" is restarting',
    '5970 a-1 WAITING_FOR_RESOURCES plugin "fake" is restarting: it crashed',
    '6000 silent-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '6000 a-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '6000 silent-1 QUEUED the remote has the job',
    '6000 a-1 QUEUED the remote has the job',
    '7000 silent-1 RUNNING runs',
    '7000 a-1 RUNNING runs',
  ]);
  assert.equal(h.plugin.listeners.size, listeners, 'nobody listens who does not wait');
  await ends(h);
});

test('a later attempt waits for the lost one to be cancelled, and no longer than its own budget', async () => {
  for (const refuses of [false, true]) {
    const h = await makeTimeline({ options: { createBudgetMs: 2 * MINUTE } });
    h.plugin.on.get = () => running();
    h.plugin.on.create = () => created();
    h.plugin.on.delete = () => fail('transient');
    const node = (attempt: number) => ({ node: { nodeKey: 'n', attempt } });
    const { undelivered } = await create(h, 'lost', node(0));
    undelivered();
    await create(h, 'next', node(1));
    await h.clock.advance(10_000);
    h.plugin.on.delete = () => (refuses ? fail('transient') : ok({}));
    await h.clock.advance(2 * MINUTE);
    if (refuses) {
      assert.deepEqual(h.told(), [
        '0 accepted lost-1',
        '0 -> create lost-1',
        '0 created lost-1',
        '250 accepted next-1',
        '250 orphanDeleted lost-1',
        '250 deleteOwed lost-1 fake its create was never answered and the engine has gone on to a later attempt',
        '250 -> delete lost-1 {"job":1} its create was never answered and the engine has gone on to a later attempt',
        '250 deleteFailed lost-1 fake TRANSIENT transient happened 1',
        '1250 -> delete lost-1 {"job":1} its create was never answered and the engine has gone on to a later attempt',
        '1250 deleteFailed lost-1 fake TRANSIENT transient happened 2',
        '3250 -> delete lost-1 {"job":1} its create was never answered and the engine has gone on to a later attempt',
        '3250 deleteFailed lost-1 fake TRANSIENT transient happened 3',
        '7250 -> delete lost-1 {"job":1} its create was never answered and the engine has gone on to a later attempt',
        '7250 deleteFailed lost-1 fake TRANSIENT transient happened 4',
        '15250 -> delete lost-1 {"job":1} its create was never answered and the engine has gone on to a later attempt',
        '15250 deleteFailed lost-1 fake TRANSIENT transient happened 5',
        '31250 -> delete lost-1 {"job":1} its create was never answered and the engine has gone on to a later attempt',
        '31250 deleteFailed lost-1 fake TRANSIENT transient happened 6',
        '63250 -> delete lost-1 {"job":1} its create was never answered and the engine has gone on to a later attempt',
        '63250 deleteFailed lost-1 fake TRANSIENT transient happened 7',
        '120250 -> create next-1',
        '120250 created next-1',
        '123250 -> delete lost-1 {"job":1} its create was never answered and the engine has gone on to a later attempt',
        '123250 deleteFailed lost-1 fake TRANSIENT transient happened 8',
      ]);
      assert.deepEqual(h.seen(), [
        '0 lost-1 QUEUED the remote has the job',
        '250 lost-1 QUEUED the remote has the job (deleted)',
        '3220 next-1 WAITING_FOR_RESOURCES an earlier attempt of this node is being cancelled first',
        '120250 next-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
        '120250 next-1 QUEUED the remote has the job',
        '121250 next-1 RUNNING runs',
      ]);
    } else {
      assert.deepEqual(h.told(), [
        '0 accepted lost-1',
        '0 -> create lost-1',
        '0 created lost-1',
        '250 accepted next-1',
        '250 orphanDeleted lost-1',
        '250 deleteOwed lost-1 fake its create was never answered and the engine has gone on to a later attempt',
        '250 -> delete lost-1 {"job":1} its create was never answered and the engine has gone on to a later attempt',
        '250 deleteFailed lost-1 fake TRANSIENT transient happened 1',
        '1250 -> delete lost-1 {"job":1} its create was never answered and the engine has gone on to a later attempt',
        '1250 deleteFailed lost-1 fake TRANSIENT transient happened 2',
        '3250 -> delete lost-1 {"job":1} its create was never answered and the engine has gone on to a later attempt',
        '3250 deleteFailed lost-1 fake TRANSIENT transient happened 3',
        '7250 -> delete lost-1 {"job":1} its create was never answered and the engine has gone on to a later attempt',
        '7250 deleteFailed lost-1 fake TRANSIENT transient happened 4',
        '15250 -> delete lost-1 {"job":1} its create was never answered and the engine has gone on to a later attempt',
        '15250 deleteDone lost-1 fake 5',
        '15250 -> create next-1',
        '15250 created next-1',
      ]);
      assert.deepEqual(h.seen(), [
        '0 lost-1 QUEUED the remote has the job',
        '250 lost-1 QUEUED the remote has the job (deleted)',
        '3220 next-1 WAITING_FOR_RESOURCES an earlier attempt of this node is being cancelled first',
        '15250 next-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
        '15250 next-1 QUEUED the remote has the job',
        '16250 next-1 RUNNING runs',
      ]);
    }
    await h.stop();
  }
});

test('a sync plugin that answers a phase which is none of an end is at fault, in a task as in a do', async () => {
  const h = await makeTimeline({
    plugin: (plugin) => {
      plugin.kind = 'sync';
    },
  });
  h.plugin.on.do = () => running();
  await create(h, 'a');
  const state = await settle(h.clock, h.tasks.do(h.spec('b'), h.scope()));
  assert.deepEqual(state.error, {
    code: 'PLUGIN_ANSWER_INVALID',
    message: 'do answered phase RUNNING; a sync plugin must answer a terminal one',
    kind: 'SYSTEM',
  });
  await h.clock.advance(MINUTE);
  assert.deepEqual(h.told(), ['0 accepted a-1', '0 -> do a-1', '0 ended a-1', '250 -> do b-1']);
  assert.deepEqual(h.seen(), [
    '0 a-1 PERMANENT_FAILURE do answered phase RUNNING; a sync plugin must answer a terminal one',
  ]);
  await ends(h);
});

test('a plugin that calls every job found is stopped after a hundred keys', async () => {
  const h = await makeTimeline();
  h.plugin.on.create = () => created('{"job":1}', phaseState('ABORTED'), true);
  await create(h, 'a');
  await h.clock.advance(10 * MINUTE);
  assert.equal(h.plugin.count('create'), 101);
  const last = h.told().slice(-2);
  assert.deepEqual(last, ['0 -> create a-101', '0 ended a-101']);
  assert.match(h.seen().at(-1) ?? '', /^[0-9]+ a-101 PERMANENT_FAILURE create found a job .* under each of 100 keys; /);
  await ends(h);
});

test('the list of unclear creates is bounded, and says what gave way; what is left says why nobody looks', async () => {
  const h = await makeTimeline({
    options: { createBudgetMs: 5_000, maxUnclear: 2, maxUnclearBytes: 8_000, unclearLooks: 5 },
  });
  h.plugin.on.create = () => fail('deadline');
  for (const name of ['a', 'b', 'c']) {
    await create(h, name, { inputs: Buffer.alloc(5) });
    await h.clock.advance(10_000);
  }
  await create(h, 'd', { inputs: Buffer.alloc(20_000) });
  await h.clock.advance(10_000);
  h.plugin.features.findsByKey = false;
  await create(h, 'e');
  await h.clock.advance(10_000);
  const told = h.told().filter((line) => line.includes('create'));
  assert.deepEqual(told, [
    '0 -> create a-1',
    '0 createRetried a-1 DEADLINE deadline happened 1000',
    '1000 -> create a-1',
    '1000 createRetried a-1 DEADLINE deadline happened 2000',
    '3000 -> create a-1',
    '3000 createRetried a-1 DEADLINE deadline happened 4000',
    '7000 -> create a-1',
    '7000 createUnclear a-1 fake CREATE_BUDGET_SPENT creating was tried for 7 s; the last error: [DEADLINE] deadline happened',
    '13000 -> create b-1',
    '13000 createRetried b-1 DEADLINE deadline happened 1000',
    '14000 -> create b-1',
    '14000 createRetried b-1 DEADLINE deadline happened 2000',
    '16000 -> create b-1',
    '16000 createRetried b-1 DEADLINE deadline happened 4000',
    '20000 -> create b-1',
    '20000 createUnclear b-1 fake CREATE_BUDGET_SPENT creating was tried for 7 s; the last error: [DEADLINE] deadline happened',
    '26000 -> create c-1',
    '26000 createRetried c-1 DEADLINE deadline happened 1000',
    '27000 -> create c-1',
    '27000 createRetried c-1 DEADLINE deadline happened 2000',
    '29000 -> create c-1',
    '29000 createRetried c-1 DEADLINE deadline happened 4000',
    '33000 -> create c-1',
    '33000 createLeft a-1 fake later ones took its place in the list creating was tried for 7 s; the last error: [DEADLINE] deadline happened',
    '33000 createUnclear c-1 fake CREATE_BUDGET_SPENT creating was tried for 7 s; the last error: [DEADLINE] deadline happened',
    '39000 -> create d-1',
    '39000 createRetried d-1 DEADLINE deadline happened 1000',
    '40000 -> create d-1',
    '40000 createRetried d-1 DEADLINE deadline happened 2000',
    '42000 -> create d-1',
    '42000 createRetried d-1 DEADLINE deadline happened 4000',
    '46000 -> create d-1',
    '46000 createLeft b-1 fake later ones took its place in the list creating was tried for 7 s; the last error: [DEADLINE] deadline happened',
    '46000 createUnclear d-1 fake CREATE_BUDGET_SPENT creating was tried for 7 s; the last error: [DEADLINE] deadline happened',
    '46000 createLeft d-1 fake the list holds too many inputs already creating was tried for 7 s; the last error: [DEADLINE] deadline happened',
    '52000 -> create e-1',
    '52000 createLeft c-1 fake later ones took its place in the list creating was tried for 7 s; the last error: [DEADLINE] deadline happened',
    '52000 createUnclear e-1 fake CREATE_UNCLEAR a create call may have made the job, and this plugin cannot find it by its key: [DEADLINE] deadline happened',
    '52000 createLeft e-1 fake its plugin cannot find a job by its key a create call may have made the job, and this plugin cannot find it by its key: [DEADLINE] deadline happened',
  ]);
  assert.equal(h.store.unclear.size, 2);
  await h.stop();
});

test('a stop without a state tells of every job that may be left behind', async () => {
  const h = await makeTimeline({ options: { createBudgetMs: 5_000 } });
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  await create(h, 'answered');
  h.plugin.on.create = () => fail('deadline');
  await create(h, 'unclear');
  await h.clock.advance(20_000);
  await create(h, 'interrupted');
  h.told();
  await h.stop();
  assert.deepEqual(h.told(), [
    '26250 createLeft interrupted-1 fake the daemon stops and keeps no state deadline happened',
    '26250 createLeft unclear-1 fake the daemon stops and keeps no state creating was tried for 7 s; the last error: [DEADLINE] deadline happened',
  ]);
  assert.deepEqual(h.seen(), [
    '0 answered-1 QUEUED the remote has the job',
    '1000 answered-1 RUNNING runs',
    '3220 unclear-1 WAITING_FOR_RESOURCES creating failed and is repeated: deadline happened',
    '3250 unclear-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '3250 unclear-1 WAITING_FOR_RESOURCES creating failed and is repeated: deadline happened',
    '7250 unclear-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '7250 unclear-1 RETRYABLE_FAILURE creating was tried for 7 s; the last error: [DEADLINE] deadline happened',
    '26220 interrupted-1 WAITING_FOR_RESOURCES creating failed and is repeated: deadline happened',
    '26250 interrupted-1 WAITING_FOR_RESOURCES the create waits for its turn within the write limit',
    '26250 interrupted-1 WAITING_FOR_RESOURCES creating failed and is repeated: deadline happened',
  ]);
});

test('a job that is not found is said to be, once two reads agree; it ends, its delete owed, when that is confirmed', async () => {
  const h = await makeTimeline();
  h.plugin.on.create = () => created();
  h.plugin.on.get = () => running();
  h.plugin.on.delete = () => fail('not_found');
  await create(h, 'a');
  await h.clock.advance(HOUR);
  h.told();
  h.seen();
  h.plugin.on.get = () => fail('not_found', { message: 'none such' });
  await h.clock.advance(HOUR);
  // How often it is read is the schedule's.
  const words = (lines: string[]) =>
    lines.map((line) => line.replace(/^\d+ /, '').replace(/\d+ reads .* \d+ s/, 'reads'));
  assert.deepEqual(words(h.told()), [
    'ended a-1',
    'deleteOwed a-1 fake the daemon ended the task: the remote does not know the job any more: reads did not find it: none such',
    '-> delete a-1 {"job":1} the daemon ended the task: the remote does not know the job any more: reads did not find it: none such',
    '-> delete a-1 {"job":1} the daemon ended the task: the remote does not know the job any more: reads did not find it: none such',
    '-> delete a-1 {"job":1} the daemon ended the task: the remote does not know the job any more: reads did not find it: none such',
    '-> delete a-1 {"job":1} the daemon ended the task: the remote does not know the job any more: reads did not find it: none such',
    'deleteDone a-1 fake 4',
  ]);
  assert.deepEqual(words(h.seen()), [
    'a-1 RUNNING the remote does not find the job; the task goes on until that is confirmed',
    'a-1 RETRYABLE_FAILURE the remote does not know the job any more: reads did not find it: none such',
  ]);
  await ends(h);
});

test('what an abort at the remote says is its error; one that says nothing has words of the daemon', async () => {
  const h = await makeTimeline();
  h.plugin.on.create = () => created();
  const errors: unknown[] = [];
  for (const reason of ['', 'cut by the quota']) {
    h.plugin.on.get = () => ok(phaseState('ABORTED', { reason }));
    const { task } = await create(h, `a ${reason}`);
    await h.clock.advance(10_000);
    errors.push(task.state.error);
  }
  const error = { code: 'TASK_ABORTED', kind: 'USER' };
  assert.deepEqual(errors, [
    { ...error, message: 'the job was aborted at the remote' },
    { ...error, message: 'cut by the quota' },
  ]);
  await ends(h);
});
