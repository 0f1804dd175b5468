import type { Signature } from '../handle-keys.js';
import type { TaskRecord } from '../task-record.js';

export type StoodInCall = 'create' | 'delete' | 'status' | 'do';
/** `away`: only the owner can answer it, or who was taken for away is not. */
export type StoodInOutcome = 'answered' | 'away' | 'full' | 'failed';
export type InboxRowKind = 'create' | 'delete' | 'do';

/** What logs and metrics learn of tasks; all optional, none may throw. */
export interface TaskEvents {
  accepted?(task: TaskRecord): void;
  created?(task: TaskRecord): void;
  ended?(task: TaskRecord): void;
  adopted?(task: TaskRecord): void;
  /** A handle that memory does not hold is not signed with a key of this daemon: taken up within the grace, or refused. */
  handleUnverified?(signature: Exclude<Signature, 'right'>, taken: boolean): void;
  /** The resource meta is larger than an engine should have to store. */
  metaLarge?(task: TaskRecord, bytes: number): void;
  /** A state is kept without its details, since those of its plugin's live tasks take their room. May come with every read. */
  stateCut?(task: TaskRecord): void;
  createRetried?(task: TaskRecord, code: string, message: string, delayMs: number): void;
  /** Its token never counted: who granted it owned the limits no more. */
  tokenLapsed?(task: TaskRecord): void;
  /** The data store was away when outputs were to be written; they are read again after the delay. */
  outputsDelayed?(task: TaskRecord, code: string, message: string, delayMs: number): void;
  /** A task ended, and the outcome of its create does not exclude that the remote has a job of it. */
  createUnclear?(id: string, plugin: string, code: string, message: string): void;
  /** The job was found (or made by the look) and is cancelled now, or it was over already. */
  createCleared?(id: string, plugin: string, job: 'cancelled' | 'over'): void;
  /** Nobody looks for the job any more. */
  createLeft?(id: string, plugin: string, because: string, message: string): void;
  /** What an earlier run left of a plugin that does not run here waits for it: tasks that are not over, and deletes. */
  unserved?(plugin: string, tasks: number, deletes: number): void;
  deleteOwed?(id: string, plugin: string, reason: string): void;
  deleteFailed?(id: string, plugin: string, code: string, message: string, attempts: number): void;
  /** Its tries failed for the whole grace: it is repeated, and its task holds no quota token any more. */
  deleteFreed?(id: string, plugin: string, failingForMs: number): void;
  deleteDone?(id: string, plugin: string, attempts: number): void;
  orphanDeleted?(task: TaskRecord): void;
  /** This replica was asked for what the owner of a part is away for. */
  stoodIn?(call: StoodInCall, outcome: StoodInOutcome): void;
  /** What a stand-in has promised, or run, is this owner's. */
  tookIn?(kind: InboxRowKind): void;
  /** It cannot be taken in, and stays where it is; told once of each. `id`: of the row. */
  leftInInbox?(kind: InboxRowKind, id: string, code: string, message: string): void;
  outputsDropped?(task: TaskRecord, names: readonly string[]): void;
  /** A fault of the daemon itself in work that nobody awaits. */
  fault?(where: string, error: unknown): void;
}
