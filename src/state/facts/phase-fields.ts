import type { JsonObject } from '../../lib/json.js';
import type { PhaseState } from '../../model/phase-state.js';
import { type ExecutionError, type ExternalResource, PHASES, type TaskLog } from '../../plugin-api/phase.js';
import {
  bytes,
  type Field,
  flag,
  jsonObject,
  list,
  oneOf,
  optional,
  optionalList,
  real,
  record,
  text,
  unless,
} from './fields.js';

const phase = oneOf(PHASES);

const executionError: Field<ExecutionError> = record<ExecutionError>({
  code: text,
  message: text,
  kind: oneOf(['USER', 'SYSTEM']),
});

const taskLog: Field<TaskLog> = record<TaskLog>({
  uri: text,
  name: optional(text),
  messageFormat: optional(oneOf(['UNKNOWN', 'CSV', 'JSON'])),
  ttlMs: optional(real),
  showWhilePending: optional(flag),
  hideOnceFinished: optional(flag),
});

const externalResource: Field<ExternalResource> = record<ExternalResource>({
  externalId: text,
  index: optional(real),
  retryAttempt: optional(real),
  phase: optional(phase),
  logs: optionalList(taskLog),
  customInfo: optional(jsonObject),
});

/** A state without the bytes of its outputs, which are a fact of their own. */
export type SmallState = Omit<PhaseState, 'outputs'> & { readonly outputs: 'none' | 'inline' | 'prefix' };

export const smallState: Field<SmallState> = record<SmallState>({
  phase,
  reason: unless('', text),
  error: optional(executionError),
  logs: list(taskLog),
  customInfo: optional<JsonObject>(jsonObject),
  externalResources: list(externalResource),
  outputs: unless<'none' | 'inline' | 'prefix'>('none', oneOf(['none', 'inline', 'prefix'])),
  remotePhase: unless('', text),
  version: unless(0, real),
  nextPollAfterMs: optional(real),
});

/** Outputs that an answer carries: an encoded LiteralMap and its names. */
export interface InlineOutputs {
  readonly literalMap: Buffer;
  readonly names: readonly string[];
}

export const inlineOutputs: Field<InlineOutputs> = record<InlineOutputs>({ literalMap: bytes, names: list(text) });

/** Undefined where the outputs are needed and are not there. */
export function wholeState(small: SmallState, inline: InlineOutputs | undefined): PhaseState | undefined {
  const { error, customInfo, nextPollAfterMs } = small;
  const rest = { ...small, error, customInfo, nextPollAfterMs };
  if (small.outputs !== 'inline') return { ...rest, outputs: { kind: small.outputs } };
  return inline === undefined ? undefined : { ...rest, outputs: { kind: 'inline', ...inline } };
}

export function smallOf(state: PhaseState): SmallState {
  return { ...state, outputs: state.outputs.kind };
}
