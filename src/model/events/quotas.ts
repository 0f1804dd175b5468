/** What metrics learn of one plugin's quotas; all optional, none may throw. */
export interface QuotaEvents {
  /** A token was recorded; `waitMs` is 0 for a grant without waiting. Forced grants say so. */
  granted?(event: { readonly quotaNamespace: string; readonly waitMs: number; readonly forced: boolean }): void;
}
