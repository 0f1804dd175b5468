import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { PluginOutcome } from '../../src/model/plugin-call.js';
import { pluginFailure } from '../../src/model/plugin-failure.js';
import { leaseOf } from '../../src/plugin-api/call-lease.js';
import { PermanentError } from '../../src/plugin-api/errors.js';
import { callSdk } from '../../src/plugin-api/http/sdk.js';
import { LeasedCall, ToldLease } from '../../src/sandbox/lease.js';

const FAILED: PluginOutcome<unknown> = { ok: false, failure: pluginFailure('permanent', 'Broken', 'it broke') };

function makeCall() {
  const clock = { ms: 1_000 };
  const lease = new ToldLease(() => clock.ms);
  lease.told(2_000);
  const controller = new AbortController();
  const call = new LeasedCall(lease, controller);
  const { signal } = controller;
  const told = () => {
    const outcome = call.outcome(FAILED);
    return outcome.ok
      ? 'ok'
      : `${outcome.failure.kind} ${outcome.failure.code}${outcome.failure.notCreated ? ' not created' : ''}`;
  };
  return { clock, lease, controller, call, signal, told };
}

test('nothing may be sent from the end of the lease on, and a failure of a call that sent nothing says so', () => {
  const { clock, call, signal, told } = makeCall();
  clock.ms = 2_000;
  assert.equal(call.maySend(), false);
  assert.equal(told(), 'cancelled LEASE_LAPSED not created');
  assert.throws(() => signal.throwIfAborted(), { kind: 'transient', code: 'LEASE_LAPSED' });
});

test('a call that was refused after something was let through is told apart, since what became of that is not known', () => {
  const { clock, call, told } = makeCall();
  clock.ms = 1_999;
  assert.equal(call.maySend(), true);
  clock.ms = 2_000;
  assert.equal(call.maySend(), false);
  assert.equal(told(), 'cancelled LEASE_LAPSED');
});

test('a failure of the remote stays what it was where the lease refused nothing', () => {
  const { clock, call } = makeCall();
  assert.equal(call.maySend(), true);
  clock.ms = 5_000;
  assert.equal(call.outcome(FAILED), FAILED);
});

test('a renewal lets a call that runs for longer than a lease go on, and one that is told late takes nothing back', () => {
  const { clock, lease, call } = makeCall();
  lease.told(9_000);
  lease.told(3_000);
  clock.ms = 8_999;
  assert.equal(call.maySend(), true);
  clock.ms = 9_000;
  assert.equal(call.maySend(), false);
  lease.told(99_000);
  assert.equal(call.maySend(), false, 'its signal is aborted for good');
});

test('who reads of its signal whether it is aborted asks the lease, as fetch does, and has it aborted', async () => {
  const { clock, signal, told } = makeCall();
  assert.equal(signal.aborted, false);
  let heard = 0;
  signal.addEventListener('abort', () => heard++);
  clock.ms = 2_000;
  // Nothing listens there: a request that left would end otherwise.
  await assert.rejects(fetch('http://127.0.0.1:9', { signal }), { code: 'LEASE_LAPSED' });
  assert.equal(heard, 1);
  assert.equal(told(), 'cancelled LEASE_LAPSED', 'what was sent after the first reading is not known');
});

test('a signal that is made of the call’s is aborted with it, and to make and to read it is no send', () => {
  const { clock, call, signal, told } = makeCall();
  const joined = leaseOf(signal)?.with(AbortSignal.timeout(60_000));
  assert.equal(joined?.aborted, false);
  clock.ms = 2_000;
  assert.equal(call.maySend(), false);
  assert.equal(joined?.aborted, true);
  assert.equal(told(), 'cancelled LEASE_LAPSED not created');
});

test('of a batch whose send was refused the items that failed say so, and those that are known stay', () => {
  const { clock, call } = makeCall();
  clock.ms = 2_000;
  call.maySend();
  const outcome = call.outcome({ ok: true, value: [{ ok: true, value: 7 }, FAILED] });
  assert.ok(outcome.ok);
  const [known, failed] = outcome.value as PluginOutcome<unknown>[];
  assert.deepEqual(known, { ok: true, value: 7 });
  assert.equal(failed?.ok === false && failed.failure.code, 'LEASE_LAPSED');
});

test('a call that was given up is no refusal of the lease', () => {
  const { controller, call } = makeCall();
  controller.abort();
  assert.equal(call.maySend(), false);
  assert.equal(call.outcome(FAILED), FAILED);
});

test('a call of an SDK is not begun past the lease, and is where there is none', async () => {
  const { clock, signal } = makeCall();
  const runs: string[] = [];
  const run = (name: string) => callSdk({ signal }, async () => void runs.push(name));
  await run('in time');
  clock.ms = 2_000;
  await assert.rejects(run('late'), { code: 'LEASE_LAPSED' });
  await callSdk({ signal: new AbortController().signal }, async () => void runs.push('alone'));
  await assert.rejects(
    callSdk({}, () => Promise.reject(new PermanentError('no'))),
    { kind: 'permanent' },
  );
  assert.deepEqual(runs, ['in time', 'alone']);
});
