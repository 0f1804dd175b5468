import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { HostError } from '../../src/errors/index.js';
import {
  FLYTE1_SERVICES,
  FLYTE2_SERVICES,
  loadDescriptorSet,
  loadFlyteidl,
  loadFlyteidl2,
  loadFlyteidlCore,
  loadProtoFiles,
} from '../../src/idl/load.js';

const unknown = (error: unknown) => HostError.is(error) && error.code === 'DESCRIPTOR_UNKNOWN';

test('flyteidl has the services and streams that Flyte 1 calls', () => {
  const idl = loadFlyteidl();
  const agent = idl.rawService(FLYTE1_SERVICES.asyncAgent);
  assert.deepEqual(Object.keys(agent), ['CreateTask', 'GetTask', 'DeleteTask', 'GetTaskMetrics', 'GetTaskLogs']);
  assert.equal(agent.CreateTask!.path, '/flyteidl.service.AsyncAgentService/CreateTask');
  assert.equal(agent.CreateTask!.requestType, 'flyteidl.admin.CreateTaskRequest');
  assert.equal(agent.GetTaskLogs!.responseStream, true);
  assert.equal(agent.GetTaskLogs!.requestStream, false);
  const sync = idl.rawService(FLYTE1_SERVICES.syncAgent).ExecuteTaskSync!;
  assert.deepEqual([sync.requestStream, sync.responseStream], [true, true]);
  assert.deepEqual(Object.keys(idl.rawService(FLYTE1_SERVICES.metadata)), ['GetAgent', 'ListAgents']);
});

test('flyteidl2 has the services that Flyte 2 calls', () => {
  const idl = loadFlyteidl2();
  assert.deepEqual(Object.keys(idl.rawService(FLYTE2_SERVICES.asyncConnector)), [
    'CreateTask',
    'GetTask',
    'DeleteTask',
    'GetTaskMetrics',
    'GetTaskLogs',
  ]);
  assert.deepEqual(Object.keys(idl.rawService(FLYTE2_SERVICES.metadata)), ['GetConnector', 'ListConnectors']);
});

test('a raw method passes bytes through, a typed one decodes and encodes strictly', () => {
  const idl = loadFlyteidl();
  const bytes = idl.codec('flyteidl.admin.GetAgentRequest').encode({ name: 'spark' });
  const raw = idl.rawService(FLYTE1_SERVICES.metadata).GetAgent!;
  assert.equal(raw.requestDeserialize(bytes), bytes);
  assert.equal(raw.responseSerialize(bytes), bytes);
  const typed = idl.service(FLYTE1_SERVICES.metadata).GetAgent!;
  assert.equal(typed.requestDeserialize(bytes).name, 'spark');
  assert.deepEqual(typed.requestSerialize({ name: 'spark' }), bytes);
  assert.throws(() => typed.requestSerialize({ nmae: 'spark' }), /has no field nmae/);
});

test('names that are not there, or name something else, are DESCRIPTOR_UNKNOWN', () => {
  const idl = loadFlyteidlCore();
  assert.throws(() => idl.codec('flyteidl.core.Nothing'), unknown);
  assert.throws(() => idl.codec('flyteidl.core.SimpleType'), /is not a message/);
  assert.throws(() => idl.rawService('flyteidl.core.Literal'), /is not a service/);
  assert.throws(() => idl.rawService(FLYTE1_SERVICES.asyncAgent), unknown);
  assert.equal(idl.codec('flyteidl.core.Literal'), idl.codec('flyteidl.core.Literal'));
});

test('missing files, missing imports and bytes that are no descriptor set are DESCRIPTOR_UNKNOWN', () => {
  assert.throws(() => loadProtoFiles(['flyteidl/core/nothing.proto']), unknown);
  assert.throws(() => loadProtoFiles(['flyteidl/service/agent.proto'], []), /in none of the include dirs/);
  for (const bytes of ['', 'not a descriptor set', Buffer.from([0x0a, 0x7f])]) {
    assert.throws(() => loadDescriptorSet(Buffer.from(bytes as string)), unknown);
  }
});

test('loading prints no warning and the generated descriptor sets are current', () => {
  const load = `await import('./dist/src/idl/load.js').then((m) => { m.loadFlyteidl(); m.loadFlyteidl2(); })`;
  const loaded = spawnSync(process.execPath, ['--input-type=module', '-e', load], { encoding: 'utf8' });
  assert.deepEqual([loaded.stderr, loaded.status], ['', 0]);
  for (const script of ['scripts/gen-flyteidl2.mjs', 'scripts/gen-descriptors.mjs']) {
    const check = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
    assert.equal(check.status, 0, check.stderr);
  }
});
