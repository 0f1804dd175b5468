import { isPluginFailure } from '../../channel/messages.js';
import { isQuotaNamespace } from '../../model/identity-check.js';
import { type Outputs, type PhaseState, phaseState } from '../../model/phase-state.js';
import type { PluginMethod, PluginMethods, PluginOutcome } from '../../model/plugin-call.js';
import type { ExecutionError } from '../../plugin-api/phase.js';
import { PHASES, type Phase } from '../../plugin-api/phase.js';

/**
 * Answers of a plugin process, checked by shape. The process has checked them in detail (child/phase-answer.ts); here
 * is made sure that code which shares that process cannot hand the daemon something else. All throw Error.
 */

type Fields = Record<string, unknown>;

function object(value: unknown, what: string): Fields {
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && !Buffer.isBuffer(value)) {
    return value as Fields;
  }
  throw new Error(`${what} is not an object`);
}

function text(value: unknown, what: string): string {
  if (typeof value !== 'string') throw new Error(`${what} is not a text`);
  return value;
}

function list(value: unknown, what: string): unknown[] {
  if (!Array.isArray(value)) throw new Error(`${what} is not a list`);
  return value;
}

function bytes(value: unknown, what: string): Buffer {
  if (!Buffer.isBuffer(value)) throw new Error(`${what} is not bytes`);
  return value;
}

function number(value: unknown, what: string): number {
  if (typeof value !== 'number') throw new Error(`${what} is not a number`);
  return value;
}

const MAX_UINT32 = 2 ** 32 - 1;
/** Levels of objects and lists that decoders of a google.protobuf.Struct take. */
const MAX_INFO_DEPTH = 32;

function within(value: unknown, what: string, max: number, whole: boolean): number {
  const found = number(value, what);
  if (!(found >= 0 && found <= max) || (whole && !Number.isInteger(found))) throw new Error(`${what} is out of range`);
  return found;
}

/** Passes what is left out. */
function optional(value: unknown, assert: (present: unknown) => unknown): void {
  if (value !== undefined) assert(value);
}

function flag(value: unknown, what: string): void {
  if (typeof value !== 'boolean') throw new Error(`${what} is not true or false`);
}

function assertLog(value: unknown): void {
  const log = object(value, 'a log');
  text(log.uri, 'the uri of a log');
  optional(log.name, (name) => text(name, 'the name of a log'));
  optional(log.ttlMs, (ms) => within(ms, 'the ttlMs of a log', Number.MAX_SAFE_INTEGER, false));
  optional(log.showWhilePending, (on) => flag(on, 'showWhilePending of a log'));
  optional(log.hideOnceFinished, (on) => flag(on, 'hideOnceFinished of a log'));
  if (log.messageFormat !== undefined && !['UNKNOWN', 'CSV', 'JSON'].includes(log.messageFormat as string)) {
    throw new Error('the messageFormat of a log is not known');
  }
}

function assertExternal(item: Fields): void {
  text(item.externalId, 'the id of an external resource');
  for (const key of ['index', 'retryAttempt']) {
    optional(item[key], (found) => within(found, `${key} of an external resource`, MAX_UINT32, true));
  }
  if (item.phase !== undefined && !PHASES.includes(item.phase as Phase)) {
    throw new Error('the phase of an external resource is not known');
  }
  optional(item.logs, (logs) => list(logs, 'logs of an external resource').map(assertLog));
  optional(item.customInfo, (info) => plainJson(info, 'customInfo of an external resource'));
}

/** An object of JSON, no deeper than an engine can read it. */
function plainJson(value: unknown, what: string): Fields {
  const visit = (node: unknown, left: number): void => {
    if (node === null || ['string', 'boolean'].includes(typeof node) || Number.isFinite(node)) return;
    if (typeof node !== 'object' || Buffer.isBuffer(node) || left === 0) throw new Error(`${what} is not plain JSON`);
    for (const item of Object.values(node)) visit(item, left - 1);
  };
  visit(object(value, what), MAX_INFO_DEPTH);
  return value as Fields;
}

function stateOf(value: unknown): PhaseState {
  const state = object(value, 'the state');
  const phase = state.phase as Phase;
  if (!PHASES.includes(phase) || phase === 'UNDEFINED') throw new Error('the state has no known phase');
  for (const log of list(state.logs, 'logs')) assertLog(log);
  for (const item of list(state.externalResources, 'externalResources')) {
    assertExternal(object(item, 'an external resource'));
  }
  return phaseState(phase, {
    reason: text(state.reason, 'reason'),
    error: state.error === undefined ? undefined : errorOf(object(state.error, 'error')),
    logs: state.logs as PhaseState['logs'],
    customInfo: state.customInfo === undefined ? undefined : (plainJson(state.customInfo, 'customInfo') as never),
    externalResources: state.externalResources as PhaseState['externalResources'],
    outputs: outputsOf(object(state.outputs, 'outputs'), phase),
    remotePhase: text(state.remotePhase, 'remotePhase'),
    version: within(state.version, 'version', MAX_UINT32, true),
    nextPollAfterMs:
      state.nextPollAfterMs === undefined
        ? undefined
        : within(state.nextPollAfterMs, 'nextPollAfterMs', Number.MAX_SAFE_INTEGER, false),
  });
}

