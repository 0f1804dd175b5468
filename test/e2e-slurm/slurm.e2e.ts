import assert from 'node:assert/strict';
import { monitorEventLoopDelay } from 'node:perf_hooks';
import { before, describe, test } from 'node:test';
import { checkWindows } from './counting-proxy.js';
import { type Incarnation, onlyForward } from './engine.js';
import { LOST_ANSWERS, type Outcome, Scenario } from './scenario.js';
import { READ_LIMIT, WRITE_LIMIT } from './stage.js';

/**
 * Requests are counted when they reach the proxy, some time after the limit let the call go; the second request of a
 * create or delete comes when the first was answered. Without limits the bursts of this run come earlier than that. What a
 * busy machine held up on its way comes late, and what follows then seems early: by as much as a process was held up, on
 * either side, and by how much this one was is measured.
 */
const SLACK_SECONDS = 1;
const SIDES = 2;

describe('sixty tasks on a real Slurm cluster, through the daemon', () => {
  let outcome: Outcome;
  const heldUp = monitorEventLoopDelay({ resolution: 20 });

  before(async () => {
    heldUp.enable();
    outcome = await new Scenario((line) => console.error(line)).run();
    heldUp.disable();
  });

  /** The incarnation that counts: the last one of its key. */
  const lastOf = (name: string): Incarnation => {
    const found = outcome.engine.incarnations.filter((one) => one.task.name === name).at(-1);
    assert.ok(found, `${name} was never created`);
    return found;
  };
  const describeLast = (one: Incarnation) => {
    const { phase, reason, error } = one.last.phaseInfo;
    return `${one.task.name} is ${phase} (${error?.code ?? ''}: ${error?.message ?? reason})`;
  };

  test('sixty tasks were run', () => {
    assert.equal(outcome.plan.tasks.length, 60);
    assert.equal(new Set(outcome.plan.tasks.map((task) => task.name)).size, 60);
  });

  test('every task ended in the phase it should, none because of restart, outage or hanging controller', () => {
    const wrong = outcome.plan.tasks
      .filter((task) => task.expect !== undefined)
      .map((task) => lastOf(task.name))
      .filter((one) => one.last.phaseInfo.phase !== one.task.expect?.phase);
    assert.deepEqual(wrong.map(describeLast), []);
  });

  test('the outputs are right, with their declared types', () => {
    const succeeded = outcome.plan.tasks.filter((task) => task.expect?.outputs !== undefined);
    assert.ok(succeeded.length >= 25);
    for (const task of succeeded) {
      const { phase } = lastOf(task.name).last.phaseInfo;
      if (phase === 'SUCCESS')
        assert.deepEqual(outcome.engine.outputs(lastOf(task.name)), task.expect?.outputs, task.name);
    }
  });

  test('failures carry their code, kind, exit code and reason', () => {
    const failing = outcome.plan.tasks.filter((task) => task.expect?.message !== undefined);
    assert.ok(failing.length >= 15);
    for (const task of failing) {
      const one = lastOf(task.name);
      const { error, reason, phase } = one.last.phaseInfo;
      assert.match(error?.message || reason, task.expect?.message as RegExp, describeLast(one));
      if (task.expect?.code !== undefined) assert.equal(error?.code, task.expect.code, describeLast(one));
      if (phase !== 'ABORTED') assert.equal(error?.kind, task.expect?.kind ?? 'USER', describeLast(one));
    }
  });

  test('jobs that ran into their time limit are told apart from failing ones', () => {
    for (const i of [0, 1, 2]) assert.equal(lastOf(`timeout-${i}`).last.phaseInfo.error?.code, 'TimeLimit');
  });

  test('what the cluster did to a job is a failure of the system and may be tried again', () => {
    const seen = ['preempted', 'node-failed'].map((name) => {
      const { phase, error } = lastOf(name).last.phaseInfo;
      return [phase, error?.code, error?.kind];
    });
    assert.deepEqual(seen, [
      ['RETRYABLE_FAILURE', 'Preempted', 'SYSTEM'],
      ['RETRYABLE_FAILURE', 'NodeFail', 'SYSTEM'],
    ]);
  });

  test('cancelled jobs are gone from the queue: pending, running, and after the restart', () => {
    assert.equal(outcome.cancelledStates.size, 6);
    for (const [name, states] of outcome.cancelledStates) assert.deepEqual(states, ['CANCELLED'], name);
  });

  test('a task that was deleted while it waited for a token never reached Slurm', () => {
    const names = outcome.plan.tasks.filter((task) => task.name.startsWith('cancel-waiting')).map((task) => task.name);
    assert.equal(names.length, 2);
    assert.deepEqual(
      outcome.jobs.filter((job) => names.includes(job.name)),
      [],
    );
  });

  test('create, delete, create of one key ran twice', () => {
    for (const i of [0, 1, 2]) {
      const jobs = outcome.jobs.filter((job) => job.name === `recreated-${i}`);
      assert.deepEqual(jobs.map((job) => job.state).sort(), ['CANCELLED', 'COMPLETED']);
      const [first, second] = outcome.engine.incarnations.filter((one) => one.task.name === `recreated-${i}`);
      assert.notDeepEqual(first?.handle, second?.handle);
    }
  });

  test('a create that came three times answered the same bytes and made one job', () => {
    assert.equal(outcome.repeats.length, 2);
    for (const handles of outcome.repeats) {
      assert.equal(handles.length, 3);
      assert.ok(handles.every((handle) => handle.equals(handles[0] as Buffer)));
    }
  });

  test('as many Slurm jobs as incarnations, also where the answer of a submission was lost', () => {
    assert.equal(outcome.proxy.lostAnswers, LOST_ANSWERS);
    const submissions = new Map<string, Set<number>>();
    for (const job of outcome.jobs) {
      const known = submissions.get(job.name) ?? new Set();
      submissions.set(job.name, known.add(job.submission));
    }
    const wrong = outcome.plan.tasks
      .filter((task) => (submissions.get(task.name)?.size ?? 0) !== task.submissions)
      .map((task) => `${task.name}: ${submissions.get(task.name)?.size ?? 0} instead of ${task.submissions}`);
    assert.deepEqual(wrong, []);
    const keys = new Set(outcome.jobs.map((job) => job.comment));
    const all = new Set(outcome.jobs.map((job) => job.submission));
    const expected = outcome.plan.tasks.reduce((sum, task) => sum + task.submissions, 0);
    assert.equal(all.size, expected);
    assert.equal(keys.size, expected, 'one key a job');
  });

  test('the daemon was killed with tasks still to be submitted', () => {
    assert.ok(outcome.uncreatedAtKill > 0);
  });

  test('jobs that Slurm requeued went on, and the reason said so', () => {
    assert.equal(outcome.requeueReasons.length, 2);
    for (const reason of outcome.requeueReasons) assert.match(reason, /requeued 1 time/);
  });

  test('phases only went forward, over the restart, the kill and the requeues', () => {
    const back = outcome.engine.incarnations.filter((one) => !onlyForward(one.phases));
    assert.deepEqual(
      back.map((one) => `${one.task.name}: ${one.phases.join(' ')}`),
      [],
    );
  });

  test('Status always answered while the daemon was there', () => {
    assert.deepEqual(outcome.engine.unexpected, []);
  });

  test('the daemon stopped cleanly both times and left no plugin process', () => {
    assert.deepEqual(outcome.exitCodes, [0, 0]);
    assert.ok(outcome.pluginPidGone);
  });

  test('the outage of slurmrestd was felt, and failed nothing', () => {
    assert.ok(outcome.outage.failed > 0, 'requests failed meanwhile');
    assert.ok(outcome.outage.sawFailures, 'Status told of it');
  });

  test('tasks waited for tokens, and in the end all tokens are free', () => {
    assert.ok(outcome.waitedForQuota > 0);
    assert.ok(outcome.quotaUsed.size > 0, 'the metric is there');
    for (const [labels, value] of outcome.quotaUsed) assert.equal(value, 0, `used ${labels}`);
    for (const [labels, value] of outcome.quotaWaiting) assert.equal(value, 0, `waiting ${labels}`);
    for (const quota of outcome.report?.quotas ?? []) assert.equal(quota.used, 0);
    assert.equal(outcome.report?.liveTasks, 0);
  });

  test('the token was rotated on the way, and Slurm never saw an expired one', () => {
    const { requests } = outcome.proxy;
    assert.ok(new Set(requests.map((request) => request.token)).size >= 2);
    assert.deepEqual(
      requests.filter((request) => request.status === 401),
      [],
    );
  });

  test('remote calls stayed within the limits in every window', () => {
    const { requests } = outcome.proxy;
    const times = (wanted: (request: (typeof requests)[number]) => boolean) =>
      requests.filter((request) => !request.repeats && wanted(request)).map((request) => request.atMs);
    const classes = {
      reads: checkWindows(
        times((request) => request.purpose === 'read'),
        READ_LIMIT,
      ),
      'submissions and cancellations': checkWindows(
        times((request) => request.method !== 'GET'),
        WRITE_LIMIT,
      ),
      'lookups of creates and deletes': checkWindows(
        times((request) => request.method === 'GET' && request.purpose !== 'read'),
        WRITE_LIMIT,
      ),
    };
    assert.equal(requests.filter((request) => request.purpose === '').length, 0);
    const slack = SLACK_SECONDS + (SIDES * heldUp.max) / 1e9;
    for (const [what, verdict] of Object.entries(classes)) {
      const { mostInOneSecond, overSeconds } = verdict;
      console.error(
        `${what}: ${verdict.requests}, at most ${mostInOneSecond} in one second, early by ${overSeconds.toFixed(2)} s of ${slack.toFixed(2)} s`,
      );
      assert.ok(overSeconds <= slack, `${what}: ${overSeconds.toFixed(2)} s over the limit in some window`);
    }
    console.error(`the run took ${outcome.seconds.toFixed(0)} s`);
  });
});
