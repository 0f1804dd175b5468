import type { PluginConfig } from '../plugin-api/config.js';

/** How a plugin is, as it is shown: the host's states, and what an operator or the remote makes of one that serves. */
export type PluginReportState =
  | 'STARTING'
  | 'SERVING'
  | 'FAILED'
  | 'SKIPPED'
  | 'RESTARTING'
  | 'QUARANTINED'
  | 'PAUSED'
  | 'REMOTE_DOWN'
  | 'STOPPED';

/** What is shown of a plugin. `L`: its limits in force, as the reader writes them. */
export interface PluginReport<L = PluginConfig> {
  readonly id: string;
  readonly version: string;
  readonly kind: 'async' | 'sync' | undefined;
  readonly taskTypes: readonly { readonly name: string; readonly versions: readonly number[] }[];
  readonly isDefault: boolean;
  readonly state: PluginReportState;
  readonly stateReason: string;
  readonly stateCode: string;
  readonly source: string;
  readonly config: L | undefined;
  readonly quotas: readonly {
    readonly namespace: string;
    readonly total: number;
    readonly used: number;
    readonly waiting: number;
  }[];
  readonly liveTasks: number;
  readonly waitingTasks: number;
  readonly pid: number;
  readonly restarts: number;
  readonly rssBytes: number;
  readonly environment: readonly string[];
}
