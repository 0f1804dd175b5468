/** The remotes of a run, their limits and quotas: one table that the daemon's config and the judge both read. */
export type Flavour = 'keyed' | 'searched' | 'blind';

export interface Fleet {
  readonly quota: number;
  /** Most tokens of one project; 0 sets no bound. */
  readonly projectQuota: number;
  readonly read: { readonly qps: number; readonly burst: number };
  readonly write: { readonly qps: number; readonly burst: number };
}

/** `keyed` takes client ids, `searched` can only be searched by a job's name, `blind` can do neither. */
export const FLEET: Readonly<Record<Flavour, Fleet>> = {
  keyed: { quota: 14, projectQuota: 8, read: { qps: 25, burst: 10 }, write: { qps: 6, burst: 6 } },
  searched: { quota: 10, projectQuota: 0, read: { qps: 20, burst: 8 }, write: { qps: 5, burst: 5 } },
  blind: { quota: 8, projectQuota: 0, read: { qps: 15, burst: 6 }, write: { qps: 4, burst: 4 } },
};

export const FLAVOURS = Object.keys(FLEET) as Flavour[];

/** Runs its tasks to the end in one call, and makes no jobs. */
export const SYNC = 'sync';
export const SYNC_WRITES = { qps: 5, burst: 5 };

/** Longest time of a plugin's call. Milliseconds. */
export const CALL_MS = 1_200;
/** What was never answered and is never asked for is cancelled after this time. Milliseconds. */
export const ORPHAN_GRACE_MS = 15_000;

export const isFlavour = (name: string): name is Flavour => Object.hasOwn(FLEET, name);
