import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createFileRegistry, fromBinary } from '@bufbuild/protobuf';
import { FileDescriptorSetSchema } from '@bufbuild/protobuf/wkt';
import { HostError } from '../../src/errors/index.js';
import { DESCRIPTOR_SET } from '../../src/generated/descriptors.js';
import { DescriptorPool, servedDescriptors } from '../../src/idl/descriptor-pool.js';
import { FLYTE1_SERVICES, FLYTE2_SERVICES, PLUGIN_HOST_SERVICE } from '../../src/idl/load.js';
import { lenField } from '../../src/idl/wire.js';

const pool = servedDescriptors();

const SERVICES = [
  PLUGIN_HOST_SERVICE,
  ...Object.values(FLYTE1_SERVICES),
  ...Object.values(FLYTE2_SERVICES),
  'grpc.health.v1.Health',
  'grpc.reflection.v1.ServerReflection',
  'grpc.reflection.v1alpha.ServerReflection',
];

/** Resolves every name as a compiler does: absolute ones only, within the files and their imports. Throws otherwise. */
function registryOf(files: readonly { readonly bytes: Buffer }[]) {
  const set = Buffer.concat([...files].reverse().map(({ bytes }) => lenField(1, bytes)));
  return createFileRegistry(fromBinary(FileDescriptorSetSchema, set));
}

test('what a service needs is whole in its closure, down to maps, nested types and options, and nothing is twice', () => {
  for (const name of SERVICES) {
    const file = pool.fileOfSymbol(name);
    assert.ok(file, name);
    const files = pool.closure(file);
    assert.equal(files[0], file, 'the file asked for comes first');
    assert.equal(new Set(files.map((each) => each.name)).size, files.length);
    const service = registryOf(files).getService(name);
    assert.ok(service && service.methods.length > 0, name);
  }
});

test('every type of every file is found by its name, and belongs to the file that declares it', () => {
  const seen = new Set<string>();
  for (const desc of SERVICES.flatMap((name) => [...registryOf(pool.closure(pool.fileOfSymbol(name)!))])) {
    seen.add(desc.typeName);
    const file = pool.fileOfSymbol(desc.typeName);
    assert.equal(file?.name, `${desc.file.name}.proto`, desc.typeName);
    if (desc.kind === 'message') {
      for (const { name } of desc.fields) assert.equal(pool.fileOfSymbol(`${desc.typeName}.${name}`), file);
      for (const { name } of desc.oneofs) assert.equal(pool.fileOfSymbol(`${desc.typeName}.${name}`), file);
    }
    if (desc.kind === 'service') {
      for (const { name } of desc.methods) assert.equal(pool.fileOfSymbol(`${desc.typeName}.${name}`), file);
    }
    if (desc.kind === 'extension') {
      const { typeName } = desc.extendee;
      assert.equal(pool.fileOfExtension(typeName, desc.number), file);
      assert.ok(pool.extensionNumbers(typeName)?.includes(desc.number));
    }
  }
  assert.ok(seen.size > 300, `only ${seen.size} types looked at`);
});

test('enum values stand beside their enum; nested types and extensions are found, what nobody declares is not', () => {
  const enumFile = pool.fileOfSymbol('flyteidl.core.BlobType.BlobDimensionality');
  assert.equal(enumFile?.name, 'flyteidl/core/types.proto');
  assert.equal(pool.fileOfSymbol('flyteidl.core.BlobType.SINGLE'), enumFile);
  assert.equal(pool.fileOfSymbol('flyteidl.core.BlobType.BlobDimensionality.SINGLE'), undefined);
  assert.equal(pool.fileOfSymbol('google.api.http')?.name, 'google/api/annotations.proto');
  assert.equal(
    pool.fileOfExtension('google.protobuf.MethodOptions', 72295728)?.name,
    'google/api/annotations.proto',
    'an option that flyteidl uses',
  );
  assert.deepEqual(pool.extensionNumbers('google.protobuf.MethodOptions'), [72295728]);
  assert.deepEqual(pool.extensionNumbers('flyteidl.core.Literal'), []);
  for (const name of ['', 'flyteidl', 'constructor', '__proto__', 'toString', '.flyteidl.core.Literal', 'no.Such']) {
    assert.equal(pool.fileOfSymbol(name), undefined, name);
    assert.equal(pool.file(name), undefined, name);
    assert.equal(pool.extensionNumbers(name), undefined, name);
    assert.equal(pool.fileOfExtension(name, 1), undefined, name);
  }
  assert.equal(pool.fileOfExtension('google.protobuf.MethodOptions', 1), undefined);
});

test('the bytes of a file are those of its set, whatever the decoder knows of them', () => {
  const unknown = lenField(15_000, 'a field of a later descriptor.proto');
  const own = Buffer.concat([lenField(1, 'a.proto'), lenField(2, 'a'), lenField(4, lenField(1, 'M')), unknown]);
  const made = new DescriptorPool([lenField(1, own), lenField(1, lenField(1, 'a.proto'))]);
  assert.deepEqual(made.fileOfSymbol('a.M')?.bytes, own, 'and the first of two with one name counts');
});

test('sets that are none, or lack an import, are DESCRIPTOR_UNKNOWN, never a half-filled pool', () => {
  const unknown = (error: unknown) => HostError.is(error) && error.code === 'DESCRIPTOR_UNKNOWN';
  const alone = pool.file('flyteidl/service/agent.proto')!.bytes;
  for (const bytes of [
    '',
    'no descriptor set',
    Buffer.from([0x0a, 0x7f]),
    lenField(2, 'x'),
    lenField(1, ''),
    lenField(1, alone),
  ]) {
    assert.throws(() => new DescriptorPool([Buffer.from(bytes as string)]), unknown);
  }
  assert.ok(new DescriptorPool([Buffer.from(DESCRIPTOR_SET, 'base64')]).file('pluginhost/v1/plugin_host.proto'));
});
