import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { createRequire } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { type ClientDuplexStream, Metadata, status } from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import { servedDescriptors } from '../../src/idl/descriptor-pool.js';
import { loadFlyteidl2, loadPluginHost } from '../../src/idl/load.js';
import { lenField } from '../../src/idl/wire.js';
import { createFlyteServices } from '../../src/rpc/flyte/services.js';
import { createNativeService, NATIVE_BOUNDS } from '../../src/rpc/native/service.js';
import { Reflection } from '../../src/rpc/reflection.js';
import { DEFAULT_FIELD_LIMITS } from '../support/defaults.js';
import { FakeTasks } from './fake-tasks.js';
import { type Fixture, idl, startServer } from './support.js';

const require = createRequire(import.meta.url);
const folder = path.join(path.dirname(require.resolve('@grpc/reflection/package.json')), 'build', 'proto');
const definitions = protoLoader.loadSync(
  ['grpc/reflection/v1/reflection.proto', 'grpc/reflection/v1alpha/reflection.proto'],
  { includeDirs: [folder], oneofs: true },
);

// biome-ignore lint/suspicious/noExplicitAny: messages of the reflection protocol, decoded by proto-loader
type Any = any;

const methodOf = (version: string): Any =>
  (definitions[`grpc.reflection.${version}.ServerReflection`] as Any).ServerReflectionInfo;

function open(fixture: Fixture, version = 'v1'): ClientDuplexStream<Any, Any> {
  const { path, requestSerialize, responseDeserialize } = methodOf(version);
  return fixture.raw().makeBidiStreamRequest(path, requestSerialize, responseDeserialize, new Metadata(), {});
}

async function ask(fixture: Fixture, version: string, request: object): Promise<Any> {
  const stream = open(fixture, version);
  stream.write(request);
  stream.on('error', () => {});
  const [answer] = await once(stream, 'data');
  stream.end();
  stream.resume();
  return answer;
}

/** The types of an answer, resolved as a compiler does; throws where a name leads nowhere. */
function registryOf(files: readonly Buffer[]) {
  return createFileRegistry(
    fromBinary(FileDescriptorSetSchema, Buffer.concat([...files].reverse().map((bytes) => lenField(1, bytes)))),
  );
}

const OWN = [
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
];

for (const version of ['v1', 'v1alpha']) {
  test(`reflection ${version} lists the services served, itself among them, and no others`, async (t) => {
    const fixture = await startServer(t, { reflection: true });
    const { listServicesResponse } = await ask(fixture, version, { listServices: '*' });
    assert.deepEqual(
      listServicesResponse.service.map((service: Any) => service.name),
      [...OWN, 'pluginhost.v1.PluginHost'],
    );
  });

  test(`beside both generations of Flyte, reflection ${version} describes every service as a whole`, async (t) => {
    const tasks = new FakeTasks();
    const flyteidl = loadPluginHost();
    const flyteidl2 = loadFlyteidl2();
    const services = [
      createNativeService({ tasks, idl, limits: DEFAULT_FIELD_LIMITS, ...NATIVE_BOUNDS }),
      ...createFlyteServices({ tasks, limits: DEFAULT_FIELD_LIMITS, flyteidl, flyteidl2, maxStalenessMs: 0 }),
    ];
    const fixture = await startServer(t, { services, reflection: true });
    const { listServicesResponse } = await ask(fixture, version, { listServices: '' });
    const names = listServicesResponse.service.map((service: Any) => service.name) as string[];
    assert.deepEqual(names, [...services.map(({ name }) => name), ...OWN].sort());
    const served = new Map(services.map((service) => [service.name, Object.keys(service.definition)]));
    for (const name of names) {
      const { fileDescriptorResponse } = await ask(fixture, version, { fileContainingSymbol: name });
      const methods = registryOf(fileDescriptorResponse.fileDescriptorProto).getService(name)?.methods ?? [];
      assert.ok(methods.length > 0, name);
      const described = methods.map((method) => method.name).sort();
      if (served.has(name)) assert.deepEqual(described, served.get(name)?.sort(), name);
    }
  });
}

test('files, nested symbols and extensions are answered for, each by the file that declares it', async (t) => {
  const fixture = await startServer(t, { reflection: true });
  const fileOf = async (request: object) => {
    const { fileDescriptorResponse } = await ask(fixture, 'v1', request);
    return fromBinary(FileDescriptorProtoSchema, fileDescriptorResponse.fileDescriptorProto[0]).name;
  };
  const name = 'flyteidl/core/types.proto';
  assert.equal(await fileOf({ fileByFilename: name }), name);
  assert.equal(await fileOf({ fileContainingSymbol: 'flyteidl.core.BlobType.BlobDimensionality' }), name);
  assert.equal(
    await fileOf({ fileContainingSymbol: 'pluginhost.v1.PluginHost.Create' }),
    'pluginhost/v1/plugin_host.proto',
  );
  const http = { containingType: 'google.protobuf.MethodOptions', extensionNumber: 72295728 };
  assert.equal(await fileOf({ fileContainingExtension: http }), 'google/api/annotations.proto');
  const all = await ask(fixture, 'v1', { allExtensionNumbersOfType: http.containingType });
  assert.equal(all.allExtensionNumbersResponse.baseTypeName, http.containingType);
  assert.ok(all.allExtensionNumbersResponse.extensionNumber.includes(http.extensionNumber));
});

