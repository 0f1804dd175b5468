/** Task types with the versions served; `versions` undefined means every one. */
export interface ServedTaskType {
  readonly name: string;
  readonly versions: readonly number[] | undefined;
}

/** Which of the optional methods a plugin offers. */
export interface PluginFeatures {
  readonly getMany: { readonly maxBatch: number; readonly batchKeys: boolean } | undefined;
  readonly getLogs: boolean;
  readonly getMetrics: boolean;
  readonly resourceRequirements: boolean;
  readonly adoptMeta: boolean;
}

/** Levels of a plugin's own log lines. */
export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
