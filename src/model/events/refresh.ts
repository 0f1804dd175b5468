import type { PluginFailure } from '../plugin-call.js';

/** Why a read is made: by the schedule, as the one probe of a remote that is down, or because an engine asked. */
export type ReadPurpose = 'poll' | 'probe' | 'get';

/** Told of what metrics and logs show. */
export interface RefreshEvents {
  /**
   * A read started; `lagMs` is how long after its due time the most overdue of its items was read, `late` how many of them were
   * due for more than a tenth of `resyncInterval`.
   */
  readStarted?(event: {
    readonly purpose: ReadPurpose;
    readonly lagMs: number;
    readonly late: number;
    readonly batchSize: number;
  }): void;
  /** `sinceMs`: the first failure of the outage, from which its grace runs. */
  remoteDown?(event: { readonly sinceMs: number; readonly failure: PluginFailure }): void;
  remoteUp?(event: { readonly downMs: number }): void;
  /** Tasks that were alive a moment ago are not found, several at a time: they are frozen. Told once a wave. */
  notFoundWave?(event: { readonly batchKey: string; readonly tasks: number; readonly of: number }): void;
  /** The last task of a wave was found (or left the schedule) or was lost. */
  notFoundWaveOver?(event: { readonly lastedMs: number; readonly found: number; readonly lost: number }): void;
  /** The host's `onOutcome` threw; the task stays in the schedule. */
  fault?(thrown: unknown): void;
}
