import type { TaskInterface } from '../data/task-interface.js';
import type { Codec, Message } from '../idl/codec.js';
import { structToJson } from '../idl/struct.js';
import { durationToMs } from '../idl/well-known.js';
import { lookUp } from '../lib/look-up.js';
import type { TaskReader, TaskTemplate } from '../plugin-api/contexts.js';

/** Resource names as Kubernetes writes them. */
const RESOURCES: Readonly<Record<string, string>> = {
  CPU: 'cpu',
  GPU: 'gpu',
  MEMORY: 'memory',
  STORAGE: 'storage',
  EPHEMERAL_STORAGE: 'ephemeral-storage',
};

/**
 * Decodes at the first `read` and remembers. `codec` is that of flyteidl.core.TaskTemplate; `readInterface` reads the declared
 * variables of flyteidl and flyteidl2 alike.
 */
export function makeTaskReader(
  template: Buffer,
  codec: Codec,
  readInterface: (template: Buffer) => TaskInterface,
): TaskReader {
  let read: TaskTemplate | undefined;
  return {
    bytes: template,
    read: () => {
      read ??= readTaskTemplate(template, codec, readInterface(template));
      return read;
    },
  };
}

/** Throws REQUEST_UNDECODABLE. */
function readTaskTemplate(bytes: Buffer, codec: Codec, { inputs, outputs }: TaskInterface): TaskTemplate {
  const message = codec.decode(bytes, { raw: ['interface'] });
  const { id, container, sql, metadata } = message;
  return {
    type: message.type,
    taskTypeVersion: message.taskTypeVersion,
    ...(id ? { id: { project: id.project, domain: id.domain, name: id.name, version: id.version } } : {}),
    custom: structToJson(message.custom),
    config: message.config,
    inputNames: [...inputs.keys()],
    outputNames: [...outputs.keys()],
    inputTypes: inputs,
    outputTypes: outputs,
    ...(container ? { container: containerOf(container) } : {}),
    ...(sql ? { sql: { statement: sql.statement, dialect: String(sql.dialect) } } : {}),
    ...(metadata ? { metadata: metadataOf(metadata) } : {}),
  };
}

function containerOf(container: Message): NonNullable<TaskTemplate['container']> {
  const { image, command, args, env, resources } = container;
  return {
    image,
    command,
    args,
    env: Object.fromEntries((env as Message[]).map(({ key, value }) => [key, value])),
    resources: { requests: amounts(resources?.requests), limits: amounts(resources?.limits) },
  };
}

function amounts(entries: readonly Message[] = []): Record<string, string> {
  return Object.fromEntries(
    entries.map(({ name, value }) => [lookUp(RESOURCES, String(name)) ?? String(name).toLowerCase(), value]),
  );
}

function metadataOf(metadata: Message): NonNullable<TaskTemplate['metadata']> {
  const timeoutMs = durationToMs(metadata.timeout);
  return {
    ...(timeoutMs === null ? {} : { timeoutMs }),
    ...(metadata.retries ? { retries: metadata.retries.retries } : {}),
    discoverable: metadata.discoverable,
    // Absent is not the same as false: the engine's default then holds.
    ...(metadata.interruptibleValue === undefined ? {} : { interruptible: metadata.interruptible }),
  };
}
