import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { formatIndexes, parseArray } from '../../plugins/slurm/array-spec.js';
import { parseJobs, type SlurmJob } from '../../plugins/slurm/jobs.js';
import type { SlurmMeta } from '../../plugins/slurm/meta.js';
import { decisiveState, stateNamesOf } from '../../plugins/slurm/state-names.js';
import { FAILED_REASONS, ruleFor, STATE_TABLE } from '../../plugins/slurm/states.js';
import { statusOf } from '../../plugins/slurm/status.js';
import { type FakeJob, fakeJob } from './slurm-fake.js';

const NOW_MS = 1_700_000_000_000;
const META: SlurmMeta = { cluster: 'main', jobId: 5, outputs: [], permanentExitCodes: [126, 127], stem: '/w/k' };

function read(fields: Partial<FakeJob>): SlurmJob {
  const list = parseJobs({ jobs: [fakeJob({ job_id: 5, ...fields })] }, () => true, NOW_MS);
  assert.equal(list?.jobs.length, 1);
  return list.jobs[0] as SlurmJob;
}

function phaseOf(fields: Partial<FakeJob>, meta = META) {
  return statusOf({ resourceMeta: meta, resource: { jobs: [read(fields)], leftExits: {}, logs: [] } });
}

/** Every state of Slurm 22.05 (`man squeue`, JOB STATE CODES) and of later versions: phase, code, kind. */
const EXPECTED: Record<string, [phase: string, code?: string, kind?: string]> = {
  PENDING: ['QUEUED'],
  REQUEUED: ['QUEUED'],
  REQUEUE_FED: ['QUEUED'],
  REQUEUE_HOLD: ['QUEUED'],
  RESV_DEL_HOLD: ['QUEUED'],
  SPECIAL_EXIT: ['QUEUED'],
  CONFIGURING: ['INITIALIZING'],
  POWER_UP_NODE: ['INITIALIZING'],
  RUNNING: ['RUNNING'],
  SUSPENDED: ['RUNNING'],
  STOPPED: ['RUNNING'],
  RESIZING: ['RUNNING'],
  SIGNALING: ['RUNNING'],
  STAGE_OUT: ['RUNNING'],
  COMPLETING: ['RUNNING'],
  COMPLETED: ['SUCCESS'],
  CANCELLED: ['ABORTED'],
  FAILED: ['RETRYABLE_FAILURE', 'NonZeroExitCode', 'USER'],
  TIMEOUT: ['PERMANENT_FAILURE', 'TimeLimit', 'USER'],
  DEADLINE: ['PERMANENT_FAILURE', 'Deadline', 'USER'],
  OUT_OF_MEMORY: ['PERMANENT_FAILURE', 'OutOfMemory', 'USER'],
  NODE_FAIL: ['RETRYABLE_FAILURE', 'NodeFail', 'SYSTEM'],
  BOOT_FAIL: ['RETRYABLE_FAILURE', 'BootFail', 'SYSTEM'],
  PREEMPTED: ['RETRYABLE_FAILURE', 'Preempted', 'SYSTEM'],
  LAUNCH_FAILED: ['RETRYABLE_FAILURE', 'LaunchFailed', 'SYSTEM'],
  RECONFIG_FAIL: ['RETRYABLE_FAILURE', 'ReconfigFail', 'SYSTEM'],
  REVOKED: ['RETRYABLE_FAILURE', 'Revoked', 'SYSTEM'],
};

test('every job state has its phase, code and kind, and the table has no other rows', () => {
  assert.deepEqual(Object.keys(STATE_TABLE).sort(), Object.keys(EXPECTED).sort());
  for (const [state, [phase, code, kind]] of Object.entries(EXPECTED)) {
    const info = phaseOf({ job_state: state, exit_code: state === 'FAILED' ? 256 : 0 });
    assert.equal(info.phase, phase, state);
    assert.equal(info.error?.code, code, state);
    assert.equal(info.error?.kind, kind, state);
    assert.equal(info.remotePhase, state);
  }
});

test('a state of a newer Slurm keeps the job alive', () => {
  assert.equal(phaseOf({ job_state: 'HOVERING' }).phase, 'RUNNING');
});

