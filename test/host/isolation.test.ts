import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { systemClock } from '../../src/lib/clock.js';
import type { FailureKind } from '../../src/model/plugin-call.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { act, isAlive, resourceArgs, startHost, untilState } from './support.js';

/** A test that hangs fails. */
const BOUND = { timeout: 60_000 };

/** Action of the unruly plugin -> how its call ends, and why its process does. */
const DEADLY: Record<string, { kind: FailureKind; why: RegExp; leftMs?: number }> = {
  spin: { kind: 'deadline', why: /event loop has not turned/, leftMs: 500 },
  rejectUnhandled: { kind: 'process_died', why: /exit code 1 .*nobody catches this/ },
  throwLater: { kind: 'process_died', why: /exit code 1 .*thrown from a timer/ },
  exit: { kind: 'process_died', why: /exit code 0/ },
  killSelf: { kind: 'process_died', why: /signal SIGKILL/ },
  garbage: { kind: 'process_died', why: /broke the channel/ },
  forged: { kind: 'process_died', why: /broke the channel: a message "log" has fields of the wrong type/ },
  hugeFrame: { kind: 'process_died', why: /broke the channel: .*above the bound/ },
  heapLoop: { kind: 'process_died', why: /SIGABRT|SIGKILL|SIGTRAP|memory/ },
  heapParse: { kind: 'process_died', why: /SIGABRT|SIGKILL|SIGTRAP|memory/ },
  heapFill: { kind: 'process_died', why: /SIGABRT|SIGKILL|SIGTRAP|memory/ },
  buffers: { kind: 'process_died', why: /was killed: .*memory.* 160 MiB are allowed/ },
};

for (const [action, expected] of Object.entries(DEADLY)) {
  test(`a plugin that does "${action}" costs only its own calls and is started again`, BOUND, async (t) => {
    const { plugin, changes, pids } = await startHost(t, [
      { source: './unruly.mjs', memoryLimit: '160MiB' },
      { source: './steady.mjs' },
    ]);
    const unruly = plugin('unruly');
    const steady = plugin('steady');
    const steadyPid = steady.pid;
    const firstPid = unruly.pid;
    const restarting = untilState(unruly, 'restarting');

    const bystander = act(unruly, 'never');
    const culprit = act(unruly, action, expected.leftMs);
    const others = Array.from({ length: 20 }, () =>
      steady.call('get', resourceArgs({ job: 'a' }), { deadlineMs: undefined }),
    );
    for (const outcome of await Promise.all(others)) assert.equal(outcome.ok, true);

    const outcome = await culprit;
    assert.equal(outcome.ok, false);
    assert.equal(outcome.failure.kind, expected.kind);
    await restarting;
    const innocent = await bystander;
    assert.equal(!innocent.ok && innocent.failure.code, 'PLUGIN_PROCESS_DIED');
    assert.match(changes.find((change) => change.state === 'restarting')!.reason, expected.why);

    await untilState(unruly, 'serving');
    assert.equal((await act(unruly, 'fine')).ok, true);
    assert.notEqual(unruly.pid, firstPid);
    assert.equal(unruly.restarts, 1);
    assert.equal(steady.pid, steadyPid, 'the other plugin keeps its process');
    assert.equal(steady.restarts, 0);
    assert.equal(isAlive([...pids][0]!), [...pids][0] === steadyPid, 'the old process is gone');
  });
}

/** On a busy machine a loop may stand still for longer than tests of that allow. */
const PATIENT = { hangMs: 60_000 };

test('a plugin that never answers loses that call at its deadline and keeps its process', BOUND, async (t) => {
  const { plugin } = await startHost(t, [{ source: './unruly.mjs' }], { limits: PATIENT });
  const unruly = plugin('unruly');
  const { pid } = unruly;
  const outcome = await act(unruly, 'never', 50);
  assert.equal(!outcome.ok && outcome.failure.kind, 'deadline');
  assert.equal(!outcome.ok && outcome.failure.code, 'PLUGIN_DEADLINE');
  assert.equal((await act(unruly, 'fine')).ok, true);
  assert.equal(unruly.pid, pid);
  assert.equal(unruly.inFlight, 0);
});

