import type { Codec, Message } from '../../idl/codec.js';
import { readLiteralNames } from '../../idl/literal-map.js';
import { partitionOfAttempt } from '../../model/partition.js';
import type { ConnectionInfo } from '../../plugin-api/contexts.js';
import type { TaskSpec } from '../../tasks/types.js';
import {
  assertConnection,
  assertExecution,
  assertSize,
  assertText,
  type FieldLimits,
  fieldInvalid,
  nonNegative,
  readTemplate,
} from '../fields.js';
import { peekFields, textOf, type Wires } from '../peek-fields.js';
import { executionMetadataOf, flyteAttempt, flyteNode, taskExecutionIdOf } from '../task-metadata.js';
import { type Dialect, mapOf } from './dialect.js';

/** What CreateTaskRequest and CreateRequestHeader have in common, with the embedded messages still encoded. */
export interface CreateFields {
  readonly template: Buffer | null;
  readonly taskExecutionMetadata: Buffer | null;
  readonly outputPrefix: string;
  readonly maxDatasetSizeBytes?: string;
  readonly connection?: Message | null;
}

/** What of them says which attempt it is of. */
type NamingFields = Pick<CreateFields, 'outputPrefix' | 'taskExecutionMetadata'>;

/** What of them says which attempt it is of, without the rest. */
export function peekNaming(
  message: Buffer,
  wires: Wires,
  at: { readonly outputPrefix: number; readonly metadata: number },
): NamingFields | undefined {
  const found = peekFields(message, wires, [at.outputPrefix, at.metadata]);
  return found && { outputPrefix: textOf(found[0]), taskExecutionMetadata: found[1] ?? null };
}

/** The embedded messages of a create request that are left encoded. */
export const RAW_CREATE_FIELDS = ['template', 'taskExecutionMetadata'] as const;

/** A decoded flyteidl2.core.Connection; Flyte 1 has none. Throws REQUEST_TOO_LARGE. */
export function connectionOf(connection: Message | null | undefined, limits: FieldLimits): ConnectionInfo | undefined {
  if (connection === null || connection === undefined) return undefined;
  const info = { secrets: mapOf(connection.secrets), configs: mapOf(connection.configs) };
  return assertConnection('connection', info, limits);
}

/** Translates what an engine sends to start a task. Template and inputs stay the bytes they came as. */
export class CreateReader {
  readonly #dialect: Dialect;
  readonly #limits: FieldLimits;
  readonly #metadata: Codec;

  constructor(dialect: Dialect, limits: FieldLimits) {
    this.#dialect = dialect;
    this.#limits = limits;
    this.#metadata = dialect.codec('TaskExecutionMetadata');
  }

  /** The partition that `read` leads to. Throws what `read` throws of these fields; undefined for a prefix that it refuses. */
  partition({ outputPrefix, taskExecutionMetadata }: NamingFields): number | undefined {
    if (outputPrefix === '') return undefined;
    const id = taskExecutionIdOf(this.#readMetadata(taskExecutionMetadata)?.taskExecutionId);
    return partitionOfAttempt(flyteAttempt(outputPrefix, id), flyteNode(outputPrefix, id));
  }

  /** Throws REQUEST_UNDECODABLE, REQUEST_FIELD_INVALID or REQUEST_TOO_LARGE. */
  read(fields: CreateFields, inputs: Buffer | undefined): TaskSpec {
    const { template, outputPrefix } = fields;
    const { taskType, taskTypeVersion, outputNames } = readTemplate(
      this.#dialect.idl,
      template,
      'template',
      this.#limits,
      this.#dialect.templateType,
    );
    assertText('output_prefix', outputPrefix, this.#limits.uriBytes);
    if (outputPrefix === '') {
      throw fieldInvalid('output_prefix', 'is empty; it identifies the attempt, together with the task execution id');
    }
    // Megabytes of literals are not decoded here; that they are a map of names is seen without.
    if (inputs !== undefined) readLiteralNames(inputs);
    const metadata = this.#readMetadata(fields.taskExecutionMetadata);
    const id = taskExecutionIdOf(metadata?.taskExecutionId);
    const attempt = flyteAttempt(outputPrefix, id);
    const execution = executionMetadataOf(metadata, '', attempt);
    assertExecution('task_execution_metadata', execution, this.#limits);
    return {
      taskType,
      taskTypeVersion,
      outputNames,
      attempt,
      node: flyteNode(outputPrefix, id),
      template: template!,
      inputs,
      inputPrefix: '',
      outputPrefix,
      metadata: execution,
      maxDatasetSizeBytes: nonNegative('max_dataset_size_bytes', fields.maxDatasetSizeBytes),
      connection: connectionOf(fields.connection, this.#limits),
    };
  }

  #readMetadata(bytes: Buffer | null): Message | null {
    if (bytes === null) return null;
    assertSize('task_execution_metadata', bytes.length, this.#limits.metadataBytes);
    const metadata = this.#metadata.decode(bytes);
    for (const name of ['labels', 'annotations', 'environmentVariables']) metadata[name] = mapOf(metadata[name]);
    return metadata;
  }
}
