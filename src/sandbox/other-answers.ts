import { show } from '../lib/show.js';
import { isWellFormed } from '../lib/text.js';
import { isTime, MAX_LINES, MAX_METRIC_NAME, MAX_TOKEN_BYTES } from '../model/answer-bounds.js';
import { isQuotaNamespace, QUOTA_NAMESPACE } from '../model/identity-check.js';
import type { PluginMethods } from '../model/plugin-call.js';
import type { LogLine, MetricSeries, ResourceRequirements } from '../plugin-api/plugin.js';
import { InvalidAnswer } from './invalid-answer.js';

const ORIGINATORS: readonly unknown[] = ['UNKNOWN', 'USER', 'SYSTEM'];

type Fields = Record<string, unknown>;

const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Throws InvalidAnswer. */
export function requirements(answer: unknown): ResourceRequirements {
  if (!isObject(answer)) throw wrong('resourceRequirements', 'the answer', answer, '{ namespace, constraints? }');
  const { namespace, constraints } = answer;
  if (!isQuotaNamespace(namespace)) {
    throw wrong('resourceRequirements', 'namespace', namespace, QUOTA_NAMESPACE.expected);
  }
  if (constraints === undefined) return { namespace };
  if (!isObject(constraints)) throw wrong('resourceRequirements', 'constraints', constraints, 'an object');
  const { project, namespace: scope } = constraints;
  for (const [key, value] of Object.entries({ project, namespace: scope })) {
    if (value !== undefined && !(Number.isSafeInteger(value) && (value as number) >= 0)) {
      throw wrong('resourceRequirements', `constraints.${key}`, value, 'a whole number from 0');
    }
  }
  return {
    namespace,
    constraints: {
      ...(project === undefined ? {} : { project: project as number }),
      ...(scope === undefined ? {} : { namespace: scope as number }),
    },
  };
}

/** Throws InvalidAnswer. */
export function logsPage(answer: unknown): PluginMethods['getLogs']['answer'] {
  if (!isObject(answer) || !Array.isArray(answer.lines) || answer.lines.length > MAX_LINES) {
    throw wrong('getLogs', 'the answer', answer, `{ lines, token? } with at most ${MAX_LINES} lines`);
  }
  const token = answer.token ?? '';
  if (typeof token !== 'string' || !isWellFormed(token) || Buffer.byteLength(token) > MAX_TOKEN_BYTES) {
    throw wrong('getLogs', 'token', token, `a text of at most ${MAX_TOKEN_BYTES} bytes in UTF-8`);
  }
  return { lines: (answer.lines as unknown[]).map(logLine), token };
}

function logLine(value: unknown, index: number): LogLine {
  const path = `lines[${index}]`;
  if (!isObject(value) || typeof value.message !== 'string') throw wrong('getLogs', path, value, '{ message, … }');
  const { message, timestampMs, originator } = value;
  if (timestampMs !== undefined && !isTime(timestampMs)) {
    throw wrong(
      'getLogs',
      `${path}.timestampMs`,
      timestampMs,
      'milliseconds since the epoch, within the years 1 to 9999',
    );
  }
  if (originator !== undefined && !ORIGINATORS.includes(originator)) {
    throw wrong('getLogs', `${path}.originator`, originator, ORIGINATORS.join(', '));
  }
  return {
    message: message as string,
    ...(timestampMs === undefined ? {} : { timestampMs: timestampMs as number }),
    ...(originator === undefined ? {} : { originator: originator as 'USER' }),
  };
}

/** Throws InvalidAnswer. */
export function metricSeries(answer: unknown): PluginMethods['getMetrics']['answer'] {
  if (!Array.isArray(answer)) throw wrong('getMetrics', 'the answer', answer, 'a list of { metric, points }');
  return { series: (answer as unknown[]).map(oneSeries) };
}

function oneSeries(value: unknown, index: number): MetricSeries {
  const path = `[${index}]`;
  if (!isObject(value) || typeof value.metric !== 'string' || !Array.isArray(value.points)) {
    throw wrong('getMetrics', path, value, '{ metric, points }');
  }
  if (value.metric.length > MAX_METRIC_NAME) {
    throw wrong('getMetrics', `${path}.metric`, value.metric, `a name of at most ${MAX_METRIC_NAME} characters`);
  }
  const points = (value.points as unknown[]).map((point, i) => {
    if (!isObject(point) || !isTime(point.timestampMs) || !Number.isFinite(point.value)) {
      throw wrong('getMetrics', `${path}.points[${i}]`, point, '{ timestampMs, value } with finite numbers');
    }
    return { timestampMs: point.timestampMs as number, value: point.value as number };
  });
  return { metric: value.metric, points };
}

function wrong(method: string, field: string, seen: unknown, expected: string): InvalidAnswer {
  return new InvalidAnswer(`${method}(): ${field} is ${show(seen)}; expected ${expected}`);
}
