import type { TaskIdentity } from '../../model/handle.js';
import {
  type FailingReads,
  type NodeAttempt,
  type ReadFailure,
  TASK_STAGES,
  type TaskPayload,
  type TaskStage,
} from '../../model/task-record.js';
import type { TaskExecutionId, TaskExecutionMetadata, TaskIdentifier } from '../../plugin-api/contexts.js';
import type { ResourceConstraints, ResourceRequirements } from '../../plugin-api/plugin.js';
import {
  bytes,
  type Field,
  flag,
  oneOf,
  optional,
  optionalList,
  real,
  record,
  text,
  texts,
  unless,
  whole,
} from './fields.js';
import { type SmallState, smallState } from './phase-fields.js';

/**
 * What is known of a task, without its template, inputs and outputs. Times are epoch milliseconds, for show and for the
 * age of a task; no grace that ends or cancels anything is measured by them.
 */
export interface TaskFact {
  readonly identity: TaskIdentity;
  readonly stage: TaskStage;
  /** Place among the accepted: recovery goes on in this order. */
  readonly order: number;
  readonly meta: Buffer | undefined;
  readonly outputPrefix: string;
  readonly node: NodeAttempt | undefined;
  readonly requirements: ResourceRequirements | undefined;
  /** A create call may have left the daemon, and may reach the remote for so long after its send; milliseconds. */
  readonly sentBoundMs: number | undefined;
  readonly createFailingForMs: number;
  readonly waitedForMs: number;
  readonly state: SmallState;
  readonly phaseVersion: number;
  readonly observedAtMs: number | undefined;
  readonly lastFailure: ReadFailure | undefined;
  readonly failing: FailingReads | undefined;
  readonly answeredHandle: Buffer | undefined;
  readonly liveSinceMs: number;
  readonly lastAskedAtMs: number;
  readonly confirmed: boolean;
  readonly undeliveredAtMs: number | undefined;
  /** How much of the grace of an undelivered create has passed, over restarts. Milliseconds. */
  readonly undeliveredForMs: number;
  readonly adopted: boolean;
  readonly deleted: boolean;
  /** An answer to its create is known to have arrived. */
  readonly delivered: boolean;
  /** Why a task is to be cancelled that was deleted while its create was under way. */
  readonly cancelling: string | undefined;
  /** Secrets came with its calls: they are not kept, and until they come again nothing can be done that needs them. */
  readonly hadConnection: boolean;
}

export const identity: Field<TaskIdentity> = record<TaskIdentity>({
  plugin: text,
  taskType: text,
  taskTypeVersion: unless(0, whole),
  key: text,
  incarnation: unless(1, whole),
  project: text,
  domain: text,
  namespace: text,
  quotaNamespace: unless('', text),
  createdAtMs: whole,
  outputNames: optionalList(text),
});

export const nodeAttempt: Field<NodeAttempt> = record<NodeAttempt>({ nodeKey: text, attempt: real });

export const readFailure: Field<ReadFailure> = record<ReadFailure>({ message: text, code: text });

export const failingReads: Field<FailingReads> = record<FailingReads>({
  failures: unless(0, whole),
  failingForMs: unless(0, real),
  notFound: unless(0, whole),
  notFoundForMs: unless(0, real),
  frozenForMs: optional(real),
  unwrittenForMs: optional(real),
});

export const requirements: Field<ResourceRequirements> = record<ResourceRequirements>({
  namespace: text,
  constraints: optional(record<ResourceConstraints>({ project: optional(real), namespace: optional(real) })),
});

/** As releases before the list (`task-row`) wrote it. */
export const taskFact: Field<TaskFact> = record<TaskFact>({
  identity,
  stage: oneOf(TASK_STAGES),
  order: unless(0, whole),
  meta: optional(bytes),
  outputPrefix: unless('', text),
  node: optional(nodeAttempt),
  requirements: optional(requirements),
  sentBoundMs: optional(real),
  createFailingForMs: unless(0, real),
  waitedForMs: unless(0, real),
  state: smallState,
  phaseVersion: unless(0, whole),
  observedAtMs: optional(real),
  lastFailure: optional(readFailure),
  failing: optional(failingReads),
  answeredHandle: optional(bytes),
  liveSinceMs: real,
  lastAskedAtMs: real,
  confirmed: unless(false, flag),
  undeliveredAtMs: optional(real),
  undeliveredForMs: unless(0, real),
  adopted: unless(false, flag),
  deleted: unless(false, flag),
  delivered: unless(false, flag),
  cancelling: optional(text),
  hadConnection: unless(false, flag),
});

const metadata: Field<TaskExecutionMetadata> = record<TaskExecutionMetadata>({
  generatedName: text,
  taskExecutionId: record<TaskExecutionId>({
    task: record<TaskIdentifier>({ project: text, domain: text, name: text, version: text }),
    project: text,
    domain: text,
    execution: text,
    nodeId: text,
    retryAttempt: real,
  }),
  namespace: text,
  labels: texts,
  annotations: texts,
  serviceAccount: text,
  environmentVariables: texts,
  maxAttempts: real,
  interruptible: flag,
});

export const taskPayload: Field<TaskPayload> = record<TaskPayload>({
  template: bytes,
  inputs: optional(bytes),
  inputPrefix: unless('', text),
  metadata,
  maxDatasetSizeBytes: unless(0, real),
});
