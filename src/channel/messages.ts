import type { DataOptions } from '../data/options.js';
import { type ErrorCode, isErrorCode } from '../errors/index.js';
import type { JsonObject } from '../lib/json.js';
import { isFitName } from '../lib/text.js';
import { MAX_LOAD_FAILURE } from '../model/answer-bounds.js';
import { isPluginId, isTaskTypeName, isTaskTypeVersion } from '../model/identity-check.js';
import type { PluginFailure, PluginMethod } from '../model/plugin-call.js';
import {
  isVariablePattern,
  type LogLevel,
  MAX_BATCH,
  MAX_PLUGIN_VERSION,
  MAX_TASK_TYPE_VERSIONS,
  MAX_TASK_TYPES,
  MAX_VARIABLES,
  type ServedTaskType,
} from '../model/plugin-facts.js';
import { isPluginFailure } from '../model/plugin-failure.js';
import { methodsOffered, type PluginFeatures } from '../model/plugin-methods.js';
import type { PluginConfig } from '../plugin-api/config.js';
import { ChannelError } from './channel-error.js';

/** A plugin's definition as plain data, checked in the plugin's process. */
export interface DefinitionFacts {
  readonly id: string;
  readonly version: string;
  readonly taskTypes: readonly ServedTaskType[];
  readonly isDefault: boolean;
  /** The definition's `config`, not checked. */
  readonly config: unknown;
  /** Names and prefixes of the variables it wants. */
  readonly environment: readonly string[];
}

/** What load() gave, as plain data. */
export interface PluginFacts {
  readonly kind: 'async' | 'sync';
  readonly features: PluginFeatures;
}

/** Daemon to plugin process. `p` numbers the plugin within its process, `id` the call. */
export type HostMessage =
  | { readonly t: 'import'; readonly p: number; readonly url: string; readonly label: string }
  | {
      readonly t: 'load';
      readonly p: number;
      readonly pluginId: string;
      readonly environment: Readonly<Record<string, string>>;
      readonly settings: JsonObject;
      readonly config: PluginConfig;
      readonly data: DataOptions;
      readonly timeoutMs: number;
      readonly logLinesPerSecond: number;
    }
  | {
      readonly t: 'call';
      readonly p: number;
      readonly id: number;
      readonly m: PluginMethod;
      readonly a: unknown;
      /** Milliseconds left until the deadline. */
      readonly left: number;
      /** When it was sent, on the monotonic clock of the machine. */
      readonly at: number;
      /** When the daemon's lease ends, on the boot clock: nothing may be sent from then on. Only of what is sent, and among replicas. */
      readonly until?: number;
      /** When what the call was granted by ends, on the boot clock: it is not begun from then on. */
      readonly by?: number;
    }
  /** The daemon's lease was renewed while calls run. */
  | { readonly t: 'lease'; readonly until: number }
  | { readonly t: 'cancel'; readonly id: number }
  /** Answers a `secret`: from now on it is masked. */
  | { readonly t: 'masked'; readonly n: number }
  | { readonly t: 'ping' }
  | { readonly t: 'close' };

/** A longer one is told in pieces. */
export const MAX_SECRET_BYTES = 64 * 1024;

export interface LoadFailure {
  readonly code: ErrorCode;
  readonly message: string;
}

/** Plugin process to daemon. */
export type ChildMessage =
  | { readonly t: 'ready' }
  | { readonly t: 'imported'; readonly p: number; readonly facts: DefinitionFacts }
  | { readonly t: 'loaded'; readonly p: number; readonly facts: PluginFacts }
  | { readonly t: 'failed'; readonly p: number; readonly failure: LoadFailure }
  | { readonly t: 'answer'; readonly id: number; readonly v: unknown }
  | { readonly t: 'error'; readonly id: number; readonly f: PluginFailure }
  | {
      readonly t: 'log';
      readonly p: number;
      readonly level: LogLevel;
      readonly msg: string;
      readonly fields: JsonObject;
    }
  | {
      readonly t: 'metric';
      readonly p: number;
      readonly kind: 'count' | 'gauge' | 'observe';
      readonly name: string;
      readonly values: readonly number[];
    }
  /** A secret that is read, told before the plugin has it: it may print it by a way that the process does not see. */
  | { readonly t: 'secret'; readonly n: number; readonly value: Uint8Array }
  | { readonly t: 'pong'; readonly rss: number; readonly abandoned: number }
  | { readonly t: 'closed' };

