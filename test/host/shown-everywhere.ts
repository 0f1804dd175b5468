import assert from 'node:assert/strict';
import type { Codec, Message } from '../../src/idl/codec.js';
import { loadFlyteidl2, loadPluginHost } from '../../src/idl/load.js';
import { decodeRpcStatus } from '../../src/idl/rpc-status.js';
import { lenField } from '../../src/idl/wire.js';
import { decodeHandle, encodeHandle, identityProblem, type TaskIdentity } from '../../src/model/handle.js';
import type { PhaseState } from '../../src/model/phase-state.js';
import { phaseState } from '../../src/model/phase-state.js';
import type { PluginFailure, PluginMethods } from '../../src/model/plugin-call.js';
import type { PluginReport } from '../../src/model/plugin-report.js';
import type { LogLine, MetricSeries } from '../../src/plugin-api/plugin.js';
import { type Dialect, flyte1, flyte2 } from '../../src/rpc/flyte/dialect.js';
import { encodeMetrics, logMessages } from '../../src/rpc/flyte/logs-metrics.js';
import { createMetadataService } from '../../src/rpc/flyte/metadata-service.js';
import { ResourceEncoder } from '../../src/rpc/flyte/resource.js';
import { encodeReports } from '../../src/rpc/native/plugin-reports.js';
import { StatusEncoder } from '../../src/rpc/native/status-bytes.js';
import { statusOf } from '../../src/rpc/status.js';
import { nextState } from '../../src/store/transition.js';
import { errorOf, failureState } from '../../src/tasks/failures.js';
import { taskRow } from '../../src/tasks/list/rows.js';
import { checkOutputs } from '../../src/tasks/read/outputs.js';
import { makeRecord } from '../rpc/fake-tasks.js';
import { DEFAULT_FIELD_LIMITS } from '../support/defaults.js';

/** Whatever shows something of a plugin to somebody, one after the other; each answer is read again as its reader does. */

const idl = loadPluginHost();
const struct = idl.codec('google.protobuf.Struct');
const DIALECTS = [flyte1(idl, struct), flyte2(loadFlyteidl2(), struct)];
const [ONE] = DIALECTS as [Dialect];
const MAX_INLINE = 4 * 1024 * 1024 - 64 * 1024;

export const IDENTITY: TaskIdentity = {
  plugin: 'demo',
  taskType: 'demo',
  taskTypeVersion: 1,
  key: 'abc123',
  incarnation: 1,
  project: 'p',
  domain: 'd',
  namespace: 'n',
  quotaNamespace: 'default',
  createdAtMs: 1_700_000_000_000,
  outputNames: undefined,
};

/** Of google.protobuf.Timestamp and Duration, which readers refuse beyond it. */
const MAX_SECONDS = 315_576_000_000;

function assertWellFormed(value: unknown): void {
  if (typeof value === 'string') assert.ok((value as string & { isWellFormed(): boolean }).isWellFormed());
  else if (typeof value === 'object' && value !== null && !Buffer.isBuffer(value)) {
    if ('nanos' in value && 'seconds' in value) assert.ok(Math.abs(Number(value.seconds)) <= MAX_SECONDS);
    for (const [key, item] of Object.entries(value)) {
      assertWellFormed(key);
      assertWellFormed(item);
    }
  }
}

/** Readable by every decoder, and read by ours. */
function read(codec: Codec, bytes: Buffer): Message {
  assert.equal(codec.wireProblem(bytes), undefined);
  const message = codec.decode(bytes);
  assertWellFormed(message);
  return message;
}

function assertJson(value: unknown): void {
  const text = JSON.stringify(value);
  assertWellFormed(JSON.parse(Buffer.from(text).toString('utf8')));
  assert.equal(Buffer.from(text).toString('utf8'), text);
}

/** The two states that the store may hold after a read: what was read, and what is held back to a higher phase. */
function stored(read: PhaseState): PhaseState[] {
  const checked = checkOutputs({ outputNames: undefined, outputPrefix: '' }, read, MAX_INLINE, () => undefined);
  if (checked.kind === 'write') return [{ ...checked.state, outputs: { kind: 'prefix' } }];
  return [phaseState('QUEUED'), phaseState('RUNNING')].map((before) => nextState(before, checked.state).state);
}

