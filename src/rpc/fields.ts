import { HostError } from '../errors/index.js';
import type { Idl } from '../idl/idl.js';
import { readLiteralNames } from '../idl/literal-map.js';
import { findMessage, findMessages } from '../idl/wire.js';
import { cutText, isFitName } from '../lib/text.js';
import { MAX_NAME_BYTES, MAX_OUTPUT_NAMES, MAX_SCOPE_BYTES } from '../model/identity-check.js';
import type { ConnectionInfo, TaskExecutionMetadata } from '../plugin-api/contexts.js';

/** Bounds on single fields of a request, in bytes. What a plugin or an engine keeps of them is kept a million times. */
export interface FieldLimits {
  readonly nameBytes: number;
  /** Project, domain and namespace: they stand in the handle, which must not outgrow `handleBytes`. */
  readonly scopeBytes: number;
  /** Outputs that a template may declare, by number. */
  readonly outputs: number;
  /** TaskTemplate.custom; the operator's `grpc.maxCustomBytes`. */
  readonly customBytes: number;
  /** A URI, such as the output prefix. */
  readonly uriBytes: number;
  /** TaskExecutionMetadata as a whole: labels, annotations, environment. */
  readonly metadataBytes: number;
  readonly handleBytes: number;
  /** All secrets and configs of a Connection, names included. They are kept in memory with their task for a while. */
  readonly connectionBytes: number;
  /** The reason of a Delete. */
  readonly reasonBytes: number;
  /** Handles, and plugins, that one Watch may name. */
  readonly watchEntries: number;
  /** The resume token of a Watch. */
  readonly tokenBytes: number;
}

/** The bounds among them that the operator does not set. */
export const FIELD_BOUNDS: Omit<FieldLimits, 'customBytes'> = Object.freeze({
  nameBytes: MAX_NAME_BYTES,
  scopeBytes: MAX_SCOPE_BYTES,
  outputs: MAX_OUTPUT_NAMES,
  uriBytes: 4096,
  metadataBytes: 256 * 1024,
  handleBytes: 32 * 1024,
  connectionBytes: 256 * 1024,
  reasonBytes: 4096,
  watchEntries: 10_000,
  tokenBytes: 8 * 1024,
});

/** `problem` says what was seen and what was expected. */
export function fieldInvalid(field: string, problem: string): HostError {
  return new HostError('REQUEST_FIELD_INVALID', `${field}: ${problem}`, { details: { field } });
}

/** Throws REQUEST_TOO_LARGE. */
export function assertSize(field: string, bytes: number, max: number): void {
  if (bytes <= max) return;
  throw new HostError('REQUEST_TOO_LARGE', `${field}: ${bytes} bytes, at most ${max} are taken`, {
    details: { field },
  });
}

export function assertText(field: string, value: string, max: number): string {
  assertSize(field, Buffer.byteLength(value), max);
  return value;
}

/** A name that stands in the handle, in listings and in the log. Throws REQUEST_TOO_LARGE or REQUEST_FIELD_INVALID. */
function assertName(field: string, value: string, max: number): string {
  assertText(field, value, max);
  if (isFitName(value)) return value;
  throw fieldInvalid(field, `${JSON.stringify(cutText(value, 80))} holds control characters; send a name without them`);
}

/** A handle as sent, of plausible size; whether it is ours is seen later. */
export function assertHandle(field: string, handle: unknown, limits: FieldLimits): Buffer {
  if (!Buffer.isBuffer(handle) || handle.length === 0) {
    throw fieldInvalid(field, 'is not set; send the bytes that Create answered');
  }
  assertSize(field, handle.length, limits.handleBytes);
  return handle;
}