test('a plugin with too many calls that ignore their deadline gets a new process', BOUND, async (t) => {
  const limits = { ...PATIENT, maxAbandonedCalls: 5 };
  const { plugin } = await startHost(t, [{ source: './unruly.mjs' }], { limits });
  const unruly = plugin('unruly');
  const restarting = untilState(unruly, 'restarting');
  const outcomes = await Promise.all(Array.from({ length: 6 }, () => act(unruly, 'never', 20)));
  assert.ok(outcomes.every((outcome) => !outcome.ok && outcome.failure.kind === 'deadline'));
  await restarting;
  assert.match(unruly.stateReason, /6 calls go on after their deadline, 5 are allowed/);
});

test(
  'a plugin that allocates buffers in the background is found by its memory, with no call in flight',
  BOUND,
  async (t) => {
    const { plugin } = await startHost(t, [{ source: './unruly.mjs', memoryLimit: '160MiB' }]);
    const unruly = plugin('unruly');
    const restarting = untilState(unruly, 'restarting');
    assert.equal((await act(unruly, 'buffersSlowly')).ok, true);
    await restarting;
    assert.match(unruly.stateReason, /memory/);
  },
);

test('log lines are limited a second, and what was dropped is said', BOUND, async (t) => {
  const { plugin, logs, logged } = await startHost(t, [{ source: './unruly.mjs' }], {
    limits: { logLinesPerSecond: 10 },
  });
  const unruly = plugin('unruly');
  assert.equal((await act(unruly, 'floodLogs')).ok, true);
  const lines = logs.filter((event) => event.source === 'plugin').length;
  assert.ok(lines <= 2_000, `${lines} lines arrived of 200,000`);
  await act(unruly, 'floodLogs');
  const dropped = await logged((event) => event.message === 'log lines were dropped');
  assert.ok((dropped.fields.dropped as number) > 1_000);
});

test(
  "lines that go past the logger are limited in the daemon, which does not believe a plugin's process",
  BOUND,
  async (t) => {
    const { plugin, logs, logged } = await startHost(t, [{ source: './unruly.mjs' }], {
      limits: { logLinesPerSecond: 10 },
    });
    const unruly = plugin('unruly');
    const { pid } = unruly;
    assert.equal((await act(unruly, 'floodChannel')).ok, true);
    const dropped = await logged((event) => event.message === 'lines of its channel were left out');
    assert.ok((dropped.fields.lines as number) > 1_000);
    const lines = logs.filter((event) => event.message === 'forged').length;
    assert.ok(lines > 0 && lines <= 2_000, `${lines} of 20,000 lines arrived`);
    assert.equal(unruly.pid, pid);
  },
);

test('printed lines are limited too, and a process that prints too much only slows itself', BOUND, async (t) => {
  const { plugin, logs, logged } = await startHost(t, [{ source: './unruly.mjs' }, { source: './steady.mjs' }], {
    limits: { logLinesPerSecond: 10 },
  });
  const flood = act(plugin('unruly'), 'floodStdout');
  assert.equal((await plugin('steady').call('get', resourceArgs({ job: 'a' }), { deadlineMs: undefined })).ok, true);
  assert.equal((await flood).ok, true);
  await logged((event) => event.message === 'lines of stdout were left out');
  const lines = logs.filter((event) => event.source === 'stdout').length;
  assert.ok(lines > 0 && lines <= 1_000, `${lines} of 10,000 lines arrived`);
});

test('an answer above the bound fails its call alone', BOUND, async (t) => {
  const { plugin } = await startHost(t, [{ source: './unruly.mjs' }], { limits: { maxAnswerBytes: 256 * 1024 } });
  const unruly = plugin('unruly');
  const { pid } = unruly;
  for (const action of ['hugeAnswer', 'hugeOutputs']) {
    const outcome = await act(unruly, action);
    assert.equal(!outcome.ok && outcome.failure.kind, 'invalid', action);
    assert.match(outcome.ok ? '' : outcome.failure.message, /above the bound of 262144/);
  }
  assert.equal((await act(unruly, 'fine')).ok, true);
  assert.equal(unruly.pid, pid);
});

