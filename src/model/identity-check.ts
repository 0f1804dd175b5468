import { isFitName } from '../lib/text.js';
import type { TaskIdentity } from './handle.js';

/** Bounds of what a handle says. Whatever Create takes lies within them, so that every handle it answers is read again. */
export const MAX_NAME_BYTES = 1024;
export const MAX_SCOPE_BYTES = 256;
/** UTF-16 units, as the check of a plugin's answer counts them. */
export const MAX_QUOTA_NAMESPACE = 128;
export const MAX_OUTPUT_NAMES = 1000;
/** An int32, as in the task template. */
export const MAX_TASK_TYPE_VERSION = 2 ** 31 - 1;
/** Far above what deletes can count up, and short enough for an idempotency key of 48 characters. */
const MAX_INCARNATION = 1e12;
/** The end of the year 9999, the last one that a google.protobuf.Timestamp may hold. */
const MAX_TIME_MS = 253_402_300_799_999;

const PLUGIN_ID = /^[a-z][a-z0-9-]{0,39}$/;
const TASK_TYPE = /^[\x21-\x7e]{1,128}$/;
const KEY = /^[0-9a-z]{1,32}$/;

export function isPluginId(id: unknown): id is string {
  return typeof id === 'string' && PLUGIN_ID.test(id);
}

/** Task types are labels of metrics and parts of handles, so they are kept short and printable. */
export function isTaskTypeName(name: unknown): name is string {
  return typeof name === 'string' && TASK_TYPE.test(name);
}

/** A task type version is an int32 in every protocol; one beyond could not be listed, nor anything beside it. */
export function isTaskTypeVersion(version: unknown): version is number {
  return isWhole(version, 0, MAX_TASK_TYPE_VERSION);
}

/** Whether a plugin may call a quota namespace so. */
export function isQuotaNamespace(name: unknown): name is string {
  return typeof name === 'string' && name !== '' && name.length <= MAX_QUOTA_NAMESPACE && isFitName(name);
}

/**
 * What is wrong with an identity of unknown origin, each field in itself; undefined when nothing is. What passes can be
 * encoded, counted and shown everywhere (rule 15).
 */
export function identityProblem(id: Readonly<Record<keyof TaskIdentity, unknown>>): string | undefined {
  const problems: readonly [field: string, ok: boolean][] = [
    ['plugin', isPluginId(id.plugin)],
    ['task type', isName(id.taskType, MAX_NAME_BYTES) && id.taskType !== ''],
    ['task type version', isTaskTypeVersion(id.taskTypeVersion)],
    ['key', typeof id.key === 'string' && KEY.test(id.key)],
    ['incarnation', isWhole(id.incarnation, 1, MAX_INCARNATION)],
    ['project', isName(id.project, MAX_SCOPE_BYTES)],
    ['domain', isName(id.domain, MAX_SCOPE_BYTES)],
    ['namespace', isName(id.namespace, MAX_SCOPE_BYTES)],
    ['quota namespace', id.quotaNamespace === '' || isQuotaNamespace(id.quotaNamespace)],
    ['creation time', isWhole(id.createdAtMs, 0, MAX_TIME_MS)],
    ['list of output names', id.outputNames === undefined || areOutputNames(id.outputNames)],
  ];
  return problems.find(([, ok]) => !ok)?.[0];
}

function isName(value: unknown, maxBytes: number): boolean {
  return typeof value === 'string' && Buffer.byteLength(value) <= maxBytes && isFitName(value);
}

function isWhole(value: unknown, min: number, max: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;
}

/** Names of outputs may hold anything that has UTF-8; engines take it as it is. */
function areOutputNames(value: unknown): boolean {
  if (!Array.isArray(value) || value.length > MAX_OUTPUT_NAMES) return false;
  return value.every((name) => typeof name === 'string' && !/\p{Cs}/u.test(name));
}
