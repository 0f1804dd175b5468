import { isFitName } from '../lib/text.js';

/** Bounds of what a handle says. Whatever Create takes lies within them, so that every handle it answers is read again. */
export const MAX_NAME_BYTES = 1024;
export const MAX_SCOPE_BYTES = 256;
/** UTF-16 units, as the check of a plugin's answer counts them. */
export const MAX_QUOTA_NAMESPACE = 128;
export const MAX_OUTPUT_NAMES = 1000;
/** An int32, as in the task template. */
export const MAX_TASK_TYPE_VERSION = 2 ** 31 - 1;

/** A rule of a name, and what to say where it does not hold. */
export interface NameRule {
  readonly pattern: RegExp;
  readonly expected: string;
}

/** What a plugin may be called, wherever an id is written. */
export const PLUGIN_ID: NameRule = {
  pattern: /^[a-z][a-z0-9-]{0,39}$/,
  expected: 'a plugin id: lower-case letters, digits and dashes, starting with a letter, at most 40 characters',
};

/** What a task type may be called, wherever one is written. */
export const TASK_TYPE: NameRule = {
  pattern: /^[\x21-\x7e]{1,128}$/,
  expected: 'a name of 1 to 128 printable ASCII characters without spaces',
};

export function isPluginId(id: unknown): id is string {
  return typeof id === 'string' && PLUGIN_ID.pattern.test(id);
}

/** Task types are labels of metrics and parts of handles, so they are kept short and printable. */
export function isTaskTypeName(name: unknown): name is string {
  return typeof name === 'string' && TASK_TYPE.pattern.test(name);
}

/** A task type version is an int32 in every protocol; one beyond could not be listed, nor anything beside it. */
export function isTaskTypeVersion(version: unknown): version is number {
  return isWhole(version, 0, MAX_TASK_TYPE_VERSION);
}

/** Whether a plugin may call a quota namespace so. */
export function isQuotaNamespace(name: unknown): name is string {
  return typeof name === 'string' && name !== '' && name.length <= MAX_QUOTA_NAMESPACE && isFitName(name);
}

/** A whole number of this range. */
export function isWhole(value: unknown, min: number, max: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;
}
