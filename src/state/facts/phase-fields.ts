import type { JsonObject } from '../../lib/json.js';
import { compactState, type Outputs, type PhaseState } from '../../model/phase-state.js';
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

const smalls = new WeakMap<PhaseState, SmallState>();
const wholes = new WeakMap<SmallState, PhaseState>();

/** Undefined where the outputs are needed and are not there. */
export function wholeState(small: SmallState, inline: InlineOutputs | undefined): PhaseState | undefined {
  const known = wholes.get(small);
  if (known !== undefined) return known;
  const whole = wholeOf(small, inline);
  if (whole !== undefined && small.outputs !== 'inline' && Object.isFrozen(small)) wholes.set(small, whole);
  return whole;
}

function wholeOf(small: SmallState, inline: InlineOutputs | undefined): PhaseState | undefined {
  const outputs = outputsOf(small.outputs, inline);
  if (outputs === undefined) return undefined;
  return compactState({
    phase: small.phase,
    reason: small.reason,
    error: small.error,
    logs: small.logs,
    customInfo: small.customInfo,
    externalResources: small.externalResources,
    outputs,
    remotePhase: small.remotePhase,
    version: small.version,
    nextPollAfterMs: small.nextPollAfterMs,
  });
}

function outputsOf(kind: SmallState['outputs'], inline: InlineOutputs | undefined): Outputs | undefined {
  if (kind !== 'inline') return { kind };
  return inline && { kind, ...inline };
}

/** Of a state that many tasks share there is one for all of them as well. */
export function smallOf(state: PhaseState): SmallState {
  const known = smalls.get(state);
  if (known !== undefined) return known;
  const small = { ...state, outputs: state.outputs.kind };
  if (Object.isFrozen(state)) smalls.set(state, Object.freeze(small));
  return small;
}
