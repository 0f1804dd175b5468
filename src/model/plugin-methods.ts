import type { LogLine, MetricSeries, ResourceRequirements } from '../plugin-api/plugin.js';
import { isTime, MAX_BATCH_KEY, MAX_LINES, MAX_METRIC_NAME, MAX_TOKEN_BYTES } from './answer-bounds.js';
import { bytes, list, object, oneOf, optional, text } from './answer-values.js';
import { maskedOutcomes, withRepeats } from './batch-answer.js';
import { META_MAX_BYTES } from './handle.js';
import { isQuotaNamespace } from './identity-check.js';
import { type Mask, maskedState } from './masked.js';
import type { OutcomePlace } from './outcomes.js';
import type { PhaseState } from './phase-state.js';
import type { PluginMethod, PluginMethods, PluginOutcome } from './plugin-call.js';
import { failureOf } from './plugin-failure.js';

/** Reads and writes have a limit, a concurrency bound and a line of their own. */
export type Lane = 'read' | 'write';

/**
 * Who offers a method: every plugin of a kind (`async`, `sync`); an async one that defines a function of this name
 * (`optional`, which is a feature of the same name); one that reads batches (`batch`), or tells their keys (`batchKey`).
 */
export type Offered = 'async' | 'sync' | 'optional' | 'batch' | 'batchKey';

/** How the daemon takes a state; the bytes of its literals can be checked only where the descriptors are. */
export type TakesState = (value: unknown) => PhaseState;

/** What the rooms need to know of a method of plugins. */
export interface MethodTraits<M extends PluginMethod> {
  /** undefined: stays inside the plugin's process, so it takes neither slot nor token. */
  readonly lane: Lane | undefined;
  /** Goes before everything else that waits in its lane (rule 1: deletes before creates). */
  readonly first?: boolean;
  /** `task` where the call runs a whole task and has the bound of one; else it has that of a call. */
  readonly runs: 'call' | 'task';
  readonly offered: Offered;
  /** What the daemon takes for answered where a plugin has not the method. Without it such a call fails. */
  readonly absent?: PluginMethods[M]['answer'];
  /** Where the outcome table says what follows from a failure. */
  readonly place: OutcomePlace;
  /** How many items a call carries; a call of several is one to the limit. One where left out. */
  readonly items?: (args: PluginMethods[M]['args']) => number;
  /**
   * Takes an answer that came over the channel. The plugin's process has checked it in detail; here is made sure that code
   * which shares that process cannot hand the daemon something else: what passes can be shown everywhere (rule 15), holds
   * the known fields and nothing beside them, and is no larger than an honest answer. Throws Error, saying what is wrong.
   */
  answer(value: unknown, args: PluginMethods[M]['args'], state: TakesState): PluginMethods[M]['answer'];
  /** The answer with the secrets taken out of every text that is shown: of outputs, metas, names and tokens nothing. */
  masked(answer: PluginMethods[M]['answer'], mask: Mask): PluginMethods[M]['answer'];
}

const nothingShown = <T>(answer: T): T => answer;

/**
 * The one table of plugin methods. A new one is a row here, its types in PluginMethods and in the contract of authors, and
 * its handler in the plugin's process (sandbox/methods).
 */
const METHODS = {
  resourceRequirements: {
    lane: undefined,
    runs: 'call',
    offered: 'optional',
    absent: { namespace: 'default' },
    place: 'create',
    answer: requirementsOf,
    masked: nothingShown,
  },
  create: {
    lane: 'write',
    runs: 'call',
    offered: 'async',
    place: 'create',
    answer(value, _args, stateOf) {
      const { meta, state, existing } = object(value, 'the answer');
      return {
        meta: bytes(meta, 'meta', META_MAX_BYTES),
        state: state === undefined ? undefined : stateOf(state),
        existing: existing === true,
      };
    },
    masked: (answer, mask) =>
      answer.state === undefined ? answer : { ...answer, state: maskedState(answer.state, mask) },
  },
  get: {
    lane: 'read',
    runs: 'call',
    offered: 'async',
    place: 'get',
    answer: (value, _args, stateOf) => stateOf(value),
    masked: maskedState,
  },
  getMany: {
    lane: 'read',
    runs: 'call',
    offered: 'batch',
    place: 'getManyItem',
    items: (args) => args.items.length,
    answer(value, { items }, stateOf) {
      const outcomes = list(value, 'the answer');
      if (outcomes.length !== items.length) throw new Error(`${outcomes.length} outcomes for ${items.length} items`);
      return withRepeats(outcomes, (outcome) => outcomeOf(outcome, stateOf));
    },
    masked: maskedOutcomes,
  },
  delete: {
    lane: 'write',
    first: true,
    runs: 'call',
    offered: 'async',
    place: 'delete',
    answer: () => ({}),
    masked: nothingShown,
  },
  do: {
    lane: 'write',
    runs: 'task',
    offered: 'sync',
    place: 'do',
    answer: (value, _args, stateOf) => stateOf(value),
    masked: maskedState,
  },
  getLogs: {
    lane: 'read',
    runs: 'call',
    offered: 'optional',
    place: 'getLogs',
    answer(value) {
      const { lines, token } = object(value, 'the answer');
      return { lines: Array.from(list(lines, 'lines', MAX_LINES), lineOf), token: pageToken(token) };
    },
    masked: ({ lines, token }, mask) => ({
      lines: lines.map((line) => ({ ...line, message: mask(line.message) })),
      token,
    }),
  },
  getMetrics: {
    lane: 'read',
    runs: 'call',
    offered: 'optional',
    place: 'getLogs',
    answer(value) {
      const { series } = object(value, 'the answer');
      return { series: Array.from(list(series, 'series'), seriesOf) };
    },
    masked: ({ series }, mask) => ({ series: series.map((one) => ({ ...one, metric: mask(one.metric) })) }),
  },
  adoptMeta: {
    lane: undefined,
    runs: 'call',
    offered: 'optional',
    place: 'getLogs',
    answer(value) {
      const { meta } = object(value, 'the answer');
      return { meta: meta === undefined ? undefined : bytes(meta, 'meta', META_MAX_BYTES) };
    },
    masked: nothingShown,
  },
  batchKeys: {
    lane: undefined,
    runs: 'call',
    offered: 'batchKey',
    place: 'getLogs',
    answer(value, { metas }) {
      const keys = Array.from(list(object(value, 'the answer').keys, 'keys'), (key) =>
        text(key, 'a key', MAX_BATCH_KEY),
      );
      if (keys.length !== metas.length) throw new Error(`${keys.length} keys for ${metas.length} metas`);
      return { keys };
    },
    masked: nothingShown,
  },
} as const satisfies { readonly [M in PluginMethod]: MethodTraits<M> };