test('what cannot be answered is an error within its answer, and the stream goes on', async (t) => {
  const fixture = await startServer(t, { reflection: true });
  const stream = open(fixture);
  const answers: Any[] = [];
  stream.on('data', (answer: Any) => answers.push(answer));
  const long = 'x'.repeat(7000);
  for (const request of [
    { fileContainingSymbol: 'no.Such' },
    { fileContainingSymbol: 'constructor' },
    { fileByFilename: '__proto__' },
    { fileByFilename: long },
    { fileContainingExtension: { containingType: 'toString', extensionNumber: 1 } },
    { fileContainingExtension: { containingType: 'google.protobuf.MethodOptions', extensionNumber: -1 } },
    { allExtensionNumbersOfType: 'hasOwnProperty' },
    {},
    { host: 'somebody', listServices: '' },
  ]) {
    stream.write(request);
  }
  stream.end();
  await once(stream, 'end');
  const codes = answers.map((answer) => answer.errorResponse?.errorCode);
  const { NOT_FOUND, INVALID_ARGUMENT } = status;
  assert.deepEqual(codes, [...Array(7).fill(NOT_FOUND), INVALID_ARGUMENT, undefined]);
  assert.match(answers[0].errorResponse.errorMessage, /no symbol "no\.Such"/);
  assert.ok(answers[3].errorResponse.errorMessage.length < 300);
  assert.equal(answers[0].originalRequest.fileContainingSymbol, 'no.Such');
  assert.deepEqual([answers[8].validHost, answers[8].originalRequest.host], ['somebody', 'somebody']);
});

for (const [what, bytes] of [
  ['that do not decode', Buffer.from([0xff, 0xff, 0xff])],
  ['that are no text', lenField(4, Buffer.from([0xc3, 0x28]))],
  ['of a request beyond its bound', lenField(4, 'x'.repeat(10_000))],
] as const) {
  test(`bytes ${what} end the stream as the caller's fault`, async (t) => {
    const fixture = await startServer(t, { reflection: true });
    const stream = fixture.raw().makeBidiStreamRequest(
      methodOf('v1').path,
      (given: Buffer) => given,
      (given) => given,
      new Metadata(),
      {},
    );
    stream.resume();
    stream.write(bytes);
    const [error] = await once(stream, 'error');
    assert.equal(error.code, status.INVALID_ARGUMENT);
    assert.deepEqual(fixture.faults, []);
  });
}

test('a drain ends reflection streams, one that waits for its reader as well', async (t) => {
  const fixture = await startServer(t, { reflection: true });
  const stream = open(fixture);
  stream.write({ listServices: '' });
  await once(stream, 'data');
  const ended = once(stream, 'end');
  fixture.server.beginDrain();
  await ended;
});

test('reflection can be left out', async (t) => {
  const fixture = await startServer(t, { reflection: false });
  const stream = open(fixture);
  stream.resume();
  const [error] = await once(stream, 'error');
  assert.equal(error.code, status.UNIMPLEMENTED);
});

test('reflection streams are bounded, and one that is left makes room', async (t) => {
  const fixture = await startServer(t, { reflection: true, maxStreams: 1 });
  const opened = () => {
    const stream = open(fixture);
    stream.on('error', () => {});
    stream.write({ listServices: '*' });
    return stream;
  };
  const first = opened();
  await once(first, 'data');
  const second = opened();
  second.resume();
  const [error] = await once(second, 'error');
  assert.equal(error.code, status.RESOURCE_EXHAUSTED);
  first.cancel();
  for (;;) {
    const got = await once(opened(), 'data').catch(() => undefined);
    if (got !== undefined) break;
  }
});

test('a reflection stream whose answers are not read is not read either', async () => {
  class Call extends EventEmitter {
    asked = 0;
    written = 0;
    cancelled = false;
    writableEnded = false;
    readonly request = Buffer.concat([lenField(3, 'pluginhost/v1/plugin_host.proto')]);
    write(): boolean {
      this.written += 1;
      return this.written % 2 === 0;
    }
    async *iterator() {
      for (; this.asked < 4; ) {
        this.asked += 1;
        yield this.request;
      }
    }
    end(): void {
      this.writableEnded = true;
    }
  }
  let serve: ((call: Call) => void) | undefined;
  const pool = servedDescriptors();
  new Reflection([], 10, () => Promise.resolve(pool)).addToServer({
    addService: (_definition: unknown, implementation: Any) => {
      serve ??= implementation.ServerReflectionInfo;
    },
  } as Any);
  const call = new Call();
  serve?.(call);
  await setImmediate();
  assert.deepEqual([call.asked, call.written], [1, 1]);
  call.emit('drain');
  await setImmediate();
  assert.deepEqual([call.asked, call.written], [3, 3], 'room is room');
  call.cancelled = true;
  call.emit('cancelled');
  await setImmediate();
  assert.deepEqual([call.asked, call.written], [3, 3]);
});
