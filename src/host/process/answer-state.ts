import { literalMapProblem } from '../../data/literal-check.js';
import type { JsonObject, JsonValue } from '../../lib/json.js';
import { isWellFormed, wellFormed } from '../../lib/text.js';
import {
  CUT_MARK,
  MAX_CODE,
  MAX_CUSTOM_DEPTH,
  MAX_CUSTOM_INFO,
  MAX_DURATION_MS,
  MAX_EXTERNAL,
  MAX_EXTERNAL_TEXT,
  MAX_LOGS,
  MAX_LOGS_TEXT,
  MAX_TEXT,
  MAX_VERSION,
} from '../../model/answer-bounds.js';
import { bytes, type Fields, flag, list, object, oneOf, optional, text, within } from '../../model/answer-values.js';
import { NO_OUTPUTS, type Outputs, type PhaseState } from '../../model/phase-state.js';
import {
  type ExecutionError,
  type ExternalResource,
  PHASES,
  type Phase,
  type TaskLog,
} from '../../plugin-api/phase.js';

const FORMATS = ['UNKNOWN', 'CSV', 'JSON'] as const;
const FAILURES: ReadonlySet<Phase> = new Set(['RETRYABLE_FAILURE', 'PERMANENT_FAILURE', 'ABORTED']);
/** Masks are set into custom info after its size was looked at: ten characters for eight or more. */
const MOST_CUSTOM_INFO = 1.25 * MAX_CUSTOM_INFO;
const LONGEST_TEXT = MAX_TEXT + CUT_MARK;

/** Characters that a list may hold altogether; its JSON has more than are counted. */
class Room {
  #left: number;

  constructor(
    readonly what: string,
    most: number,
  ) {
    this.#left = most;
  }