function errorOf(error: Fields): ExecutionError {
  if (error.kind !== 'USER' && error.kind !== 'SYSTEM') throw new Error('error.kind is not known');
  return { code: text(error.code, 'error.code'), message: text(error.message, 'error.message'), kind: error.kind };
}

function outputsOf(outputs: Fields, phase: Phase): Outputs {
  if (outputs.kind === 'none') return { kind: 'none' };
  if (phase !== 'SUCCESS') throw new Error(`outputs in phase ${phase}`);
  if (outputs.kind === 'prefix') return { kind: 'prefix' };
  if (outputs.kind !== 'inline') throw new Error('outputs are of no known kind');
  const names = list(outputs.names, 'names of outputs').map((name) => text(name, 'the name of an output'));
  return { kind: 'inline', literalMap: bytes(outputs.literalMap, 'outputs'), names };
}

function outcomeOf(value: unknown): PluginOutcome<PhaseState> {
  const outcome = object(value, 'an outcome');
  if (outcome.ok === true) return { ok: true, value: stateOf(outcome.value) };
  if (!isPluginFailure(outcome.failure)) throw new Error('an outcome has no known failure');
  return { ok: false, failure: { ...outcome.failure, retryAfterMs: outcome.failure.retryAfterMs } };
}

/** Epoch milliseconds of the years 1 to 9999, which is what a google.protobuf.Timestamp may hold. */
function time(value: unknown, what: string): void {
  const ms = number(value, what);
  if (!(ms >= -62_135_596_800_000 && ms <= 253_402_300_799_999)) throw new Error(`${what} is out of range`);
}

function assertLine(line: Fields): void {
  text(line.message, 'the message of a line');
  optional(line.timestampMs, (ms) => time(ms, 'the time of a line'));
  if (line.originator !== undefined && !['UNKNOWN', 'USER', 'SYSTEM'].includes(line.originator as string)) {
    throw new Error('the originator of a line is not known');
  }
}

function assertSeries(series: Fields): void {
  text(series.metric, 'the metric of a series');
  for (const one of list(series.points, 'points')) {
    const point = object(one, 'a point');
    time(point.timestampMs, 'the time of a point');
    if (!Number.isFinite(point.value)) throw new Error('the value of a point is no number');
  }
}

const CHECKS: { readonly [M in PluginMethod]: (value: unknown, args: never) => PluginMethods[M]['answer'] } = {
  resourceRequirements: (value) => {
    const { namespace, constraints } = object(value, 'the answer');
    if (!isQuotaNamespace(namespace)) throw new Error('namespace is no name of a quota namespace');
    if (constraints === undefined) return { namespace };
    const bounds = Object.entries(object(constraints, 'constraints'));
    for (const [scope, tokens] of bounds) {
      if (tokens !== undefined && !(Number.isSafeInteger(tokens) && (tokens as number) >= 0)) {
        throw new Error(`constraints.${scope} is no number of tokens`);
      }
    }
    return { namespace, constraints: object(constraints, 'constraints') };
  },
  create: (value) => {
    const { meta, state, existing } = object(value, 'the answer');
    return {
      meta: bytes(meta, 'meta'),
      state: state === undefined ? undefined : stateOf(state),
      existing: existing === true,
    };
  },
  get: stateOf,
  do: stateOf,
  getMany: (value, args: PluginMethods['getMany']['args']) => {
    const outcomes = list(value, 'the answer');
    if (outcomes.length !== args.items.length) {
      throw new Error(`${outcomes.length} outcomes for ${args.items.length} items`);
    }
    return outcomes.map(outcomeOf);
  },
  delete: () => ({}),
  getLogs: (value) => {
    const { lines, token } = object(value, 'the answer');
    for (const line of list(lines, 'lines')) assertLine(object(line, 'a line'));
    return { lines: lines as PluginMethods['getLogs']['answer']['lines'], token: text(token, 'token') };
  },
  getMetrics: (value) => {
    const { series } = object(value, 'the answer');
    for (const one of list(series, 'series')) assertSeries(object(one, 'a series'));
    return { series: series as PluginMethods['getMetrics']['answer']['series'] };
  },
  adoptMeta: (value) => {
    const { meta } = object(value, 'the answer');
    return { meta: meta === undefined ? undefined : bytes(meta, 'meta') };
  },
  batchKeys: (value, args: PluginMethods['batchKeys']['args']) => {
    const keys = list(object(value, 'the answer').keys, 'keys').map((key) => text(key, 'a key'));
    if (keys.length !== args.metas.length) throw new Error(`${keys.length} keys for ${args.metas.length} metas`);
    return { keys };
  },
};

/** The answer of a method as the daemon's types have it. Throws Error, saying what is wrong. */
export function checkAnswer<M extends PluginMethod>(
  method: M,
  value: unknown,
  args: unknown,
): PluginMethods[M]['answer'] {
  return CHECKS[method](value, args as never);
}