test('FAILED is told apart by its reason, a signal and the permanent exit codes', () => {
  const rows: [Partial<FakeJob>, string, string, string][] = [
    [{ state_reason: 'NonZeroExitCode', exit_code: 3 << 8 }, 'RETRYABLE_FAILURE', 'NonZeroExitCode', 'USER'],
    [{ state_reason: 'NonZeroExitCode', exit_code: 127 << 8 }, 'PERMANENT_FAILURE', 'NonZeroExitCode', 'USER'],
    // as 22.05 records a submission that it refused
    [{ state_reason: 'BadConstraints', exit_code: 1 }, 'PERMANENT_FAILURE', 'BadConstraints', 'USER'],
    [{ state_reason: 'JobLaunchFailure' }, 'RETRYABLE_FAILURE', 'LaunchFailed', 'SYSTEM'],
    [{ state_reason: 'JobLaunchFailure', exit_code: 9 }, 'RETRYABLE_FAILURE', 'KilledBySignal', 'USER'],
    [{ state_reason: 'NodeDown' }, 'RETRYABLE_FAILURE', 'NodeFail', 'SYSTEM'],
    [{ state_reason: 'OutOfMemory' }, 'PERMANENT_FAILURE', 'OutOfMemory', 'USER'],
  ];
  for (const [fields, phase, code, kind] of rows) {
    const info = phaseOf({ job_state: 'FAILED', ...fields });
    assert.deepEqual([info.phase, info.error?.code, info.error?.kind], [phase, code, kind], JSON.stringify(fields));
  }
  for (const rule of Object.values(FAILED_REASONS)) assert.equal(rule.kind, 'failed');
});

test('a failure names exit code, reason and node; an exit code above 128 names the signal', () => {
  const info = phaseOf({ job_state: 'FAILED', state_reason: 'NonZeroExitCode', exit_code: 137 << 8, nodes: 'n7' });
  assert.equal(
    info.error?.message,
    'Slurm job 5 FAILED: the job failed, exit code 137, a process was killed by signal 9, reason NonZeroExitCode, on n7',
  );
  assert.match(
    phaseOf({ job_state: 'TIMEOUT', state_reason: 'TimeLimit', exit_code: 15 }).error?.message ?? '',
    /signal 15/,
  );
});

test('a requeued job says so and why it waits', () => {
  const info = phaseOf({ job_state: 'PENDING', restart_cnt: 2, state_reason: 'BeginTime' });
  assert.equal(info.reason, 'Slurm job 5 is PENDING (BeginTime), requeued 2 times');
  assert.deepEqual(info.customInfo, { cluster: 'main', jobId: 5, restarts: 2 });
});

test('one element that no attempt can cure decides for the array, a cancelled one only without failures', () => {
  const meta: SlurmMeta = { ...META, array: '0-2' };
  const phase = (states: string[]) =>
    statusOf({
      resourceMeta: meta,
      resource: {
        jobs: states.map((job_state, i) =>
          read({
            job_id: 5 + i,
            array_job_id: 5,
            array_task_id: i,
            job_state,
            exit_code: job_state === 'FAILED' ? 256 : 0,
          }),
        ),
        leftExits: {},
        logs: [],
      },
    });
  assert.equal(phase(['COMPLETED', 'COMPLETED', 'COMPLETED']).phase, 'SUCCESS');
  assert.equal(phase(['COMPLETED', 'FAILED', 'RUNNING']).phase, 'RUNNING');
  assert.equal(phase(['NODE_FAIL', 'COMPLETED', 'TIMEOUT']).error?.code, 'TimeLimit');
  assert.equal(phase(['CANCELLED', 'COMPLETED', 'NODE_FAIL']).phase, 'RETRYABLE_FAILURE');
  assert.equal(phase(['CANCELLED', 'COMPLETED', 'COMPLETED']).phase, 'ABORTED');
  assert.match(
    phase(['COMPLETED', 'FAILED', 'COMPLETED']).error?.message ?? '',
    /^Slurm job 5_1 FAILED.*array of 3: 2 COMPLETED, 1 FAILED/,
  );
});

test('records of newer API versions (lists of states, wrapped numbers) read the same', () => {
  const wrap = (number: number) => ({ set: true, infinite: false, number });
  const list = parseJobs(
    {
      jobs: [
        {
          job_id: 5,
          array_job_id: wrap(0),
          array_task_id: { set: false, infinite: false, number: 0 },
          job_state: ['FAILED'],
          state_reason: 'NonZeroExitCode',
          exit_code: { status: ['ERROR'], return_code: wrap(3), signal: { id: { set: false, number: 0 }, name: '' } },
          comment: 'k',
          end_time: wrap(1_700_000_000),
        },
        { job_id: 6, job_state: ['COMPLETED', 'COMPLETING'], comment: 'k' },
        { job_id: 7, job_state: ['CANCELLED'], comment: 'other', some_new_field: {} },
      ],
    },
    (raw) => raw.comment === 'k',
    NOW_MS,
  );
  assert.equal(list?.jobs.length, 2);
  const [first, second] = list.jobs as [SlurmJob, SlurmJob];
  assert.equal(first.exitCode, 3);
  assert.equal(first.arrayJobId, undefined);
  assert.equal(first.arrayTaskId, undefined);
  assert.equal(first.endTime, 1_700_000_000);
  assert.deepEqual(ruleFor(first, []), STATE_TABLE.FAILED);
  assert.equal(second.state, 'COMPLETING', 'while a flag is set the job is not over');
});

