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

const VARIABLE = /^[A-Za-z_][A-Za-z0-9_]{0,255}\*?$/;

/** The name of an environment variable, or a prefix of names that ends in `*`. */
export function isVariablePattern(name: unknown): name is string {
  return typeof name === 'string' && VARIABLE.test(name);
}
