import type { NameRule } from './identity-check.js';

/** Task types with the versions served; `versions` undefined means every one. */
export interface ServedTaskType {
  readonly name: string;
  readonly versions: readonly number[] | undefined;
}

/** Levels of a plugin's own log lines. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

/** Of what a definition names. */
export const MAX_PLUGIN_VERSION = 100;
export const MAX_TASK_TYPES = 1_000;
export const MAX_TASK_TYPE_VERSIONS = 1_000;
export const MAX_VARIABLES = 1_000;
/** Tasks that one call of getMany may ask for. */
export const MAX_BATCH = 10_000;

const VARIABLE_NAME = '[A-Za-z_][A-Za-z0-9_]{0,255}';

/** The name of an environment variable. */
export const VARIABLE: NameRule = {
  pattern: new RegExp(`^${VARIABLE_NAME}$`),
  expected: 'a name of at most 256 letters, digits and _, not starting with a digit',
};

/** The name of an environment variable, or a prefix of names that ends in `*`. */
export const VARIABLES: NameRule = {
  pattern: new RegExp(`^${VARIABLE_NAME}\\*?$`),
  expected: 'the name of a variable, or a prefix ending in *',
};

export function isVariablePattern(name: unknown): name is string {
  return typeof name === 'string' && VARIABLES.pattern.test(name);
}