test('an answer that is no job list is not taken for an empty one', () => {
  for (const answer of [undefined, null, [], 'text', {}, { jobs: {} }, { jobs: [null] }, { jobs: ['x'] }]) {
    assert.equal(
      parseJobs(answer, () => true, NOW_MS),
      undefined,
      JSON.stringify(answer),
    );
  }
});

test('a record that does not say which job it is of, or no state, is told apart; the others are read', () => {
  const odd = [null, 'x', { job_id: 1, job_state: { a: 1 } }, { job_id: 2 }, { job_state: ['RUNNING'] }];
  const list = parseJobs({ jobs: [...odd, fakeJob({ job_id: 5 })] }, () => true, NOW_MS);
  assert.deepEqual(
    list?.jobs.map((job) => job.jobId),
    [5],
  );
  assert.equal(list.unread.length, 3);
  assert.deepEqual(
    parseJobs({ jobs: odd }, () => false, NOW_MS),
    { jobs: [], unread: [] },
    'nobody asked for them',
  );
});

test('a field of a shape that is not expected hides nothing of the rest', () => {
  const odd = [
    NaN,
    null,
    'Unknown',
    '7:x',
    [],
    [7],
    {},
    { set: true, number: {} },
    { set: true, number: Infinity },
    true,
  ];
  for (const value of odd) {
    const fields = ['array_job_id', 'array_task_id', 'state_reason', 'exit_code', 'restart_cnt', 'end_time', 'nodes'];
    for (const field of fields) {
      const record = { ...fakeJob({ job_id: 5, job_state: 'TIMEOUT' }), [field]: value };
      const list = parseJobs({ jobs: [record] }, () => true, NOW_MS);
      assert.equal(list?.jobs[0]?.state, 'TIMEOUT', `${field}: ${JSON.stringify(value)}`);
    }
  }
  const job = read({ nodes: ['n1', 'n2'], exit_code: '3:9' } as never);
  assert.deepEqual([job.nodes, job.exitCode, job.signal], ['n1,n2', 3, 9]);
});

test('a job that a list shows twice stays alive while one record says so; a revoked record gives way', () => {
  const twice = (first: string, second: string) =>
    parseJobs(
      {
        jobs: [first, second].map((job_state) =>
          fakeJob({ job_id: 5, job_state, end_time: job_state === 'COMPLETED' ? 1_600_000_000 : 0 }),
        ),
      },
      () => true,
      NOW_MS,
    )?.jobs.map((job) => job.state);
  assert.deepEqual(twice('COMPLETED', 'RUNNING'), ['RUNNING']);
  assert.deepEqual(twice('RUNNING', 'COMPLETED'), ['RUNNING']);
  assert.deepEqual(twice('REVOKED', 'COMPLETED'), ['COMPLETED']);
});

test('the state is the same in every form: a text, a list in any order, with flags, by number', () => {
  const rows: [unknown, string][] = [
    ['REVOKED', 'REVOKED'],
    [['REVOKED'], 'REVOKED'],
    [['PENDING', 'REVOKED'], 'REVOKED'],
    [['REVOKED', 'PENDING'], 'REVOKED'],
    [['CANCELLED', 'REVOKED'], 'REVOKED'],
    // the cluster that ran it has told how it ended
    [['COMPLETED', 'REVOKED'], 'COMPLETED'],
    ['PENDING,REVOKED', 'REVOKED'],
    ['CANCELLED+', 'CANCELLED'],
    ['CANCELLED by 1000', 'CANCELLED'],
    [' completed ', 'COMPLETED'],
    [['COMPLETED', 'UPDATE_DB'], 'COMPLETED'],
    [['UPDATE_DB', 'COMPLETED'], 'COMPLETED'],
    [['COMPLETED', 'COMPLETING'], 'COMPLETING'],
    [['FAILED', 'LAUNCH_FAILED'], 'LAUNCH_FAILED'],
    [['PENDING', 'LAUNCH_FAILED', 'REQUEUED'], 'REQUEUED'],
    [['PENDING', 'PREEMPTED'], 'PENDING'],
    [['RUNNING', 'SIGNALING'], 'SIGNALING'],
    // flags that tell nothing of an end keep no job alive
    [['CANCELLED', 'STOPPED'], 'CANCELLED'],
    [['TIMEOUT', 'POWER_UP_NODE'], 'TIMEOUT'],
    [['TIMEOUT', 'STAGE_OUT'], 'STAGE_OUT'],
    [['SOME_NEW', 'RUNNING'], 'RUNNING'],
    [['SOME_NEW'], 'SOME_NEW'],
    [1024, '1024'],
    [[], 'UNKNOWN'],
    ['constructor', 'CONSTRUCTOR'],
  ];
  for (const [raw, state] of rows) assert.equal(decisiveState(stateNamesOf(raw) ?? []), state, JSON.stringify(raw));
  for (const none of [undefined, null, {}, true]) assert.equal(stateNamesOf(none), undefined);
  fc.assert(
    fc.property(fc.shuffledSubarray(Object.keys(STATE_TABLE), { minLength: 1 }), (names) => {
      assert.equal(decisiveState(names), decisiveState([...names].sort()));
    }),
  );
});