  take(characters: number): void {
    this.#left -= characters;
    if (this.#left < 0) throw new Error(`${this.what} is too large`);
  }
}

/** A PhaseState of nothing but what an encoder of any dialect takes. Throws Error. */
export function stateOf(value: unknown): PhaseState {
  const state = object(value, 'the state');
  const phase = oneOf(state.phase, 'the phase of the state', PHASES);
  if (phase === 'UNDEFINED') throw new Error('the state has no known phase');
  return {
    phase,
    reason: text(state.reason, 'reason', LONGEST_TEXT),
    error: errorOf(state.error, phase),
    logs: logsOf(state.logs, 'logs', new Room('logs', MAX_LOGS_TEXT)),
    customInfo: state.customInfo === undefined ? undefined : plainJson(state.customInfo, 'customInfo'),
    externalResources: externalsOf(state.externalResources),
    outputs: outputsOf(object(state.outputs, 'outputs'), phase),
    remotePhase: text(state.remotePhase, 'remotePhase', LONGEST_TEXT),
    version: within(state.version, 'version', MAX_VERSION, true),
    nextPollAfterMs:
      state.nextPollAfterMs === undefined
        ? undefined
        : within(state.nextPollAfterMs, 'nextPollAfterMs', Number.MAX_SAFE_INTEGER, false),
  };
}

function errorOf(value: unknown, phase: Phase): ExecutionError | undefined {
  if (!FAILURES.has(phase)) {
    if (value !== undefined) throw new Error('there is an error in a phase that is no failure');
    return undefined;
  }
  if (value === undefined && phase === 'ABORTED') return undefined;
  const error = object(value, 'error');
  return {
    code: text(error.code, 'error.code', MAX_CODE),
    message: text(error.message, 'error.message', LONGEST_TEXT),
    kind: oneOf(error.kind, 'error.kind', ['USER', 'SYSTEM']),
  };
}

function logsOf(value: unknown, what: string, room: Room): readonly TaskLog[] {
  const logs = list(value, what, MAX_LOGS);
  return logs.length === 0 ? [] : Array.from(logs, (log) => logOf(log, room));
}

function logOf(value: unknown, room: Room): TaskLog {
  const log = object(value, 'a log');
  const taken: TaskLog = {
    uri: text(log.uri, 'the uri of a log'),
    ...optional(log, 'name', (name) => text(name, 'the name of a log')),
    ...optional(log, 'messageFormat', (format) => oneOf(format, 'the messageFormat of a log', FORMATS)),
    ...optional(log, 'ttlMs', (ms) => within(ms, 'the ttlMs of a log', MAX_DURATION_MS, false)),
    ...optional(log, 'showWhilePending', (on) => flag(on, 'showWhilePending of a log')),
    ...optional(log, 'hideOnceFinished', (on) => flag(on, 'hideOnceFinished of a log')),
  };
  room.take(taken.uri.length + (taken.name?.length ?? 0) + 10);
  return taken;
}

function externalsOf(value: unknown): readonly ExternalResource[] {
  const items = list(value, 'externalResources', MAX_EXTERNAL);
  if (items.length === 0) return [];
  const room = new Room('externalResources', MAX_EXTERNAL_TEXT);
  return Array.from(items, (item) => externalOf(object(item, 'an external resource'), room));
}

function externalOf(item: Fields, room: Room): ExternalResource {
  const count = (found: unknown) => within(found, 'a count of an external resource', MAX_VERSION, true);
  const taken: ExternalResource = {
    externalId: text(item.externalId, 'the id of an external resource'),
    ...optional(item, 'index', count),
    ...optional(item, 'retryAttempt', count),
    ...optional(item, 'phase', (phase) => oneOf(phase, 'the phase of an external resource', PHASES)),
    ...optional(item, 'logs', (logs) => logsOf(logs, 'logs of an external resource', room)),
    ...optional(item, 'customInfo', (info) => plainJson(info, 'customInfo of an external resource', room)),
  };
  room.take(taken.externalId.length + 16);
  return taken;
}

/** An object of JSON, no larger and no deeper than an engine can read it. */
function plainJson(value: unknown, what: string, room?: Room): JsonObject {
  const most = new Room(what, MOST_CUSTOM_INFO);
  let mend = false;
  const count = (found: string): void => {
    most.take(found.length + 1);
    room?.take(found.length + 1);
    mend ||= !isWellFormed(found);
  };
  const visit = (node: unknown, left: number): void => {
    if (isScalar(node)) {
      count(typeof node === 'string' ? node : '');
      return;
    }
    if (left === 0) throw new Error(`${what} is nested too deeply`);
    if (Array.isArray(node)) {
      for (const item of node) visit(item, left - 1);
      return;
    }
    for (const [key, item] of Object.entries(object(node, `a part of ${what}`))) {
      count(key);
      visit(item, left - 1);
    }
  };
  visit(object(value, what), MAX_CUSTOM_DEPTH);
  return (mend ? mended(value as JsonObject) : value) as JsonObject;
}

function isScalar(node: unknown): boolean {
  return node === null || typeof node === 'string' || typeof node === 'boolean' || Number.isFinite(node);
}

function mended(value: JsonValue): JsonValue {
  if (typeof value === 'string') return wellFormed(value);
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(mended);
  return Object.fromEntries(Object.entries(value).map(([key, item]) => [wellFormed(key), mended(item)]));
}

function outputsOf(outputs: Fields, phase: Phase): Outputs {
  const kind = oneOf(outputs.kind, 'the kind of the outputs', ['none', 'prefix', 'inline']);
  if (kind === 'none') return NO_OUTPUTS;
  if (phase !== 'SUCCESS') throw new Error(`outputs in phase ${phase}`);
  if (kind === 'prefix') return { kind };
  const names = Array.from(list(outputs.names, 'names of outputs'), (name) => exactName(name));
  const literalMap = bytes(outputs.literalMap, 'outputs');
  const problem = literalMapProblem(literalMap, names);
  if (problem !== undefined) throw new Error(`the outputs are no literals of these names: ${problem}`);
  return { kind, literalMap, names };
}

/** A name that is looked up as it stands, so that nothing in it may be replaced. */
function exactName(value: unknown): string {
  const name = text(value, 'the name of an output');
  if (name !== value) throw new Error('the name of an output has no UTF-8');
  return name;
}
