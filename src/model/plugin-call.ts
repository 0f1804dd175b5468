import type { ConnectionInfo, TaskExecutionMetadata } from '../plugin-api/contexts.js';
import type { FaultKind } from '../plugin-api/errors.js';
import type { LogLine, MetricSeries, ResourceRequirements } from '../plugin-api/plugin.js';
import type { PhaseState } from './phase-state.js';

/** Everything `create` and `do` need, as plain data. */
export interface CreateArgs {
  /** flyteidl.core.TaskTemplate. */
  readonly template: Buffer;
  /** flyteidl.core.LiteralMap; undefined means `inputs.pb` under `inputPrefix`, if that is set, else no inputs. */
  readonly inputs: Buffer | undefined;
  readonly inputPrefix: string;
  readonly outputPrefix: string;
  readonly metadata: TaskExecutionMetadata;
  readonly maxDatasetSizeBytes: number;
  readonly idempotencyKey: string;
  readonly connection: ConnectionInfo | undefined;
}

/** Everything a call about an existing resource needs. */
export interface ResourceArgs {
  /** The resource meta as `create` encoded it. */
  readonly meta: Buffer;
  readonly outputPrefix: string;
  /** Names of the declared outputs; undefined where they are not known. */
  readonly outputNames?: readonly string[] | undefined;
  readonly idempotencyKey: string;
  readonly connection: ConnectionInfo | undefined;
}

export interface DeleteArgs extends ResourceArgs {
  readonly reason: string;
}

export interface LogsArgs extends ResourceArgs {
  readonly lines: number;
  readonly token: string;
}

export interface MetricsArgs extends ResourceArgs {
  readonly queries: readonly string[];
  readonly startTimeMs: number | undefined;
  readonly endTimeMs: number | undefined;
  readonly stepMs: number | undefined;
}

export interface RequirementsArgs {
  readonly template: Buffer;
  readonly metadata: TaskExecutionMetadata;
}

export interface CreateAnswer {
  readonly meta: Buffer;
  /** Present if create told the state as well. */
  readonly state: PhaseState | undefined;
  /** The plugin found the job under the idempotency key instead of making it. */
  readonly existing: boolean;
}

/** The methods of a plugin as the daemon calls them, with what goes in and what comes out. */
export interface PluginMethods {
  resourceRequirements: { args: RequirementsArgs; answer: ResourceRequirements };
  create: { args: CreateArgs; answer: CreateAnswer };
  get: { args: ResourceArgs; answer: PhaseState };
  /** One outcome per item, in order; the batch as a whole fails only when the call itself fails. */
  getMany: { args: { readonly items: readonly ResourceArgs[] }; answer: readonly PluginOutcome<PhaseState>[] };
  delete: { args: DeleteArgs; answer: Record<string, never> };
  do: { args: CreateArgs; answer: PhaseState };
  getLogs: { args: LogsArgs; answer: { readonly lines: readonly LogLine[]; readonly token: string } };
  getMetrics: { args: MetricsArgs; answer: { readonly series: readonly MetricSeries[] } };
  /** Translates a foreign resource meta; `meta` is undefined when the plugin does not know it. */
  adoptMeta: {
    args: { readonly foreign: Buffer; readonly taskType: string };
    answer: { readonly meta: Buffer | undefined };
  };
  /** The batch keys of these metas, in order; pure, no token. Called once per resource. */
  batchKeys: { args: { readonly metas: readonly Buffer[] }; answer: { readonly keys: readonly string[] } };
}

export type PluginMethod = keyof PluginMethods;

/**
 * How a call failed. The first five are what the plugin threw; `deadline` and `process_died` are what the daemon saw;
 * `invalid` is an answer outside the contract; `not_admitted` never reached the plugin; `cancelled` was given up by
 * whoever asked.
 */
export const FAILURE_KINDS = [
  'throttled',
  'transient',
  'permanent',
  'not_found',
  'unknown',
  'deadline',
  'process_died',
  'invalid',
  'not_admitted',
  'cancelled',
] as const;

export type FailureKind = (typeof FAILURE_KINDS)[number];

export interface PluginFailure {
  readonly kind: FailureKind;
  readonly message: string;
  /** The plugin's own code, or one of the catalogue. */
  readonly code: string;
  /** Whose fault; set for `permanent`, SYSTEM otherwise. */
  readonly faultKind: FaultKind;
  readonly retryAfterMs: number | undefined;
  /** Set where the remote cannot have made anything, although the call was sent. */
  readonly notCreated?: boolean;
}

export type PluginOutcome<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly failure: PluginFailure };

/**
 * For calls that wait in the daemon and not in a caller: they keep their place in the line until they are sent or their signal
 * takes them out. Whoever makes them bounds how many there are; the bound of the line does not.
 */
export const UNTIL_SENT = Number.POSITIVE_INFINITY;