/** Checks what of a task's execution is kept with the task; `field` is where it came from. Throws REQUEST_TOO_LARGE. */
export function assertExecution(
  field: string,
  { namespace, taskExecutionId: id }: TaskExecutionMetadata,
  limits: FieldLimits,
): void {
  const execution = `${field}.task_execution_id.node_execution_id`;
  assertName(`${field}.namespace`, namespace, limits.scopeBytes);
  assertName(`${execution}.execution_id.project`, id.project, limits.scopeBytes);
  assertName(`${execution}.execution_id.domain`, id.domain, limits.scopeBytes);
  assertText(`${execution}.execution_id.name`, id.execution, limits.nameBytes);
  assertText(`${execution}.node_id`, id.nodeId, limits.nameBytes);
  for (const [part, value] of Object.entries(id.task)) {
    assertText(`${field}.task_execution_id.task_id.${part}`, value, limits.nameBytes);
  }
}

/**
 * A Connection of bearable size; `field` is where it came from. One without secrets and configs, as Flyte 2 sends with every
 * call, is none: there is nothing in it to be kept. Throws REQUEST_TOO_LARGE.
 */
export function assertConnection(
  field: string,
  connection: ConnectionInfo,
  limits: FieldLimits,
): ConnectionInfo | undefined {
  let bytes = 0;
  for (const map of [connection.secrets, connection.configs]) {
    for (const [name, value] of Object.entries(map)) bytes += Buffer.byteLength(name) + Buffer.byteLength(value);
  }
  assertSize(field, bytes, limits.connectionBytes);
  const empty = [connection.secrets, connection.configs].every((map) => Object.keys(map).length === 0);
  return empty ? undefined : connection;
}

/** What routing and the checks of outputs need of a template. */
export interface TemplateFacts {
  readonly taskType: string;
  readonly taskTypeVersion: number;
  /** Declared outputs in their order on the wire; undefined without an interface. */
  readonly outputNames: readonly string[] | undefined;
}

const INTERFACE = 4;
const CUSTOM = 5;
const INTERFACE_OUTPUTS = 2;

/**
 * Checks a flyteidl.core.TaskTemplate (or, with its idl, a Flyte 2 one of the same field numbers) and reads what is
 * needed of it. The bytes go on as they came. Throws REQUEST_FIELD_INVALID, REQUEST_TOO_LARGE, REQUEST_UNDECODABLE.
 */
export function readTemplate(
  idl: Idl,
  bytes: Buffer | null,
  field: string,
  limits: FieldLimits,
  typeName = 'flyteidl.core.TaskTemplate',
): TemplateFacts {
  if (bytes === null) throw fieldInvalid(field, 'is not set; send the task template');
  const [typedInterface, custom] = findMessages(bytes, [INTERFACE, CUSTOM]);
  assertSize(`${field}.custom`, custom?.length ?? 0, limits.customBytes);
  const template = idl.codec(typeName).decode(bytes);
  if (template.type === '') throw fieldInvalid(`${field}.type`, 'is empty; it selects the plugin');
  assertName(`${field}.type`, template.type, limits.nameBytes);
  const version = Number(template.taskTypeVersion);
  if (version < 0) throw fieldInvalid(`${field}.task_type_version`, `${version} is negative`);
  const outputNames = outputNamesOf(typedInterface);
  const outputsField = `${field}.interface.outputs`;
  if (outputNames !== undefined && outputNames.length > limits.outputs) {
    throw new HostError(
      'REQUEST_TOO_LARGE',
      `${outputsField}: ${outputNames.length} outputs, at most ${limits.outputs} are taken`,
      {
        details: { field: outputsField },
      },
    );
  }
  for (const name of outputNames ?? []) assertText(outputsField, name, limits.nameBytes);
  return { taskType: template.type, taskTypeVersion: version, outputNames };
}

function outputNamesOf(typedInterface: Buffer | undefined): readonly string[] | undefined {
  if (typedInterface === undefined) return undefined;
  const outputs = findMessage(typedInterface, INTERFACE_OUTPUTS);
  return outputs === undefined ? [] : readLiteralNames(outputs);
}

/** A decoded int64 that must be a non-negative number of bytes. */
export function nonNegative(field: string, value: unknown): number {
  const number = Number(value ?? 0);
  if (number < 0) throw fieldInvalid(field, `${number} is negative; 0 means no bound`);
  return number;
}
