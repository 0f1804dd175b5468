/** Bounds of what a handle says. Whatever Create takes lies within them, so that every handle it answers is read again. */
export const MAX_NAME_BYTES = 1024;
export const MAX_SCOPE_BYTES = 256;
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

const PAIR = '[\\ud800-\\udbff][\\udc00-\\udfff]';

/** What a quota namespace may be called, by a plugin and by the operator; its length is in UTF-16 units. */
export const QUOTA_NAMESPACE: NameRule = {
  pattern: new RegExp(`^(?=[^]{1,128}$)(?:${PAIR}|[^\\x00-\\x1f\\x7f-\\x9f\\ud800-\\udfff])+$`),
  expected: 'a text of 1 to 128 characters, none of them a control character',
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
  return typeof name === 'string' && QUOTA_NAMESPACE.pattern.test(name);
}

/** A whole number of this range. */
export function isWhole(value: unknown, min: number, max: number): boolean {
  return Number.isSafeInteger(value) && (value as number) >= min && (value as number) <= max;
}

/** A name of a certificate, as it stands in a list of those who may come in. */
export const CERTIFICATE_NAME = /^(CN=|DNS:|URI:|email:|IP:)[\x21-\x7e][\x20-\x7e]{0,499}$/;

/** Whom a token stands for, in the log. */
export const CALLER_NAME: NameRule = {
  pattern: /^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$/,
  expected: '1 to 64 letters, digits, points, hyphens and underscores, a letter or digit first',
};
