import { isDeepStrictEqual } from 'node:util';
import { isPlainState, type PhaseState, phaseRank } from '../model/phase-state.js';
import { isTerminal } from '../plugin-api/phase.js';

/** What a newly read state makes of the one before. */
export interface Transition {
  readonly state: PhaseState;
  /** Whether anything a caller can see changed. */
  readonly changed: boolean;
}

/**
 * Rule 7 in one place. A terminal phase stays as it is. A lower phase than before keeps the higher one, with the lower
 * one's facts: a remote that requeues a job must not make the engine believe that the task went back.
 */
export function nextState(current: PhaseState, read: PhaseState): Transition {
  if (isTerminal(current.phase)) return { state: current, changed: false };
  const next = phaseRank(read.phase) < phaseRank(current.phase) ? heldBack(current, read) : read;
  return { state: next, changed: visiblyDiffers(current, next) };
}

function heldBack(current: PhaseState, read: PhaseState): PhaseState {
  const why = read.reason === '' ? '' : `: ${read.reason}`;
  return {
    ...read,
    phase: current.phase,
    reason: `the remote put the job back to ${read.phase}${why}`,
    logs: read.logs.length > 0 ? read.logs : current.logs,
    remotePhase: read.remotePhase === '' ? read.phase : read.remotePhase,
  };
}

/** Field by field, since it is asked of every read. Pacing is between plugin and daemon; no caller sees it. */
function visiblyDiffers(a: PhaseState, b: PhaseState): boolean {
  if (a === b) return false;
  if (a.phase !== b.phase || a.reason !== b.reason) return true;
  if (a.remotePhase !== b.remotePhase || a.version !== b.version) return true;
  if (isPlainState(a) && isPlainState(b)) return false;
  return DEEP.some((field) => differs(a[field], b[field]));
}

const DEEP = ['error', 'logs', 'customInfo', 'externalResources', 'outputs'] as const;

function differs(a: unknown, b: unknown): boolean {
  return a !== b && !isDeepStrictEqual(a, b);
}
