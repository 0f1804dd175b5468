import type { JsonObject } from '../lib/json.js';
import type { LiteralInput } from './data.js';
import type { FaultKind } from './errors.js';

/** The phases of a plugin, with the field's names and in the field's order (flyteplugins `core.Phase`). */
export const PHASES = [
  'UNDEFINED',
  'NOT_READY',
  'WAITING_FOR_RESOURCES',
  'QUEUED',
  'INITIALIZING',
  'RUNNING',
  'SUCCESS',
  'RETRYABLE_FAILURE',
  'PERMANENT_FAILURE',
  'WAITING_FOR_CACHE',
  'ABORTED',
] as const;

export type Phase = (typeof PHASES)[number];

/** Why a task failed. */
export interface ExecutionError {
  /** A short stable code, such as `OutOfMemory`. */
  readonly code: string;
  readonly message: string;
  readonly kind: FaultKind;
}

/** A link to the logs of a task (flyteidl.core.TaskLog). */
export interface TaskLog {
  readonly uri: string;
  readonly name?: string;
  readonly messageFormat?: 'UNKNOWN' | 'CSV' | 'JSON';
  /** How long the link stays valid, in milliseconds. */
  readonly ttlMs?: number;
  readonly showWhilePending?: boolean;
  readonly hideOnceFinished?: boolean;
}

/** A part of the task that the remote runs under an id of its own (an array element, a stage). */
export interface ExternalResource {
  readonly externalId: string;
  readonly index?: number;
  readonly retryAttempt?: number;
  readonly phase?: Phase;
  readonly logs?: readonly TaskLog[];
  readonly customInfo?: JsonObject;
}

/** Outputs given inline: values by output name; the host turns them into literals. */
export type OutputValues = Readonly<Record<string, LiteralInput>>;

export interface PhaseInfoOptions {
  /** Why the task is in this phase, for a person. */
  readonly reason?: string;
  readonly logs?: readonly TaskLog[];
  /** Plain JSON, at most 256 KiB of it and 30 levels deep; more is an invalid answer. */
  readonly customInfo?: JsonObject;
  readonly externalResources?: readonly ExternalResource[];
  /** The state in the remote's own words, shown beside the phase. */
  readonly remotePhase?: string;
  /** Version within the phase; raise it when something visible changed that the host cannot see. 0 unless given. */
  readonly version?: number;
  /** Do not read this task again before this many milliseconds; the plugin paces itself. */
  readonly nextPollAfterMs?: number;
}

const BRAND = Symbol.for('webapi-plugin-host.PhaseInfo');

/** A phase with all that is known about it. Made by the constructors below, frozen. */
export interface PhaseInfo extends PhaseInfoOptions {
  readonly phase: Phase;
  readonly error?: ExecutionError;
  /**
   * SUCCESS only. Values are sent inline; `at-prefix` says that outputs.pb lies at the output prefix (the output
   * writer put it there, or the job itself did); absent means the task declares no outputs or that the output writer
   * was used during this call.
   */
  readonly outputs?: OutputValues | 'at-prefix';
}

type Parts = Omit<PhaseInfo, 'phase'>;

function make(phase: Phase, parts: Parts): PhaseInfo {
  const info = { phase, ...parts };
  Object.defineProperty(info, BRAND, { value: true });
  return Object.freeze(info);
}

export function isPhaseInfo(value: unknown): value is PhaseInfo {
  if (typeof value !== 'object' || value === null) return false;
  try {
    return BRAND in value;
  } catch {
    // A proxy may throw at whatever is asked of it.
    return false;
  }
}

/** Options of a failure; `code` defaults to the phase's name. */
export interface FailureOptions extends PhaseInfoOptions {
  readonly code?: string;
  readonly kind?: FaultKind;
}

function failure(
  phase: 'RETRYABLE_FAILURE' | 'PERMANENT_FAILURE',
  message: string,
  options: FailureOptions,
): PhaseInfo {
  const { code = phase, kind = 'USER', ...rest } = options;
  return make(phase, { reason: message, ...rest, error: { code, message, kind } });
}

/** What `phases.from` makes of a state: the constructor of that name; `failure` is `permanentFailure`. */
export type PhaseWord = Exclude<keyof typeof made, 'permanentFailure'> | 'failure';

/** Phases by the remote's words for its states; `*` is for every other word. */
export type PhaseTable = { readonly [state: string]: PhaseWord };

export interface PhaseParts extends Omit<FailureOptions, 'code'> {
  /** Of a failure; the remote's null is no code. */
  readonly code?: string | null | undefined;
  /** Of a success. */
  readonly outputs?: OutputValues | 'at-prefix';
  /** Of a failure and a cancel; without one the remote's word is told. */
  readonly message?: string | null | undefined;
}

/** By the remote's word for a state. One that the table lacks is taken for a job that runs, and told. */
function fromWord(state: string, table: PhaseTable, parts: PhaseParts = {}): PhaseInfo {
  const { outputs, message, code, kind, ...options } = parts;
  const shown = { remotePhase: state, ...options };
  const word = Object.hasOwn(table, state) ? table[state] : Object.hasOwn(table, '*') ? table['*'] : undefined;
  const said = message ?? `the remote says ${state}`;
  const blame = { ...(code == null ? {} : { code }), ...(kind == null ? {} : { kind }) };
  switch (word) {
    case undefined:
      return made.running({ reason: `the remote says ${state}, which the plugin does not know`, ...shown });
    case 'success':
      return made.success(outputs, shown);
    case 'retryableFailure':
      return made.retryableFailure(said, { ...shown, ...blame });
    case 'failure':
      return made.permanentFailure(said, { ...shown, ...blame });
    case 'aborted':
      return made.aborted(said, shown);
    default:
      return made[word](message == null ? shown : { reason: message, ...shown });
  }
}

const made = {
  notReady: (options: PhaseInfoOptions = {}) => make('NOT_READY', options),
  waitingForResources: (options: PhaseInfoOptions = {}) => make('WAITING_FOR_RESOURCES', options),
  queued: (options: PhaseInfoOptions = {}) => make('QUEUED', options),
  initializing: (options: PhaseInfoOptions = {}) => make('INITIALIZING', options),
  running: (options: PhaseInfoOptions = {}) => make('RUNNING', options),
  waitingForCache: (options: PhaseInfoOptions = {}) => make('WAITING_FOR_CACHE', options),
  success: (outputs?: OutputValues | 'at-prefix', options: PhaseInfoOptions = {}) =>
    make('SUCCESS', outputs === undefined ? options : { ...options, outputs }),
  /** The attempt failed, another attempt may succeed (preemption, node failure, time-out of the platform). */
  retryableFailure: (message: string, options: FailureOptions = {}) => failure('RETRYABLE_FAILURE', message, options),
  /** The task failed for good; another attempt would fail the same way. */
  permanentFailure: (message: string, options: FailureOptions = {}) => failure('PERMANENT_FAILURE', message, options),
  /** Somebody cancelled the job at the remote. */
  aborted: (reason: string, options: PhaseInfoOptions = {}) => make('ABORTED', { ...options, reason }),
} as const;

/** Constructors of PhaseInfo, one a phase that a plugin may report, and one by the remote's words. */
export const phases = { ...made, from: fromWord } as const;

const TERMINAL: ReadonlySet<Phase> = new Set(['SUCCESS', 'RETRYABLE_FAILURE', 'PERMANENT_FAILURE', 'ABORTED']);

/** Whether a task in this phase is over. */
export function isTerminal(phase: Phase): boolean {
  return TERMINAL.has(phase);
}