export function showState(
  read_: PhaseState,
  meta: Buffer = Buffer.from('{"job":1}'),
  lastFailure?: PluginFailure,
): void {
  for (const state of stored(read_)) {
    const task = makeRecord({ identity: IDENTITY, meta }, state);
    task.lastFailure = lastFailure;
    const native = new StatusEncoder(idl);
    const codec = idl.codec('pluginhost.v1.StatusResponse');
    for (const down of [false, true]) {
      const { status } = read(codec, native.response(task, down));
      assert.equal(status.phaseInfo.phase, state.phase);
      assert.equal((status.phaseInfo.outputValues ?? null) !== null, state.outputs.kind === 'inline');
    }
    const change = { handle: task.answeredHandle, plugin: 'demo', taskType: 'demo', deleted: false };
    const watch = idl.codec('pluginhost.v1.WatchResponse');
    const status = native.taskStatus(task, false);
    read(watch, watch.encode({ resumeToken: 't', change: { ...change, status } }));
    for (const dialect of DIALECTS) {
      const bytes = new ResourceEncoder(dialect).getTask(task);
      const { resource } = read(dialect.codec('GetTaskResponse'), bytes);
      assert.equal((resource.outputs ?? null) !== null, state.outputs.kind === 'inline');
    }
    const sync = lenField(1, lenField(1, new ResourceEncoder(ONE).resource(state)));
    read(ONE.codec('ExecuteTaskSyncResponse'), sync);
    assertJson(taskRow(task, undefined));
  }
}

/** As an error of a call, as the last failure of a task, and as the end of one. */
export function showFailure(failure: PluginFailure): void {
  const { details, metadata } = statusOf(errorOf(failure, 'demo', 'reading', 'get'));
  assertWellFormed(details);
  const [bin] = metadata.get('grpc-status-details-bin');
  assertWellFormed(decodeRpcStatus(bin as Buffer));
  showState(phaseState('RUNNING'), undefined, failure);
  showState(failureState('PERMANENT_FAILURE', failure.code, failure.message, failure.faultKind));
}

export function showMeta(meta: Buffer | undefined): void {
  const handle = encodeHandle({ identity: IDENTITY, meta });
  const back = decodeHandle(handle);
  assert.deepEqual({ identity: back.identity, meta: back.meta }, { identity: IDENTITY, meta });
  assert.ok(handle.length <= DEFAULT_FIELD_LIMITS.handleBytes);
}

export function showCreate({ meta, state }: PluginMethods['create']['answer']): void {
  showMeta(meta);
  if (state !== undefined) showState(state, meta);
}

export function showLogs(page: { readonly lines: readonly LogLine[]; readonly token: string }): void {
  for (const dialect of DIALECTS) {
    const codec = dialect.codec('GetTaskLogsResponse');
    const [head, ...bodies] = [...logMessages(dialect, page)].map((bytes) => read(codec, bytes));
    assert.equal(head!.header.token, page.token);
    assert.equal(bodies.flatMap(({ body }) => body.results).length, page.lines.length);
    const request = dialect.codec('GetTaskLogsRequest').encode({ token: page.token });
    assert.ok(request.length <= DEFAULT_FIELD_LIMITS.nameBytes + 8);
  }
}

export function showMetrics(series: readonly MetricSeries[]): void {
  for (const dialect of DIALECTS) {
    const { results } = read(dialect.codec('GetTaskMetricsResponse'), encodeMetrics(dialect, series));
    assert.equal(results.length, series.length);
  }
}

export function report(parts: Partial<PluginReport>): PluginReport {
  return {
    id: 'demo',
    version: '',
    kind: 'async',
    taskTypes: [],
    isDefault: false,
    state: 'SERVING',
    stateReason: '',
    stateCode: '',
    source: './demo.js',
    config: undefined,
    quotas: [],
    liveTasks: 0,
    waitingTasks: 0,
    pid: 1,
    restarts: 0,
    rssBytes: 0,
    environment: [],
    ...parts,
  };
}

/** In every listing, with nothing of it left out. */
export async function showReport(shown: PluginReport): Promise<void> {
  const codec = idl.codec('pluginhost.v1.ListPluginsResponse');
  const { plugins } = read(codec, encodeReports(codec, [shown]));
  assert.equal(plugins.length, 1);
  assert.equal(plugins[0].stateReason, shown.stateReason);
  assert.equal(plugins[0].taskTypes.length, shown.taskTypes.length);
  for (const dialect of DIALECTS) {
    const word = dialect.version === 1 ? 'ListAgents' : 'ListConnectors';
    const module = createMetadataService({ listPlugins: () => [shown] }, dialect, DEFAULT_FIELD_LIMITS);
    const handler = module.handlers[word] as unknown as { handle(request: Buffer): Buffer };
    read(dialect.codec(`${word}Response`), handler.handle(Buffer.alloc(0)));
  }
  assertJson(shown);
}

/** A task of it has a handle that is read again. */
export function showIdentity(parts: Partial<TaskIdentity>): void {
  // JSON knows one zero.
  const identity = { ...IDENTITY, ...parts, taskTypeVersion: (parts.taskTypeVersion ?? 1) + 0 };
  assert.equal(identityProblem(identity), undefined);
  assert.deepEqual(decodeHandle(encodeHandle({ identity, meta: undefined })).identity, identity);
}
