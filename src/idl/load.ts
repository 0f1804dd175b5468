import { existsSync } from 'node:fs';
import path from 'node:path';
import type * as protobuf from 'protobufjs';
import pb from 'protobufjs';
import descriptor from 'protobufjs/ext/descriptor/index.js';
import { HostError, messageOf } from '../errors/index.js';
import { FLYTEIDL2_DESCRIPTOR_SET } from '../generated/flyteidl2.js';
import { type Idl, makeIdl } from './idl.js';
import { defaultIncludeDirs } from './paths.js';

/** flyteidl (Flyte 1): its services and the core types that go with them. */
const FLYTEIDL_FILES: readonly string[] = [
  'flyteidl/service/agent.proto',
  'flyteidl/core/errors.proto',
  'flyteidl/core/tasks.proto',
  'flyteidl/core/literals.proto',
  'flyteidl/core/interface.proto',
];

/** Our own API. */
const PLUGIN_HOST_FILES: readonly string[] = ['pluginhost/v1/plugin_host.proto'];

export const FLYTE1_SERVICES = {
  asyncAgent: 'flyteidl.service.AsyncAgentService',
  syncAgent: 'flyteidl.service.SyncAgentService',
  metadata: 'flyteidl.service.AgentMetadataService',
} as const;

export const FLYTE2_SERVICES = {
  asyncConnector: 'flyteidl2.connector.AsyncConnectorService',
  metadata: 'flyteidl2.connector.ConnectorMetadataService',
} as const;

export const PLUGIN_HOST_SERVICE = 'pluginhost.v1.PluginHost';

/** google/protobuf/* that protobufjs holds itself need no file; an import that is nowhere is an error, not a warning. */
function resolveImport(includeDirs: readonly string[], target: string): string {
  if (path.isAbsolute(target)) return target;
  for (const dir of includeDirs) {
    const candidate = path.join(dir, target);
    if (existsSync(candidate)) return candidate;
  }
  throw new HostError('DESCRIPTOR_UNKNOWN', `${target} is in none of the include dirs: ${includeDirs.join(', ')}.`);
}

/**
 * Loads .proto files (paths relative to an include dir) with all they import. Throws DESCRIPTOR_UNKNOWN for a file that
 * is missing or does not parse.
 */
export function loadProtoFiles(files: readonly string[], includeDirs: readonly string[] = defaultIncludeDirs()): Idl {
  const root = new pb.Root();
  root.resolvePath = (_origin, target) => resolveImport(includeDirs, target);
  try {
    root.loadSync([...files], { keepCase: false });
  } catch (thrown) {
    if (HostError.is(thrown)) throw thrown;
    throw new HostError('DESCRIPTOR_UNKNOWN', `${files.join(', ')} cannot be loaded: ${messageOf(thrown)}.`, {
      cause: thrown,
    });
  }
  return makeIdl(root);
}

/** `protobufjs/ext/descriptor` adds this at run time without declaring it. */
interface DescriptorRoot {
  fromDescriptor(set: descriptor.IFileDescriptorSet): protobuf.Root;
}

const camelCase = (name: string): string => name.replace(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** A descriptor set holds the names of the .proto file; codecs use camelCase as everywhere else here. */
function renameFields(type: descriptor.IDescriptorProto): void {
  for (const field of [...(type.field ?? []), ...(type.oneofDecl ?? [])]) {
    if (field.name) field.name = camelCase(field.name);
  }
  for (const nested of type.nestedType ?? []) renameFields(nested);
}

/** Loads an encoded google.protobuf.FileDescriptorSet. Throws DESCRIPTOR_UNKNOWN for bytes that are none. */
export function loadDescriptorSet(bytes: Uint8Array): Idl {
  let root: protobuf.Root;
  try {
    const set = descriptor.FileDescriptorSet.decode(bytes) as protobuf.Message & descriptor.IFileDescriptorSet;
    if (!set.file?.length) throw new Error('it holds no file');
    for (const file of set.file) for (const type of file.messageType ?? []) renameFields(type);
    root = (pb.Root as unknown as DescriptorRoot).fromDescriptor(set);
    return makeIdl(root);
  } catch (thrown) {
    throw new HostError('DESCRIPTOR_UNKNOWN', `Not a usable FileDescriptorSet: ${messageOf(thrown)}.`, {
      cause: thrown,
    });
  }
}

/** flyteidl (Flyte 1). Takes some 60 ms; keep the result. */
export function loadFlyteidl(): Idl {
  return loadProtoFiles(FLYTEIDL_FILES);
}

/** Only the core types of flyteidl, for processes that convert literals and serve nothing; some 10 ms. */
export function loadFlyteidlCore(): Idl {
  return loadProtoFiles(FLYTEIDL_FILES.filter((file) => file.startsWith('flyteidl/core/')));
}

/** flyteidl2 (Flyte 2), from the descriptor set that `npm run gen` makes of `@flyteorg/flyteidl2`. */
export function loadFlyteidl2(): Idl {
  return loadDescriptorSet(Buffer.from(FLYTEIDL2_DESCRIPTOR_SET, 'base64'));
}

/** Our API with flyteidl beside it, which its messages reuse. */
export function loadPluginHost(): Idl {
  return loadProtoFiles([...PLUGIN_HOST_FILES, ...FLYTEIDL_FILES]);
}