test('names from outside are looked up as data', () => {
  for (const name of ['constructor', 'toString', '__proto__', 'hasOwnProperty']) {
    assert.equal(phaseOf({ job_state: name }).phase, 'RUNNING');
    assert.equal(phaseOf({ job_state: 'FAILED', state_reason: name, exit_code: 256 }).error?.code, 'NonZeroExitCode');
    const job = { ...read({ exit_code: 256 }), state: name, reason: name };
    assert.equal(ruleFor(job, []).kind, 'running');
  }
});

test('a state that is not known is an end where the times of the record say so, and not before', () => {
  const now = NOW_MS / 1000;
  const phase = (fields: object) => phaseOf({ job_state: 'EXPIRED', ...fields } as Partial<FakeJob>);
  assert.equal(phase({ end_time: 0 }).phase, 'RUNNING');
  assert.equal(phase({ end_time: now + 60 }).phase, 'RUNNING');
  assert.equal(phase({ end_time: 0 }).remotePhase, 'EXPIRED');
  const plain = phase({ end_time: now - 1 });
  assert.deepEqual(
    [plain.phase, plain.error?.code, plain.error?.kind],
    ['RETRYABLE_FAILURE', 'UnknownState', 'SYSTEM'],
  );
  assert.match(plain.error?.message ?? '', /EXPIRED/);
  assert.equal(phase({ end_time: now - 1, exit_code: 256 }).error?.code, 'NonZeroExitCode');
  assert.equal(phase({ end_time: now - 1, exit_code: 127 << 8 }).phase, 'PERMANENT_FAILURE');
  assert.equal(phase({ end_time: now - 1, exit_code: 9 }).error?.code, 'KilledBySignal');
  // while a job runs its end is the planned one, and Slurm may let it overrun
  const planned = { start_time: now - 3_660, time_limit: 60, end_time: now - 60 };
  assert.equal(phase(planned).phase, 'RUNNING');
  assert.equal(phase({ ...planned, start_time: now - 3_000 }).phase, 'RETRYABLE_FAILURE', 'ended before its limit');
  assert.equal(phase({ start_time: now - 9_600, time_limit: 60, end_time: now - 6_000 }).phase, 'RETRYABLE_FAILURE');
  // a flag that is not known beside a base state that is says nothing
  assert.equal(phaseOf({ job_state: ['RUNNING', 'EXPIRED'] as never, end_time: now - 60 }).phase, 'RUNNING');
});

test("the array syntax is Slurm's", () => {
  assert.deepEqual(parseArray('0-3'), [0, 1, 2, 3]);
  assert.deepEqual(parseArray('1,3,5-11:2%4'), [1, 3, 5, 7, 9, 11]);
  assert.deepEqual(parseArray('7,7,7'), [7]);
  for (const bad of ['', '1-', '-1', '3-1', '1,,2', '1-5:0', '1%0', 'a', '1 2', '0-99999999', '1%', '1;rm']) {
    assert.equal(parseArray(bad), undefined, bad);
  }
});

test('formatting indexes and reading them again gives the same indexes', () => {
  fc.assert(
    fc.property(fc.uniqueArray(fc.nat(200), { minLength: 1 }), (list) => {
      const sorted = list.sort((a, b) => a - b);
      assert.deepEqual(parseArray(formatIndexes(sorted, 1000)), sorted);
    }),
  );
  assert.equal(formatIndexes([1, 3, 5, 7], 2), '1,3,…');
});
