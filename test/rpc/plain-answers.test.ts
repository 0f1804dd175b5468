import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { loadFlyteidl2, loadPluginHost } from '../../src/idl/load.js';
import { msToTimestamp } from '../../src/idl/well-known.js';
import { lenField } from '../../src/idl/wire.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { TaskRecord } from '../../src/model/task-record.js';
import { PHASES } from '../../src/plugin-api/phase.js';
import { flyte1, flyte2 } from '../../src/rpc/flyte/dialect.js';
import { ResourceEncoder } from '../../src/rpc/flyte/resource.js';
import { StatusEncoder } from '../../src/rpc/native/status-bytes.js';
import { idl } from './support.js';

const flyteidl = loadPluginHost();
const flyteidl2 = loadFlyteidl2();
const struct = flyteidl.codec('google.protobuf.Struct');
const resources = [new ResourceEncoder(flyte1(flyteidl, struct)), new ResourceEncoder(flyte2(flyteidl2, struct))];
const native = new StatusEncoder(idl);
const taskStatus = idl.codec('pluginhost.v1.TaskStatus');

const text = fc.oneof(fc.constantFrom('', 'x'.repeat(9_000)), fc.string({ unit: 'binary', maxLength: 200 }));
const uint32 = fc.oneof(fc.constantFrom(0, 127, 128, 0xffff_ffff), fc.nat());
const plain = fc.record({
  phase: fc.constantFrom(...PHASES.filter((phase) => phase !== 'UNDEFINED')),
  reason: text,
  remotePhase: text,
  phaseVersion: uint32,
  observedAtMs: fc.option(fc.oneof(fc.constantFrom(0, 1, -1, 999.5, 1_700_000_000_123), fc.nat()), { nil: undefined }),
  consecutiveFailures: uint32,
  lastFailure: fc.option(fc.record({ message: text, code: text }), { nil: undefined }),
});

/** Of a state that says no more than phase, reason and the remote's own word. */
function recordOf(fields: typeof plain extends fc.Arbitrary<infer T> ? T : never): TaskRecord {
  const { phase, reason, remotePhase, ...rest } = fields;
  return { ...rest, state: phaseState(phase, { reason, remotePhase }), revision: 0 } as TaskRecord;
}

test('what is written by hand of a plain state are the bytes that its codec makes', () => {
  fc.assert(
    fc.property(plain, fc.boolean(), (fields, remoteDown) => {
      const task = recordOf(fields);
      for (const encoder of resources)
        assert.deepEqual(encoder.getTask(task), lenField(1, encoder.resource(task.state)));
      const status = taskStatus.encode({
        phaseInfo: native.phaseInfo(task.state, task.phaseVersion),
        observedAt: task.observedAtMs === undefined ? undefined : msToTimestamp(task.observedAtMs),
        consecutiveFailures: task.consecutiveFailures,
        lastError: task.lastFailure?.message ?? '',
        lastErrorCode: task.lastFailure?.code ?? '',
        remoteDown,
      });
      assert.deepEqual(native.taskStatus(task, remoteDown), status);
      assert.deepEqual(native.taskStatus(task, remoteDown, 2), lenField(2, status));
      assert.deepEqual(native.response(task, remoteDown), lenField(1, status));
    }),
    { numRuns: 500 },
  );
});

test('what no codec would encode of a plain state is refused as well', () => {
  const good = { phase: 'RUNNING', reason: '', remotePhase: '', phaseVersion: 1, consecutiveFailures: 0 } as const;
  const of = (wrong: object) => recordOf({ ...good, observedAtMs: undefined, lastFailure: undefined, ...wrong });
  const half = 'half \ud83d';
  const wrongs = [
    { phase: 'UNDEFINED' },
    { phase: 'LIVE' },
    { reason: half },
    { remotePhase: half },
    { phaseVersion: -1 },
    { phaseVersion: 0.5 },
    { phaseVersion: 2 ** 32 },
    { observedAtMs: Number.NaN },
    { observedAtMs: Number.POSITIVE_INFINITY },
    { consecutiveFailures: 2 ** 32 },
    { lastFailure: { message: half, code: '' } },
    { lastFailure: { message: '', code: half } },
  ];
  for (const wrong of wrongs) {
    const task = of(wrong);
    assert.throws(() => native.response(task, false), { code: 'ENCODE_INVALID' }, JSON.stringify(wrong));
    assert.throws(() => native.taskStatus(task, true), { code: 'ENCODE_INVALID' }, JSON.stringify(wrong));
  }
  for (const encoder of resources) {
    assert.throws(() => encoder.getTask(of({ reason: half })), { code: 'ENCODE_INVALID' });
    assert.throws(() => encoder.getTask(of({ phase: 'UNDEFINED' })), { code: 'ENCODE_INVALID' });
  }
  assert.ok(native.response(of({}), false).length > 0);
});
