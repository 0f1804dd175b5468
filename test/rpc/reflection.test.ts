import assert from 'node:assert/strict';
import { EventEmitter, once } from 'node:events';
import { createRequire } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';
import { Metadata, status } from '@grpc/grpc-js';
import protoLoader from '@grpc/proto-loader';
import protobuf from 'protobufjs';
import descriptor from 'protobufjs/ext/descriptor/index.js';
import { loadFlyteidl, loadFlyteidl2 } from '../../src/idl/load.js';
import { lenField } from '../../src/idl/wire.js';
import { createFlyteServices } from '../../src/rpc/flyte/services.js';
import { createNativeService } from '../../src/rpc/native/service.js';
import { Reflection } from '../../src/rpc/reflection.js';
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

const { FileDescriptorSet } = descriptor as Any;

async function ask(fixture: Fixture, version: string, request: object): Promise<Any> {
  const method = (definitions[`grpc.reflection.${version}.ServerReflection`] as Any).ServerReflectionInfo;
  const stream = fixture
    .raw()
    .makeBidiStreamRequest(method.path, method.requestSerialize, method.responseDeserialize, new Metadata(), {});
  stream.write(request);
  stream.on('error', () => {});
  const [answer] = await once(stream, 'data');
  stream.end();
  stream.resume();
  return answer;
}

/** The types of an answer; throws where one refers to another that is not there. */
function rootOf(files: readonly Buffer[]): protobuf.Root {
  const set = FileDescriptorSet.decode(Buffer.concat(files.map((bytes) => lenField(1, bytes))));
  return (protobuf.Root as Any).fromDescriptor(set).resolveAll();
}

for (const version of ['v1', 'v1alpha']) {
  test(`reflection ${version} lists the services served, and no others`, async (t) => {
    const fixture = await startServer(t, { reflection: [idl, loadFlyteidl2()] });
    const { listServicesResponse } = await ask(fixture, version, { listServices: '*' });
    assert.deepEqual(listServicesResponse.service.map((service: Any) => service.name).sort(), [
      'grpc.health.v1.Health',
      'pluginhost.v1.PluginHost',
    ]);
  });
}

test('the descriptors of the native API resolve as a whole, with the field names of the .proto file', async (t) => {
  const fixture = await startServer(t, { reflection: [idl] });
  for (const symbol of ['pluginhost.v1.PluginHost', 'grpc.health.v1.Health', 'flyteidl.core.TaskTemplate']) {
    const { fileDescriptorResponse } = await ask(fixture, 'v1', { fileContainingSymbol: symbol });
    const root = rootOf(fileDescriptorResponse.fileDescriptorProto);
    assert.ok(root.lookup(symbol), symbol);
  }
  const unknown = await ask(fixture, 'v1', { fileContainingSymbol: 'no.Such' });
  assert.equal(unknown.errorResponse.errorCode, status.NOT_FOUND);
});

test('beside both generations of Flyte every service resolves as a whole', async (t) => {
  const flyteidl = loadFlyteidl();
  const flyteidl2 = loadFlyteidl2();
  const tasks = new FakeTasks();
  const services = [
    createNativeService({ tasks, idl }),
    ...createFlyteServices({ tasks, flyteidl, flyteidl2, maxStalenessMs: 0, now: () => 0 }),
  ];
  const fixture = await startServer(t, { services, reflection: [idl, flyteidl, flyteidl2] });
  const { listServicesResponse } = await ask(fixture, 'v1', { listServices: '*' });
  const names = listServicesResponse.service.map((service: Any) => service.name) as string[];
  assert.deepEqual(names.sort(), [...services.map(({ name }) => name), 'grpc.health.v1.Health'].sort());
  for (const name of names) {
    const { fileDescriptorResponse } = await ask(fixture, 'v1', { fileContainingSymbol: name });
    const root = rootOf(fileDescriptorResponse.fileDescriptorProto);
    for (const method of root.lookupService(name).methodsArray) {
      method.resolve();
      assert.ok(method.resolvedRequestType && method.resolvedResponseType, method.fullName);
    }
  }
});

test('reflection can be left out', async (t) => {
  const fixture = await startServer(t, { reflection: undefined });
  const method = (definitions['grpc.reflection.v1.ServerReflection'] as Any).ServerReflectionInfo;
  const stream = fixture
    .raw()
    .makeBidiStreamRequest(method.path, method.requestSerialize, method.responseDeserialize, new Metadata(), {});
  stream.resume();
  const [error] = await once(stream, 'error');
  assert.equal(error.code, status.UNIMPLEMENTED);
});

test('reflection streams are bounded, and one that is left makes room', async (t) => {
  const fixture = await startServer(t, { reflection: [idl], maxStreams: 1 });
  const method = (definitions['grpc.reflection.v1.ServerReflection'] as Any).ServerReflectionInfo;
  const open = () => {
    const stream = fixture
      .raw()
      .makeBidiStreamRequest(method.path, method.requestSerialize, method.responseDeserialize, new Metadata(), {});
    stream.on('error', () => {});
    stream.write({ listServices: '*' });
    return stream;
  };
  const first = open();
  await once(first, 'data');
  const second = open();
  second.resume();
  const [error] = await once(second, 'error');
  assert.equal(error.code, status.RESOURCE_EXHAUSTED);
  first.cancel();
  for (;;) {
    const got = await once(open(), 'data').catch(() => undefined);
    if (got !== undefined) break;
  }
});

test('a reflection stream whose answers are not read is not read either', () => {
  class Call extends EventEmitter {
    written = 0;
    paused = 0;
    resumed = 0;
    write(): boolean {
      this.written += 1;
      return this.written % 2 === 0;
    }
    pause(): void {
      this.paused += 1;
    }
    resume(): void {
      this.resumed += 1;
    }
    end(): void {}
  }
  let serve: ((call: Call) => void) | undefined;
  new Reflection([idl], [], 10).addToServer({
    addService: (_definition: unknown, implementation: Any) => {
      serve ??= implementation.ServerReflectionInfo;
    },
  } as Any);
  const call = new Call();
  serve?.(call);
  const request = { messageRequest: 'listServices', listServices: '*' };
  for (let i = 0; i < 3; i++) call.emit('data', request);
  assert.deepEqual([call.written, call.paused, call.resumed], [3, 1, 0]);
  call.emit('drain');
  assert.equal(call.resumed, 1);
  call.emit('data', request);
  assert.equal(call.paused, 1, 'room is room');
  call.emit('data', request);
  assert.equal(call.paused, 2);
});
