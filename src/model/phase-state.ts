import type { JsonObject } from '../lib/json.js';
import { ownBytes } from '../lib/own-bytes.js';
import type { ExecutionError, ExternalResource, Phase, TaskLog } from '../plugin-api/phase.js';

/**
 * Where the outputs of a task are. `inline` holds an encoded flyteidl.core.LiteralMap and its names; `prefix` says that
 * outputs.pb lies at the output prefix. The two must never be mixed up: an empty inline map makes an engine overwrite
 * the file.
 */
export type Outputs =
  | { readonly kind: 'none' }
  | { readonly kind: 'inline'; readonly literalMap: Buffer; readonly names: readonly string[] }
  | { readonly kind: 'prefix' };

/** A plugin's PhaseInfo as plain data of the daemon: defaults filled in, outputs encoded. */
export interface PhaseState {
  readonly phase: Phase;
  readonly reason: string;
  readonly error: ExecutionError | undefined;
  readonly logs: readonly TaskLog[];
  readonly customInfo: JsonObject | undefined;
  readonly externalResources: readonly ExternalResource[];
  readonly outputs: Outputs;
  readonly remotePhase: string;
  /** The plugin's own version within the phase. */
  readonly version: number;
  readonly nextPollAfterMs: number | undefined;
}

const NONE: readonly never[] = Object.freeze([]);
export const NO_OUTPUTS: Outputs = Object.freeze({ kind: 'none' });

/** A PhaseState from its parts, everything absent filled with its neutral value. */
export function phaseState(phase: Phase, parts: Partial<Omit<PhaseState, 'phase'>> = {}): PhaseState {
  return {
    phase,
    reason: '',
    error: undefined,
    logs: NONE,
    customInfo: undefined,
    externalResources: NONE,
    outputs: NO_OUTPUTS,
    remotePhase: '',
    version: 0,
    nextPollAfterMs: undefined,
    ...parts,
  };
}

/** When so many were seen they are forgotten, each kept by its own tasks. */
const MAX_KEPT = 4_096;
/** A longer reason is hardly that of another task as well. */
const MAX_KEPT_REASON = 256;

const kept = new Map<string, PhaseState>();

/**
 * The same state in little room, since half a million of them may be kept: what is empty in it is shared by all, and one that
 * says no more than phase, reason and remote phase is one object for all tasks of which that was told lately.
 */
export function compactState(state: PhaseState): PhaseState {
  const compact = {
    ...state,
    phase: PHASE_NAMES.get(state.phase) ?? state.phase,
    logs: state.logs.length === 0 ? NONE : state.logs,
    externalResources: state.externalResources.length === 0 ? NONE : state.externalResources,
    outputs: keptOutputs(state.outputs),
  };
  const shareable = isPlainState(compact) && compact.reason.length <= MAX_KEPT_REASON;
  return shareable ? sharedState(compact) : compact;
}

function keptOutputs(outputs: PhaseState['outputs']): PhaseState['outputs'] {
  if (outputs.kind === 'none') return NO_OUTPUTS;
  if (outputs.kind !== 'inline') return outputs;
  const literalMap = ownBytes(outputs.literalMap);
  return literalMap === outputs.literalMap ? outputs : { ...outputs, literalMap };
}

/** Whether a state says no more than phase, reason, remote phase, version and pace. */
export function isPlainState({ error, logs, customInfo, externalResources, outputs }: PhaseState): boolean {
  if (error !== undefined || customInfo !== undefined || outputs.kind !== 'none') return false;
  return logs.length === 0 && externalResources.length === 0;
}

function sharedState(state: PhaseState): PhaseState {
  const { phase, version, nextPollAfterMs, remotePhase, reason } = state;
  const text = JSON.stringify([phase, version, nextPollAfterMs, remotePhase, reason]);
  const known = kept.get(text);
  if (known !== undefined) return known;
  if (kept.size >= MAX_KEPT) kept.clear();
  kept.set(text, Object.freeze(state));
  return state;
}

/**
 * Order of the phases within one attempt (rule 7: never backwards). Equal ranks may change into each other; a terminal
 * phase changes into nothing.
 */
const RANK: Readonly<Record<Phase, number>> = {
  UNDEFINED: 0,
  NOT_READY: 1,
  WAITING_FOR_RESOURCES: 2,
  WAITING_FOR_CACHE: 2,
  QUEUED: 3,
  INITIALIZING: 4,
  RUNNING: 5,
  SUCCESS: 6,
  RETRYABLE_FAILURE: 6,
  PERMANENT_FAILURE: 6,
  ABORTED: 6,
};

/** A phase that came over the channel is a text of its own. */
const PHASE_NAMES: ReadonlyMap<string, Phase> = new Map((Object.keys(RANK) as Phase[]).map((phase) => [phase, phase]));

export function phaseRank(phase: Phase): number {
  return RANK[phase];
}
