import type { Codec, Message } from '../../idl/codec.js';
import type { Idl } from '../../idl/idl.js';
import { readLiteralNames } from '../../idl/literal-map.js';
import type { AttemptIdentity } from '../../model/attempt-key.js';
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
import { peekFields, textOf, wiresOf } from '../peek-fields.js';
import { executionMetadataOf, flyteAttempt, flyteNode, taskExecutionIdOf } from '../task-metadata.js';

const SPEC = wiresOf('-LLLLLLVL');
/** Of TaskSpec. */
const GENERATED_NAME = 1;
const OUTPUT_PREFIX = 5;
const METADATA = 6;

/** The embedded messages of a TaskSpec that are left encoded. */
const RAW_SPEC_FIELDS = ['template', 'inputs', 'metadata'] as const;

/** What of a TaskSpec says which attempt it is of. */
interface Naming {
  readonly generatedName: string;
  readonly outputPrefix: string;
  readonly metadata: Buffer | null;
}

/** A decoded pluginhost.v1.Connection. Throws REQUEST_TOO_LARGE. */
export function connectionOf(
  field: string,
  connection: Message | null | undefined,
  limits: FieldLimits,
): ConnectionInfo | undefined {
  if (connection === null || connection === undefined) return undefined;
  return assertConnection(field, { secrets: connection.secrets, configs: connection.configs }, limits);
}

/** Translates pluginhost.v1.TaskSpec. Template and inputs stay the bytes they came as. */
export class TaskSpecReader {
  readonly #idl: Idl;
  readonly #limits: FieldLimits;
  readonly #codec: Codec;
  readonly #metadata: Codec;

  constructor(idl: Idl, limits: FieldLimits) {
    this.#idl = idl;
    this.#limits = limits;
    this.#codec = idl.codec('pluginhost.v1.TaskSpec');
    this.#metadata = idl.codec('flyteidl.admin.TaskExecutionMetadata');
  }

  /** The partition that `read` leads to, without its template, its inputs and the like. Throws what `read` throws of the rest. */
  partition(bytes: Buffer): number {
    const { generatedName, outputPrefix, metadata: encoded } = this.#naming(bytes);
    assertSize('task.metadata', encoded?.length ?? 0, this.#limits.metadataBytes);
    const metadata = encoded === null || generatedName !== '' ? null : this.#metadata.decode(encoded);
    const spec = { generatedName, outputPrefix };
    return partitionOfAttempt(attemptOf(spec, metadata), nodeOf(spec, metadata));
  }

  #naming(bytes: Buffer): Naming {
    const found = peekFields(bytes, SPEC, [GENERATED_NAME, OUTPUT_PREFIX, METADATA]);
    if (found === undefined) return this.#codec.decode(bytes, { raw: RAW_SPEC_FIELDS }) as Naming;
    const [name, prefix, metadata] = found;
    return { generatedName: textOf(name), outputPrefix: textOf(prefix), metadata: metadata ?? null };
  }

  /** Throws REQUEST_UNDECODABLE, REQUEST_FIELD_INVALID or REQUEST_TOO_LARGE. */
  read(bytes: Buffer | null): TaskSpec {
    if (bytes === null) throw fieldInvalid('task', 'is not set; send the task to start');
    const spec = this.#codec.decode(bytes, { raw: RAW_SPEC_FIELDS });
    const { taskType, taskTypeVersion, outputNames } = readTemplate(
      this.#idl,
      spec.template,
      'task.template',
      this.#limits,
    );
    assertText('task.generated_name', spec.generatedName, this.#limits.nameBytes);
    assertText('task.output_prefix', spec.outputPrefix, this.#limits.uriBytes);
    assertText('task.input_prefix', spec.inputPrefix, this.#limits.uriBytes);
    const inputs = (spec.inputs as Buffer | null) ?? undefined;
    // Megabytes of literals are not decoded here; that they are a map of names is seen without.
    if (inputs !== undefined) readLiteralNames(inputs);
    assertSize('task.metadata', (spec.metadata as Buffer | null)?.length ?? 0, this.#limits.metadataBytes);
    const metadata = spec.metadata === null ? null : this.#metadata.decode(spec.metadata);
    const attempt = attemptOf(spec, metadata);
    const execution = executionMetadataOf(metadata, spec.generatedName, attempt);
    assertExecution('task.metadata', execution, this.#limits);
    // Field by field: a spread with many more fields behind it takes ten times as long.
    return {
      taskType,
      taskTypeVersion,
      outputNames,
      attempt,
      node: nodeOf(spec, metadata),
      template: spec.template,
      inputs,
      inputPrefix: spec.inputPrefix,
      outputPrefix: spec.outputPrefix,
      metadata: execution,
      maxDatasetSizeBytes: nonNegative('task.max_dataset_size_bytes', spec.maxDatasetSizeBytes),
      connection: connectionOf('task.connection', spec.connection, this.#limits),
    };
  }
}

function attemptOf(spec: Message, metadata: Message | null): AttemptIdentity {
  if (spec.generatedName !== '') return { name: spec.generatedName, executionId: '' };
  const id = metadata?.taskExecutionId as Message | null | undefined;
  if (spec.outputPrefix !== '' && id) return flyteAttempt(spec.outputPrefix, taskExecutionIdOf(id));
  throw fieldInvalid(
    'task.generated_name',
    'nothing identifies the attempt; set generated_name, or output_prefix together with metadata.task_execution_id',
  );
}

/** Only an attempt identified the Flyte way is known to lie below its node's prefix. */
function nodeOf(spec: Message, metadata: Message | null): TaskSpec['node'] {
  if (spec.generatedName !== '' || !metadata?.taskExecutionId) return undefined;
  return flyteNode(spec.outputPrefix, taskExecutionIdOf(metadata.taskExecutionId));
}
