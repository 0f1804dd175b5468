import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import pb from 'protobufjs';
import { HostError } from '../../src/errors/index.js';
import { CORE_TYPES } from '../../src/generated/core-types.js';
import { FLYTE2_TYPES } from '../../src/generated/flyte2-types.js';
import { FLYTEIDL2_DESCRIPTOR_SET } from '../../src/generated/flyteidl2.js';
import { SERVED_TYPES } from '../../src/generated/served-types.js';
import {
  FLYTE1_SERVICES,
  FLYTE2_SERVICES,
  loadFlyteidl2,
  loadPluginHost,
  PLUGIN_HOST_SERVICE,
} from '../../src/idl/load.js';
import { loadFlyteidlCore } from '../../src/idl/load-core.js';

const unknown = (error: unknown) => HostError.is(error) && error.code === 'DESCRIPTOR_UNKNOWN';

test('flyteidl has the services and streams that Flyte 1 calls', () => {
  const idl = loadPluginHost();
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
  const idl = loadPluginHost();
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

/** All that decides how a type is read and written; of a namespace, of all in it. */
function told(object: pb.ReflectionObject, into: Map<string, unknown>): Map<string, unknown> {
  if (object instanceof pb.Enum) into.set(object.fullName, { ...object.values });
  if (object instanceof pb.Type) {
    const fields = object.fieldsArray.map((field) => [
      field.name,
      field.id,
      field.resolvedType?.fullName ?? field.type,
      field instanceof pb.MapField ? field.keyType : field.repeated,
      field.repeated && !(field.resolvedType instanceof pb.Type) && field.packed,
      Boolean(field.hasPresence),
      field.partOf?.name,
    ]);
    into.set(object.fullName, { fields, oneofs: object.oneofsArray.map(({ name, oneof }) => [name, oneof]) });
  }
  if (object instanceof pb.Service) {
    const methods = object.methodsArray.map((method) => [
      method.name,
      method.resolvedRequestType?.fullName,
      method.resolvedResponseType?.fullName,
      method.requestStream === true,
      method.responseStream === true,
    ]);
    into.set(object.fullName, methods);
  } else if (object instanceof pb.Namespace) for (const nested of object.nestedArray) told(nested, into);
  return into;
}

/** The reader of .proto files that the generator has. */
interface ProtoTypes {
  readonly SERVED_FILES: readonly string[];
  rootOfFiles(files: readonly string[]): pb.Root;
  rootOfSet(bytes: Uint8Array): pb.Root;
}

test('the generated types are read and written as the .proto files and the descriptor set of flyteidl2 say', async () => {
  const reader = new URL('../../../scripts/lib/proto-types.mjs', import.meta.url).href;
  const { rootOfFiles, rootOfSet, SERVED_FILES } = (await import(reader)) as ProtoTypes;
  const ofFiles = told(rootOfFiles(SERVED_FILES), new Map());
  const ofSet = told(rootOfSet(Buffer.from(FLYTEIDL2_DESCRIPTOR_SET, 'base64')), new Map());
  for (const [types, source, some] of [
    [CORE_TYPES, ofFiles, 'flyteidl.core.TaskTemplate'],
    [SERVED_TYPES, ofFiles, PLUGIN_HOST_SERVICE],
    [FLYTE2_TYPES, ofSet, FLYTE2_SERVICES.asyncConnector],
  ] as const) {
    const generated = told(pb.Root.fromJSON(JSON.parse(types)), new Map());
    assert.ok(generated.has(`.${some}`));
    for (const [name, one] of generated) assert.deepEqual(one, source.get(name), name);
  }
});

test('loading prints no warning and what is generated of descriptors and .proto files is current', () => {
  const load = `await import('./dist/src/idl/load.js').then((m) => { m.loadPluginHost(); m.loadFlyteidl2(); })`;
  const loaded = spawnSync(process.execPath, ['--input-type=module', '-e', load], { encoding: 'utf8' });
  assert.deepEqual([loaded.stderr, loaded.status], ['', 0]);
  for (const script of ['scripts/gen-flyteidl2.mjs', 'scripts/gen-descriptors.mjs', 'scripts/gen-types.mjs']) {
    const check = spawnSync(process.execPath, [script, '--check'], { encoding: 'utf8' });
    assert.equal(check.status, 0, check.stderr);
  }
});
