import type { JsonObject } from '../lib/json.js';
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
const NO_OUTPUTS: Outputs = Object.freeze({ kind: 'none' });

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

/** The same state with what is empty in it shared by all: half a million of them may be kept. */
export function compactState(state: PhaseState): PhaseState {
  return {
    ...state,
    phase: PHASE_NAMES.get(state.phase) ?? state.phase,
    logs: state.logs.length === 0 ? NONE : state.logs,
    externalResources: state.externalResources.length === 0 ? NONE : state.externalResources,
    outputs: state.outputs.kind === 'none' ? NO_OUTPUTS : state.outputs,
  };
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