type Fields = Record<string, unknown>;

const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
const isText = (value: unknown): value is string => typeof value === 'string';
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isList = (value: unknown, of: (item: unknown) => boolean): boolean =>
  Array.isArray(value) && !value.includes(undefined) && value.every(of);
const isLong = (value: unknown, min: number, max: number): boolean =>
  Array.isArray(value) && value.length >= min && value.length <= max;
const isTextOf = (value: unknown, max: number): value is string => isText(value) && value.length <= max;
const isFitText = (value: unknown, max: number): boolean => isTextOf(value, max) && isFitName(value);

const LEVELS: readonly unknown[] = ['debug', 'info', 'warn', 'error'];
const METRIC_KINDS: readonly unknown[] = ['count', 'gauge', 'observe'];

function isServedTaskType(value: unknown): value is ServedTaskType {
  if (!isObject(value) || !isTaskTypeName(value.name)) return false;
  const { versions } = value;
  if (versions === undefined) return true;
  return isList(versions, isTaskTypeVersion) && isLong(versions, 1, MAX_TASK_TYPE_VERSIONS);
}

/** What stands in every listing, in handles and in the labels of metrics. */
function isDefinitionFacts(value: unknown): boolean {
  if (!isObject(value) || !isPluginId(value.id) || !isFitText(value.version, MAX_PLUGIN_VERSION)) return false;
  const { taskTypes, environment } = value;
  if (!isList(taskTypes, isServedTaskType) || !isLong(taskTypes, 0, MAX_TASK_TYPES)) return false;
  const names = new Set((taskTypes as ServedTaskType[]).map(({ name }) => name));
  return (
    names.size === (taskTypes as ServedTaskType[]).length &&
    typeof value.isDefault === 'boolean' &&
    isList(environment, isVariablePattern) &&
    isLong(environment, 0, MAX_VARIABLES)
  );
}

function isPluginFacts(value: unknown): boolean {
  if (!isObject(value) || (value.kind !== 'async' && value.kind !== 'sync')) return false;
  const features = value.features;
  if (!isObject(features)) return false;
  const many = features.getMany;
  const manyOk =
    many === undefined ||
    (isObject(many) &&
      isCount(many.maxBatch) &&
      many.maxBatch > 0 &&
      many.maxBatch <= MAX_BATCH &&
      typeof many.batchKeys === 'boolean');
  if (typeof features.findsByKey !== 'boolean') return false;
  return manyOk && methodsOffered('optional').every((name) => typeof features[name] === 'boolean');
}

function isLoadFailure(value: unknown): boolean {
  return isObject(value) && isTextOf(value.message, MAX_LOAD_FAILURE) && isText(value.code) && isErrorCode(value.code);
}

const CHECKS: { readonly [T in ChildMessage['t']]: (message: Fields) => boolean } = {
  ready: () => true,
  imported: (m) => isCount(m.p) && isDefinitionFacts(m.facts),
  loaded: (m) => isCount(m.p) && isPluginFacts(m.facts),
  failed: (m) => isCount(m.p) && isLoadFailure(m.failure),
  answer: (m) => isCount(m.id),
  error: (m) => isCount(m.id) && isPluginFailure(m.f),
  log: (m) => isCount(m.p) && LEVELS.includes(m.level) && isText(m.msg) && isObject(m.fields),
  metric: (m) =>
    isCount(m.p) &&
    METRIC_KINDS.includes(m.kind) &&
    isText(m.name) &&
    isList(m.values, (item) => typeof item === 'number'),
  secret: (m) => isCount(m.n) && m.value instanceof Uint8Array && m.value.length <= MAX_SECRET_BYTES,
  pong: (m) => isCount(m.rss) && isCount(m.abandoned),
  closed: () => true,
};

/**
 * Checks a message from a plugin's process, which is not to be trusted: plugin code shares that process. The value of
 * an answer is checked by its method (answers.ts). Throws ChannelError GARBAGE.
 */
export function parseChildMessage(value: unknown): ChildMessage {
  if (isObject(value) && isText(value.t) && Object.hasOwn(CHECKS, value.t)) {
    if (CHECKS[value.t as ChildMessage['t']](value)) return value as ChildMessage;
    throw new ChannelError('GARBAGE', `a message "${value.t}" has fields of the wrong type`);
  }
  throw new ChannelError('GARBAGE', 'a message of no known type');
}
