import { isPluginFailure } from '../../channel/messages.js';
import { wellFormed } from '../../lib/text.js';
import { isTime, MAX_LINES, MAX_METRIC_NAME, MAX_TOKEN_BYTES } from '../../model/answer-bounds.js';
import { META_MAX_BYTES } from '../../model/handle.js';
import { isQuotaNamespace } from '../../model/identity-check.js';
import type { PhaseState } from '../../model/phase-state.js';
import type { PluginFailure, PluginMethod, PluginMethods, PluginOutcome } from '../../model/plugin-call.js';
import type { LogLine, MetricSeries } from '../../plugin-api/plugin.js';
import { stateOf } from './answer-state.js';
import { bytes, list, object, oneOf, optional, text } from './answer-values.js';

/**
 * Answers of a plugin process, checked once more. The process has checked them in detail (sandbox/phase-answer.ts); here
 * is made sure that code which shares that process cannot hand the daemon something else: what passes can be encoded in
 * every dialect and shown everywhere (rule 15), holds the known fields and nothing beside them, and is no larger than an
 * honest answer. All throw Error.
 */

const ORIGINATORS = ['UNKNOWN', 'USER', 'SYSTEM'] as const;

/** A failure that came over the channel, with nothing in it that could not be told. Throws Error. */
export function failureOf(value: unknown): PluginFailure {
  if (!isPluginFailure(value)) throw new Error('a failure is not known');
  const { kind, message, code, faultKind, retryAfterMs, notCreated } = value;
  return {
    kind,
    message: wellFormed(message),
    code: wellFormed(code),
    faultKind,
    retryAfterMs,
    ...(notCreated === undefined ? {} : { notCreated }),
  };
}

function outcomeOf(value: unknown): PluginOutcome<PhaseState> {
  const outcome = object(value, 'an outcome');
  if (outcome.ok === true) return { ok: true, value: stateOf(outcome.value) };
  return { ok: false, failure: failureOf(outcome.failure) };
}

function time(value: unknown, what: string): number {
  if (isTime(value)) return value;
  throw new Error(`${what} is no time, or out of range`);
}

function lineOf(value: unknown): LogLine {
  const line = object(value, 'a line');
  return {
    message: text(line.message, 'the message of a line'),
    ...optional(line, 'timestampMs', (ms) => time(ms, 'the time of a line')),
    ...optional(line, 'originator', (by) => oneOf(by, 'the originator of a line', ORIGINATORS)),
  };
}

function seriesOf(value: unknown): MetricSeries {
  const series = object(value, 'a series');
  const points = Array.from(list(series.points, 'points'), (one) => {
    const point = object(one, 'a point');
    if (!Number.isFinite(point.value)) throw new Error('the value of a point is no number');
    return { timestampMs: time(point.timestampMs, 'the time of a point'), value: point.value as number };
  });
  return { metric: text(series.metric, 'the metric of a series', MAX_METRIC_NAME), points };
}

function tokens(value: unknown): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw new Error('a constraint is no number of tokens');
}

/** The token of a page comes back as it was sent, or does not help. */
function pageToken(value: unknown): string {
  const token = text(value, 'token', MAX_TOKEN_BYTES);
  if (token !== value || Buffer.byteLength(token) > MAX_TOKEN_BYTES) throw new Error('token cannot come back as it is');
  return token;
}

const CHECKS: { readonly [M in PluginMethod]: (value: unknown, args: never) => PluginMethods[M]['answer'] } = {
  resourceRequirements: (value) => {
    const { namespace, constraints } = object(value, 'the answer');
    if (!isQuotaNamespace(namespace)) throw new Error('namespace is no name of a quota namespace');
    if (constraints === undefined) return { namespace };
    const bounds = object(constraints, 'constraints');
    return {
      namespace,
      constraints: { ...optional(bounds, 'project', tokens), ...optional(bounds, 'namespace', tokens) },
    };
  },
  create: (value) => {
    const { meta, state, existing } = object(value, 'the answer');
    return {
      meta: bytes(meta, 'meta', META_MAX_BYTES),
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
    return Array.from(outcomes, outcomeOf);
  },
  delete: () => ({}),
  getLogs: (value) => {
    const { lines, token } = object(value, 'the answer');
    return { lines: Array.from(list(lines, 'lines', MAX_LINES), lineOf), token: pageToken(token) };
  },
  getMetrics: (value) => {
    const { series } = object(value, 'the answer');
    return { series: Array.from(list(series, 'series'), seriesOf) };
  },
  adoptMeta: (value) => {
    const { meta } = object(value, 'the answer');
    return { meta: meta === undefined ? undefined : bytes(meta, 'meta', META_MAX_BYTES) };
  },
  batchKeys: (value, args: PluginMethods['batchKeys']['args']) => {
    const keys = Array.from(list(object(value, 'the answer').keys, 'keys'), (key) => text(key, 'a key'));
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
