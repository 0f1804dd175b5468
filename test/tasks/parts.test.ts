import assert from 'node:assert/strict';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import { ManualClock } from '../../src/lib/clock.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { encodeHandle } from '../../src/model/handle.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { PluginFailure, PluginMethod } from '../../src/model/plugin-call.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import type { PluginRuntime } from '../../src/runtime/runtime.js';
import type { TasksDeps } from '../../src/tasks/deps.js';
import { errorOf } from '../../src/tasks/failures.js';
import { isStale } from '../../src/tasks/read/fresh.js';
import { HandleTrust } from '../../src/tasks/read/handle-trust.js';
import { takeOverTwin } from '../../src/tasks/read/twins.js';
import { assertSafe, toldBefore } from '../../src/tasks/safe.js';
import { Sweep } from '../../src/tasks/sweep.js';
import { adoptedTask, insertTask, storeOf } from '../store/make-store.js';
import { identityOf } from '../support/identity.js';
import { fail } from './harness.js';

/** Small parts of the use cases by themselves. */

const KEY = '0123456789abcdef0123456789abcdef';

/** A store, and the tasks whose jobs are said to be known. */
function twins() {
  const { store } = storeOf();
  const jobs: string[][] = [];
  const runtime = { quotas: { identify: (...what: string[]) => void jobs.push(what) } } as unknown as PluginRuntime;
  const identity = identityOf(KEY);
  const handleOf = (meta: string) => encodeHandle({ identity, meta: Buffer.from(meta) });
  const adopt = (answeredHandle: Buffer) => adoptedTask(store, KEY, { identity, answeredHandle });
  const take = (task: TaskRecord) => takeOverTwin({ store } as unknown as TasksDeps, runtime, task);
  return { store, jobs, identity, handleOf, adopt, take };
}

test('a create that came to know its job takes over from the record of a handle that names it, and passes by all others', () => {
  const { store, jobs, identity, handleOf, adopt, take } = twins();
  const foreign = adopt(Buffer.from('bytes of another service'));
  const other = adopt(handleOf('{"job":2}'));
  const twin = adopt(handleOf('{"job":1}'));
  const task = insertTask(store, KEY, { identity });
  assert.deepEqual([take(task), jobs], [false, []], 'it has no job yet');
  store.setCreated(task, Buffer.from('{"job":1}'));
  assert.equal(take(task), true);
  assert.deepEqual(jobs, [[task.id]]);
  assert.deepEqual(
    [foreign, other, twin].map((one) => store.holds(one)),
    [true, true, false],
  );
  assert.deepEqual(task.answeredHandle, handleOf('{"job":1}'));
});

test('where no handle names its job a create goes on by itself, and says of its token what it stands for', () => {
  const { store, jobs, identity, adopt, take, handleOf } = twins();
  adopt(handleOf('{"job":2}'));
  const task = insertTask(store, KEY, { identity });
  store.setCreated(task, Buffer.from('{"job":1}'));
  assert.deepEqual([take(task), jobs.length, store.unfinished], [false, 1, 2]);
});

test('once a minute the store and the results of do let go of what is old, until the stop', async () => {
  const clock = new ManualClock();
  const dropped: string[] = [];
  const dropping = (name: string) => ({ dropOld: () => void dropped.push(name) });
  const parts = { clock, store: dropping('store'), replays: dropping('replays') } as unknown as TasksDeps;
  const sweep = new Sweep(parts);
  await clock.advance(59_999);
  assert.deepEqual(dropped, []);
  await clock.advance(60_001);
  assert.deepEqual(dropped, ['store', 'replays', 'store', 'replays']);
  for (let i = 0; i < 2; i++) sweep.stop();
  assert.equal(clock.pending, 0);
});

/** A caller with so many milliseconds left. */
function caller(clock: ManualClock, ms: number) {
  const gone = new AbortController();
  return { gone, scope: { arrivedMs: clock.now(), deadlineMs: clock.now() + ms, signal: gone.signal } };
}

test('who waits until something is safe is told why it is not in time: as the state says, else that it is slow', async () => {
  const clock = new ManualClock();
  const trouble = { code: 'STATE_DISK_FULL', message: 'full' } as const;
  for (const [known, code] of [
    [trouble, 'STATE_DISK_FULL'],
    [undefined, 'STATE_SLOW'],
    [{ code: 'STATE_LOCKED', message: 'another one has it' }, 'OWNER_AWAY'],
  ] as const) {
    const deps = { clock, store: { durable: true, trouble: known }, options: { answerMarginMs: 250 } } as never;
    const startMs = clock.now();
    const { scope } = caller(clock, 1_000);
    const waits = assert.rejects(
      assertSafe(deps, new Promise(() => {}), scope, 'the task').finally(() =>
        assert.equal(clock.now() - startMs, 750),
      ),
      (error) => HostError.is(error) && error.code === code && error.retryAfterMs === 5_000,
    );
    await clock.advance(1_000);
    await waits;
    assert.equal(clock.pending, 0);
  }
});