test('a call that is given up settles at once and aborts the signal in the plugin', BOUND, async (t) => {
  const { plugin } = await startHost(t, [{ source: './unruly.mjs' }], { limits: { maxAbandonedCalls: 0 } });
  const unruly = plugin('unruly');
  const controller = new AbortController();
  const call = unruly.call('get', resourceArgs({ do: 'obey' }), { deadlineMs: undefined, signal: controller.signal });
  controller.abort();
  const outcome = await call;
  assert.equal(!outcome.ok && outcome.failure.kind, 'cancelled');
  // With no abandoned call allowed, the process lives only if the plugin's code ended with its signal.
  assert.equal((await act(unruly, 'fine')).ok, true);
  assert.equal(unruly.restarts, 0);
});

test(
  'a plugin that crashes again and again is quarantined, its calls are refused at once, and it is tried again',
  BOUND,
  async (t) => {
    const { plugin } = await startHost(t, [{ source: './unruly.mjs' }], {
      limits: { maxCrashes: 3, quarantineMs: 400 },
    });
    const unruly = plugin('unruly');
    for (let crash = 1; crash <= 3; crash++) {
      await untilState(unruly, 'serving');
      const gone = untilState(unruly, crash === 3 ? 'quarantined' : 'restarting');
      await act(unruly, 'exit');
      await gone;
      const refused = await act(unruly, 'fine');
      const code = crash === 3 ? 'PLUGIN_QUARANTINED' : 'PLUGIN_NOT_SERVING';
      assert.equal(!refused.ok && refused.failure.code, code);
      assert.equal(!refused.ok && refused.failure.kind, 'process_died');
    }
    assert.match(unruly.stateReason, /crashed 3 times in 300 s; the last time it ended with exit code 0/);
    await untilState(unruly, 'serving');
    assert.equal((await act(unruly, 'fine')).ok, true);
  },
);

test('a stopped host leaves no process behind, also of a plugin that spins', BOUND, async (t) => {
  const { host, plugin, pids } = await startHost(t, [{ source: './unruly.mjs' }, { source: './steady.mjs' }], {
    limits: { hangMs: 60_000, silentMs: 600_000, stopStepMs: 100 },
  });
  void act(plugin('unruly'), 'spin', 50);
  await act(plugin('unruly'), 'fine', 100);
  await host.stop(0);
  assert.equal(pids.size, 2);
  for (const pid of pids) assert.equal(isAlive(pid), false);
  assert.deepEqual(
    host.plugins().map(({ state }) => state),
    ['stopped', 'stopped'],
  );
  const refused = await act(plugin('unruly'), 'fine');
  assert.equal(!refused.ok && refused.failure.code, 'PLUGIN_NOT_SERVING');
  await host.stop(0);
});

test('a call that expired before its process came to it is given up as soon as it begins', BOUND, async (t) => {
  const folder = tempFolder(t);
  const mark = (name: string) => path.join(folder, name);
  writeTree(folder, {
    'busy.mjs': `
      import { existsSync, writeFileSync } from 'node:fs';
      import { phases } from 'webapi-plugin-host';
      export default { id: 'busy', apiVersion: 1, taskTypes: ['x'], load: () => ({
        async create() {}, async delete() {},
        async get(ctx) {
          if (ctx.resourceMeta === 'block') {
            writeFileSync(${JSON.stringify(mark('blocks'))}, '');
            while (!existsSync(${JSON.stringify(mark('go'))}));
          } else {
            // Frames are taken in portions of time, so that the cancel may come some turns after the call itself.
            for (let turn = 0; turn < 100 && !ctx.signal.aborted; turn++) await new Promise(setImmediate);
            ctx.logger.info(ctx.signal.aborted ? 'given up' : 'went on');
          }
          return phases.running();
        } }) }`,
  });
  const { plugin, logged } = await startHost(t, [{ source: mark('busy.mjs') }], { limits: { hangMs: 600_000 } });
  const get = (meta: string, leftMs: number) =>
    plugin('busy').call('get', resourceArgs(meta), { deadlineMs: systemClock.now() + leftMs });
  const blocking = get('block', 600_000);
  while (!existsSync(mark('blocks'))) await new Promise((resolve) => setTimeout(resolve, 10));
  const late = await get('late', 2_000);
  assert.equal(!late.ok && late.failure.kind, 'deadline');
  // The cancel leaves with the turn of the event loop in which the call expired.
  await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  writeTree(folder, { go: '' });
  assert.equal((await blocking).ok, true);
  const line = await logged(({ message }) => message === 'given up' || message === 'went on');
  assert.equal(line.message, 'given up');
});
