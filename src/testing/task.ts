import { makeLiteralCodec } from '../data/literal-codec.js';
import { loadFlyteidlCore } from '../idl/load-core.js';
import { structFromJson } from '../idl/struct.js';
import type { JsonObject } from '../lib/json.js';
import type { CreateArgs } from '../model/plugin-call.js';
import type { TaskExecutionMetadata } from '../plugin-api/contexts.js';
import type { LiteralInput, LiteralValue } from '../plugin-api/literals.js';

/** A task as a test describes it. Everything but `type` may be left out. */
export interface TestTask {
  readonly type: string;
  readonly taskTypeVersion?: number;
  /** The plugin-specific configuration. */
  readonly custom?: JsonObject;
  readonly config?: Readonly<Record<string, string>>;
  readonly inputs?: Readonly<Record<string, LiteralInput>>;
  /** Declared outputs by name; a simple type each, such as INTEGER or STRING. */
  readonly outputs?: Readonly<Record<string, string>>;
  readonly container?: {
    readonly image: string;
    readonly command?: readonly string[];
    readonly args?: readonly string[];
  };
  readonly outputPrefix?: string;
  readonly metadata?: Partial<TaskExecutionMetadata>;
  readonly connection?: CreateArgs['connection'];
  readonly idempotencyKey?: string;
}

const EXECUTION: TaskExecutionMetadata = {
  generatedName: 'test-attempt',
  taskExecutionId: {
    task: { project: 'project', domain: 'domain', name: 'task', version: 'v1' },
    project: 'project',
    domain: 'domain',
    execution: 'execution',
    nodeId: 'n0',
    retryAttempt: 0,
  },
  namespace: 'project-domain',
  labels: {},
  annotations: {},
  serviceAccount: '',
  environmentVariables: {},
  maxAttempts: 0,
  interruptible: false,
};

const idl = loadFlyteidlCore();
const codec = makeLiteralCodec(idl);

/** The arguments of a create or do call for this task. Throws ENCODE_INVALID or LITERAL_UNCONVERTIBLE. */
export function createArgsOf(task: TestTask): CreateArgs {
  const { type, taskTypeVersion = 0, custom = {}, config = {}, inputs = {}, outputs = {}, container } = task;
  const variables = Object.fromEntries(Object.entries(outputs).map(([name, simple]) => [name, { type: { simple } }]));
  const template = idl.codec('flyteidl.core.TaskTemplate').encode({
    type,
    taskTypeVersion,
    custom: structFromJson(custom),
    config,
    interface: { outputs: { variables } },
    ...(container === undefined ? {} : { container }),
  });
  return {
    template,
    inputs: codec.writeMap(inputs),
    inputPrefix: '',
    outputPrefix: task.outputPrefix ?? 's3://test/outputs',
    metadata: { ...EXECUTION, ...task.metadata },
    maxDatasetSizeBytes: 0,
    idempotencyKey: task.idempotencyKey ?? 'test-key-1',
    connection: task.connection,
  };
}

/** The values of an encoded LiteralMap, such as a state's inline outputs. */
export function readLiteralMap(map: Uint8Array): Record<string, LiteralValue> {
  return codec.readMap(map);
}