test('who gave up, or has no time left, is told so at once; what is safe or fails is waited for', async () => {
  const clock = new ManualClock();
  const deps = { clock, store: { durable: true }, options: { answerMarginMs: 250 } } as never;
  const { gone, scope } = caller(clock, 9_000);
  gone.abort();
  await assert.rejects(
    assertSafe(deps, new Promise(() => {}), scope, 'x'),
    (error) => HostError.is(error) && error.code === 'CALL_CANCELLED',
  );
  await assertSafe(deps, Promise.resolve(), caller(clock, 9_000).scope, 'x');
  await assert.rejects(assertSafe(deps, Promise.reject(new Error('disk')), caller(clock, 9_000).scope, 'x'), /disk/);
  const late = assert.rejects(assertSafe(deps, new Promise(() => {}), caller(clock, -5).scope, 'x'));
  await clock.advance(0);
  await late;
});

test('a task is told once what is known of it may be, or when its caller has no more time; without a state at once', async () => {
  const clock = new ManualClock();
  const task = {} as TaskRecord;
  const shown = createDeferred<void>();
  const told = (durable: boolean, ms: number) => {
    const store = { durable, shown: () => shown.promise };
    const startMs = clock.now();
    const deps = { clock, store, options: { answerMarginMs: 250 } } as unknown as TasksDeps;
    return toldBefore(deps, task, caller(clock, ms).scope).then((one) => {
      assert.equal(one, task);
      return clock.now() - startMs;
    });
  };
  const [late, none, soon] = [told(true, 1_000), told(false, 1_000), told(true, 9_000)];
  await clock.advance(2_000);
  shown.resolve();
  await clock.advance(0);
  assert.deepEqual(await Promise.all([late, none, soon]), [750, 0, 2_000]);
});

test('a task that was never read is as old as its job', () => {
  const { clock, store } = storeOf();
  const task = insertTask(store, 'a');
  store.setCreated(task, Buffer.from('{}'));
  const stale = (down: boolean, maxMs: number | undefined) => {
    const runtimes = { get: () => ({ refresher: { remoteDown: down } }) };
    const later = { now: () => clock.now() + 5_000 };
    return isStale({ clock: later, runtimes } as unknown as TasksDeps, task, maxMs);
  };
  assert.deepEqual(
    [stale(false, 4_999), stale(false, 5_000), stale(false, 0), stale(false, undefined)],
    [true, false, false, false],
  );
  assert.equal(stale(true, 1), false);
  store.observed(task, phaseState('SUCCESS'));
  assert.equal(stale(false, 1), false);
});

test('handles that no key has signed are taken up within the grace from the birth of the state, altered ones never, each is told', async () => {
  const clock = new ManualClock();
  const told: unknown[][] = [];
  const trust = new HandleTrust({
    clock,
    graceMs: 10_000,
    events: { handleUnverified: (...what: unknown[]) => void told.push(what) },
  });
  const takes = (signature: string) => {
    trust.use({ check: () => signature } as never);
    try {
      trust.check(Buffer.alloc(0), {} as never);
      return 'taken';
    } catch (error) {
      return HostError.is(error) ? error.code : String(error);
    }
  };
  trust.check(Buffer.alloc(0), {} as never);
  trust.use({} as never, 4_000);
  assert.deepEqual(['right', 'none', 'foreign', 'wrong'].map(takes), ['taken', 'taken', 'taken', 'HANDLE_MALFORMED']);
  assert.deepEqual(told.splice(0), [
    ['none', true],
    ['foreign', true],
    ['wrong', false],
  ]);
  await clock.advance(5_999);
  assert.equal(takes('none'), 'taken');
  await clock.advance(1);
  assert.deepEqual(['right', 'none', 'foreign'].map(takes), ['taken', 'HANDLE_UNSIGNED', 'HANDLE_FOREIGN']);
  assert.deepEqual(told.at(-1), ['foreign', false]);
});

test('a failure whose code is the plugin\u2019s own is an error of its kind where the table has none, and of the table where it has', () => {
  const codeOf = (kind: 'permanent' | 'transient' | 'invalid', method: PluginMethod, code = 'OWN') => {
    const { failure } = fail(kind, { code, retryAfterMs: 7 }) as { readonly failure: PluginFailure };
    const error = errorOf(failure, 'demo', 'reading', method);
    assert.deepEqual([error.details, error.retryAfterMs], [{ plugin: 'demo', plugin_code: code }, 7]);
    return error.code;
  };
  assert.equal(codeOf('permanent', 'get'), 'PLUGIN_THREW_PERMANENT');
  assert.equal(codeOf('transient', 'delete'), 'PLUGIN_THREW_TRANSIENT');
  assert.equal(codeOf('invalid', 'getLogs'), 'PLUGIN_ANSWER_INVALID');
  assert.equal(codeOf('transient', 'get', 'RATE_LIMIT_THROTTLED'), 'RATE_LIMIT_THROTTLED');
});
