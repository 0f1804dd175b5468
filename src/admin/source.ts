import type { JsonObject } from '../lib/json.js';
import type { Page, PageQuery, TaskQuery } from '../model/page.js';

export interface Liveness {
  readonly ok: boolean;
  /** What the verdict was taken from, such as the age of the last schedule tick. */
  readonly detail: JsonObject;
}

export interface Readiness {
  readonly ready: boolean;
  readonly state: string;
  /** What is not ready, and why; also things that do not keep the daemon from being ready (a plugin that is not required). */
  readonly unready: readonly { readonly what: string; readonly why: string; readonly fatal: boolean }[];
}

/** Everything the admin server shows or does, handed in. Listings answer from memory. */
export interface AdminSource {
  metrics(): Promise<{ readonly text: string; readonly contentType: string }>;
  /** Whether the daemon itself makes progress; never depends on a remote or a plugin. */
  liveness(): Liveness;
  readiness(): Readiness;
  /** Which parts of the tasks the listings are about, such as `parts 0-3 of 8`; undefined where they are about all. */
  covers(): string | undefined;
  /** The load report, one object a plugin. */
  plugins(): readonly JsonObject[];
  tasks(query: TaskQuery): Page;
  /** Deletes that are owed. */
  deletes(query: PageQuery): Page;
  /** Ended tasks whose create may have left a job at the remote. */
  unclearCreates(query: PageQuery): Page;
  /** Tasks whose create answer was not confirmed. */
  orphans(query: PageQuery): Page;
  /** This daemon among the replicas; `enabled` false where it is the only one. */
  cluster(): JsonObject;
  /** The effective configuration, masked. */
  config(): JsonObject;
  /** All three throw HostError for an unknown plugin. */
  pause(pluginId: string): void;
  resume(pluginId: string): void;
  reload(pluginId: string): Promise<void>;
  /** A CPU profile of the daemon's main thread over so many seconds. */
  profile(seconds: number): Promise<JsonObject>;
}