export function methodTraits<M extends PluginMethod>(method: M): MethodTraits<M> {
  return METHODS[method] as unknown as MethodTraits<M>;
}

export const PLUGIN_METHODS = Object.keys(METHODS) as readonly PluginMethod[];

type MethodOffered<O extends Offered> = {
  [M in PluginMethod]: (typeof METHODS)[M]['offered'] extends O ? M : never;
}[PluginMethod];

/** Methods that are offered so. */
export function methodsOffered<O extends Offered>(offered: O): readonly MethodOffered<O>[] {
  return PLUGIN_METHODS.filter((method) => METHODS[method].offered === offered) as MethodOffered<O>[];
}

/** Which of the methods that are not every plugin's one offers, and what its create can do. */
export type PluginFeatures = { readonly [M in MethodOffered<'optional'>]: boolean } & {
  /** Whether create finds by its key what an earlier call has made. */
  readonly findsByKey: boolean;
  readonly getMany: { readonly maxBatch: number; readonly batchKeys: boolean } | undefined;
};

/** `defines` tells whether the plugin has a function of this name. */
export function featuresOf(
  getMany: PluginFeatures['getMany'],
  findsByKey: boolean,
  defines: (method: MethodOffered<'optional'>) => boolean,
): PluginFeatures {
  const optional = methodsOffered('optional').map((method) => [method, defines(method)]);
  return { getMany, findsByKey, ...(Object.fromEntries(optional) as Omit<PluginFeatures, 'getMany' | 'findsByKey'>) };
}

export const NO_FEATURES: PluginFeatures = featuresOf(undefined, true, () => false);

export function isOffered(method: PluginMethod, features: PluginFeatures): boolean {
  switch (METHODS[method].offered) {
    case 'optional':
      return features[method as MethodOffered<'optional'>];
    case 'batch':
      return features.getMany !== undefined;
    case 'batchKey':
      return features.getMany?.batchKeys === true;
    default:
      // The engine's call says which kind it means; a plugin of the other one throws.
      return true;
  }
}

function outcomeOf(value: unknown, stateOf: TakesState): PluginOutcome<PhaseState> {
  const outcome = object(value, 'an outcome');
  if (outcome.ok === true) return { ok: true, value: stateOf(outcome.value) };
  return { ok: false, failure: failureOf(outcome.failure) };
}

function requirementsOf(value: unknown): ResourceRequirements {
  const { namespace, constraints } = object(value, 'the answer');
  if (!isQuotaNamespace(namespace)) throw new Error('namespace is no name of a quota namespace');
  if (constraints === undefined) return { namespace };
  const bounds = object(constraints, 'constraints');
  return {
    namespace,
    constraints: { ...optional(bounds, 'project', tokens), ...optional(bounds, 'namespace', tokens) },
  };
}

function tokens(value: unknown): number {
  if (Number.isSafeInteger(value) && (value as number) >= 0) return value as number;
  throw new Error('a constraint is no number of tokens');
}

const ORIGINATORS = ['UNKNOWN', 'USER', 'SYSTEM'] as const;

function lineOf(value: unknown): LogLine {
  const line = object(value, 'a line');
  return {
    message: text(line.message, 'the message of a line'),
    ...optional(line, 'timestampMs', (ms) => time(ms, 'the time of a line')),
    ...optional(line, 'originator', (by) => oneOf(by, 'the originator of a line', ORIGINATORS)),
  };
}

/** The token of a page comes back as it was sent, or does not help. */
function pageToken(value: unknown): string {
  const token = text(value, 'token', MAX_TOKEN_BYTES);
  if (token !== value || Buffer.byteLength(token) > MAX_TOKEN_BYTES) throw new Error('token cannot come back as it is');
  return token;
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

function time(value: unknown, what: string): number {
  if (isTime(value)) return value;
  throw new Error(`${what} is no time, or out of range`);
}
