import { epochMsOf, smallTimeOf } from '../lib/small-time.js';
import { adoptedIdOf, taskIdOf } from '../model/attempt-key.js';
import type { TaskIdentity, TaskScope } from '../model/handle.js';
import type { PhaseState } from '../model/phase-state.js';
import {
  type FailingReads,
  type NodeAttempt,
  type ReadFailure,
  TASK_STAGES,
  type TaskPayload,
  type TaskRecord,
  type TaskStage,
} from '../model/task-record.js';
import type { ConnectionInfo } from '../plugin-api/contexts.js';
import type { ResourceRequirements } from '../plugin-api/plugin.js';
import { sharedScope } from './scopes.js';

/** What a new record starts from. */
export interface NewTask {
  readonly identity: TaskIdentity;
  readonly stage: TaskStage;
  readonly state: PhaseState;
  readonly meta?: Buffer;
  readonly outputPrefix: string;
  readonly payload?: TaskPayload;
  readonly node?: NodeAttempt | undefined;
  readonly connection?: ConnectionInfo | undefined;
  readonly connectionUntilMs?: number;
  readonly answeredHandle?: Buffer;
  /** Known from a handle alone: it goes by an id of its own and claims no attempt key. */
  readonly adopted?: boolean;
  readonly deleted?: boolean;
  readonly endedBefore?: boolean;
  /** What callers know of a record that this one takes the place of. */
  readonly seen?: Pick<TaskRecord, 'phaseVersion'> &
    Partial<Pick<TaskRecord, 'confirmed' | 'undeliveredAtMs' | 'undeliveredForMs'>>;
}

/** Changes a second that a task's version leaves room for, where only its age says how many there may have been. */
const CHANGES_PER_SECOND = 10;
/** The API's number has 32 bits; a handle may say that it is older than any service. */
const HIGHEST_BY_AGE = 2 ** 31;

/** A version that no earlier daemon has passed, which kept none of a task that only its handle tells of (rule 7). */
function versionByAge(createdAtMs: number, nowMs: number): number {
  const changes = Math.floor(((nowMs - createdAtMs) / 1_000) * CHANGES_PER_SECOND);
  return Math.min(Math.max(changes, 0), HIGHEST_BY_AGE);
}

type Fields = { -readonly [K in keyof TaskRecord]: TaskRecord[K] };

/** What most live tasks do not have. */
interface Rare {
  payload: TaskPayload | undefined;
  requirements: ResourceRequirements | undefined;
  connection: ConnectionInfo | undefined;
  connectionUntilMs: number;
  sentBoundMs: number | undefined;
  createFailingForMs: number;
  waitedForMs: number;
  consecutiveFailures: number;
  lastFailure: ReadFailure | undefined;
  failing: FailingReads | undefined;
  undeliveredAtMs: number | undefined;
  undeliveredForMs: number;
}

const NOTHING_RARE: Rare = Object.freeze({
  payload: undefined,
  requirements: undefined,
  connection: undefined,
  connectionUntilMs: 0,
  sentBoundMs: undefined,
  createFailingForMs: 0,
  waitedForMs: 0,
  consecutiveFailures: 0,
  lastFailure: undefined,
  failing: undefined,
  undeliveredAtMs: undefined,
  undeliveredForMs: 0,
});

/** Bits of an entry's `#flags`; the two lowest say the stage, and those above all others how much of the id is the key. */
const STAGE = 0b11;
const TELLING = 1 << 2;
const CONFIRMED = 1 << 3;
const ADOPTED = 1 << 4;
const DELETED = 1 << 5;
const DELIVERED = 1 << 6;
const ENDED_BEFORE = 1 << 7;
const UNFINISHED = 1 << 8;
const ASKS_CHANGE_NOTHING = 1 << 9;
const KEY_LENGTH_AT = 10;

/**
 * A record as the store alone may change it. Half a million of them may be live, so what is kept of each is small:
 *
 * - What most do not have is an object of its own, made when there is something of it and dropped with the last.
 * - Bytes are kept as text of one byte a character (a Buffer costs two objects and a place in a slab that others keep alive):
 *   the handle's text is the very one that the index has as its key, and a meta that the handle ends with is kept there
 *   alone. `meta` and `answeredHandle` make a Buffer each time they are asked for.
 * - Of the identity stands here what it has for itself; the rest is shared, the key is in the id, and `identity` makes one
 *   each time it is asked for.
 * - Times are whole milliseconds, as `small-time` has them.
 *
 * Its states are the stages of `TaskRecord`, which the store's transitions move. `telling` is set while a rise of its phase is
 * being written, of which `known` has more than `state` until it is safe.
 */
export class Entry implements Fields {
  readonly id: TaskRecord['id'];
  outputPrefix: string;
  node: NodeAttempt | undefined;
  /** What anybody is told. */
  state: PhaseState;
  /** What is known; told once it is safe (design 6). */
  known: PhaseState;
  /** Versions that were told since the last one that was safe before. */
  unsafeVersions = 0;
  /** Place among all that were accepted, over restarts. */
  order = 0;
  phaseVersion: number;
  revision = 0;
  listedAt = 0;
  answersArrived = 0;
  #flags = 0;
  #scope: TaskScope;
  #created: number | undefined = undefined;
  #observed: number | undefined = undefined;
  #live: number | undefined = undefined;
  #asked: number | undefined = undefined;
  /** The bytes, or their number where the handle ends with them. */
  #meta: string | number | undefined;
  #handle: string | undefined = undefined;
  #rare: Rare | undefined = undefined;

  constructor(task: NewTask, nowMs: number) {
    const { identity, seen } = task;
    this.id = flat(idOf(task));
    this.#flags = identity.key.length << KEY_LENGTH_AT;
    this.#scope = sharedScope(identity);
    this.#created = smallTimeOf(identity.createdAtMs);
    this.stage = task.stage;
    this.#meta = task.meta?.toString('latin1');
    this.outputPrefix = task.outputPrefix;
    this.node = task.node;
    this.state = task.state;
    this.known = task.state;
    this.phaseVersion = Math.max(
      seen?.phaseVersion ?? 0,
      task.adopted === true ? versionByAge(identity.createdAtMs, nowMs) : 0,
    );
    this.liveSinceMs = identity.createdAtMs;
    this.lastAskedAtMs = nowMs;
    this.confirmed = seen?.confirmed ?? task.adopted ?? false;
    this.#flag(ADOPTED, task.adopted ?? false);
    this.#flag(ENDED_BEFORE, task.endedBefore ?? false);
    this.deleted = task.deleted ?? false;
    this.payload = task.payload;
    this.connection = task.connection;
    this.connectionUntilMs = task.connectionUntilMs ?? 0;
    this.undeliveredAtMs = seen?.undeliveredAtMs;
    if (seen?.undeliveredForMs !== undefined) this.undeliveredForMs = seen.undeliveredForMs;
  }

  get identity(): TaskIdentity {
    const scope = this.#scope;
    return {
      plugin: scope.plugin,
      taskType: scope.taskType,
      taskTypeVersion: scope.taskTypeVersion,
      key: this.key,
      incarnation: scope.incarnation,
      project: scope.project,
      domain: scope.domain,
      namespace: scope.namespace,
      quotaNamespace: scope.quotaNamespace,
      createdAtMs: this.createdAtMs,
      outputNames: scope.outputNames,
    };
  }

  /** Key and incarnation are those of the id, and stay. */
  set identity(identity: TaskIdentity) {
    this.#scope = sharedScope(identity);
    this.#created = smallTimeOf(identity.createdAtMs);
  }

  get scope(): TaskScope {
    return this.#scope;
  }

  /** The parts of the identity that are asked for most. */
  get plugin(): string {
    return this.#scope.plugin;
  }

  get key(): string {
    return this.id.slice(0, this.#flags >> KEY_LENGTH_AT);
  }

  get incarnation(): number {
    return this.#scope.incarnation;
  }

  get createdAtMs(): number {
    return epochMsOf(this.#created as number);
  }

  get observedAtMs(): number | undefined {
    return this.#observed === undefined ? undefined : epochMsOf(this.#observed);
  }

  set observedAtMs(atMs: number | undefined) {
    this.#observed = atMs === undefined ? undefined : smallTimeOf(atMs);
  }

  get liveSinceMs(): number {
    return epochMsOf(this.#live as number);
  }

  set liveSinceMs(sinceMs: number) {
    this.#live = smallTimeOf(sinceMs);
  }

  get lastAskedAtMs(): number {
    return epochMsOf(this.#asked as number);
  }

  set lastAskedAtMs(atMs: number) {
    this.#asked = smallTimeOf(atMs);
  }

  get stage(): TaskStage {
    return TASK_STAGES[this.#flags & STAGE] as TaskStage;
  }

  set stage(stage: TaskStage) {
    this.#flags = (this.#flags & ~STAGE) | TASK_STAGES.indexOf(stage);
  }

  /** What is known waits to be safe. */
  get telling(): boolean {
    return (this.#flags & TELLING) !== 0;
  }

  set telling(telling: boolean) {
    this.#flag(TELLING, telling);
  }

  /** The store has it among its unfinished tasks. It says so here as well, since each read asks. */
  get unfinished(): boolean {
    return (this.#flags & UNFINISHED) !== 0;
  }

  set unfinished(unfinished: boolean) {
    this.#flag(UNFINISHED, unfinished);
  }

  get asksMatter(): boolean {
    return (this.#flags & ASKS_CHANGE_NOTHING) === 0;
  }

  set asksMatter(matter: boolean) {
    this.#flag(ASKS_CHANGE_NOTHING, !matter);
  }

  get confirmed(): boolean {
    return (this.#flags & CONFIRMED) !== 0;
  }

  set confirmed(confirmed: boolean) {
    this.#flag(CONFIRMED, confirmed);
  }

  get adopted(): boolean {
    return (this.#flags & ADOPTED) !== 0;
  }

  get endedBefore(): boolean {
    return (this.#flags & ENDED_BEFORE) !== 0;
  }

  set endedBefore(ended: boolean) {
    this.#flag(ENDED_BEFORE, ended);
  }

  /** An answer to its create is known to have arrived, which a later run goes by. */
  get delivered(): boolean {
    return (this.#flags & DELIVERED) !== 0;
  }

  set delivered(delivered: boolean) {
    this.#flag(DELIVERED, delivered);
  }

  get deleted(): boolean {
    return (this.#flags & DELETED) !== 0;
  }

  set deleted(deleted: boolean) {
    this.#flag(DELETED, deleted);
  }

  get meta(): Buffer | undefined {
    return bytesOf(this.metaText);
  }

  set meta(meta: Buffer | undefined) {
    this.#keepMeta(meta?.toString('latin1'));
  }

  get answeredHandle(): Buffer | undefined {
    return bytesOf(this.#handle);
  }

  set answeredHandle(handle: Buffer | undefined) {
    const meta = this.metaText;
    this.#handle = handle?.toString('latin1');
    this.#keepMeta(meta);
  }

  get hasHandle(): boolean {
    return this.#handle !== undefined;
  }

  /** The answered handle as the index has it; undefined until there is one. */
  get handleKey(): string | undefined {
    return this.#handle;
  }

  get payload(): TaskPayload | undefined {
    return this.#rare?.payload;
  }

  set payload(payload: TaskPayload | undefined) {
    this.#set('payload', payload);
  }

  get requirements(): ResourceRequirements | undefined {
    return this.#rare?.requirements;
  }

  set requirements(requirements: ResourceRequirements | undefined) {
    this.#set('requirements', requirements);
  }

  get connection(): ConnectionInfo | undefined {
    return this.#rare?.connection;
  }

  set connection(connection: ConnectionInfo | undefined) {
    this.#set('connection', connection);
  }

  get connectionUntilMs(): number {
    return this.#rare?.connectionUntilMs ?? 0;
  }

  set connectionUntilMs(untilMs: number) {
    this.#set('connectionUntilMs', untilMs);
  }

  get sentBoundMs(): number | undefined {
    return this.#rare?.sentBoundMs;
  }

  set sentBoundMs(boundMs: number | undefined) {
    this.#set('sentBoundMs', boundMs);
  }

  get createFailingForMs(): number {
    return this.#rare?.createFailingForMs ?? 0;
  }

  set createFailingForMs(forMs: number) {
    this.#set('createFailingForMs', forMs);
  }

  get waitedForMs(): number {
    return this.#rare?.waitedForMs ?? 0;
  }

  set waitedForMs(forMs: number) {
    this.#set('waitedForMs', forMs);
  }

  get consecutiveFailures(): number {
    return this.#rare?.consecutiveFailures ?? 0;
  }

  set consecutiveFailures(failures: number) {
    this.#set('consecutiveFailures', failures);
  }

  get lastFailure(): ReadFailure | undefined {
    return this.#rare?.lastFailure;
  }

  set lastFailure(failure: ReadFailure | undefined) {
    this.#set('lastFailure', failure);
  }

  get failing(): FailingReads | undefined {
    return this.#rare?.failing;
  }

  set failing(failing: FailingReads | undefined) {
    this.#set('failing', failing);
  }

  get undeliveredAtMs(): number | undefined {
    return this.#rare?.undeliveredAtMs;
  }

  set undeliveredAtMs(atMs: number | undefined) {
    this.#set('undeliveredAtMs', atMs);
  }

  get undeliveredForMs(): number {
    return this.#rare?.undeliveredForMs ?? 0;
  }

  set undeliveredForMs(forMs: number) {
    this.#set('undeliveredForMs', forMs);
  }

  #flag(bit: number, on: boolean): void {
    this.#flags = on ? this.#flags | bit : this.#flags & ~bit;
  }

  #set<K extends keyof Rare>(name: K, value: Rare[K]): void {
    if ((this.#rare ?? NOTHING_RARE)[name] === value) return;
    this.#rare ??= { ...NOTHING_RARE };
    this.#rare[name] = value;
    if (value === NOTHING_RARE[name] && isNothing(this.#rare)) this.#rare = undefined;
  }

  get metaText(): string | undefined {
    if (typeof this.#meta !== 'number') return this.#meta;
    const handle = this.#handle ?? '';
    return handle.slice(handle.length - this.#meta);
  }

  #keepMeta(meta: string | undefined): void {
    this.#meta = meta !== undefined && this.#handle?.endsWith(meta) === true ? meta.length : meta;
  }
}

function isNothing(rare: Rare): boolean {
  return (Object.keys(NOTHING_RARE) as (keyof Rare)[]).every((name) => rare[name] === NOTHING_RARE[name]);
}

function bytesOf(text: string | undefined): Buffer | undefined {
  return text === undefined ? undefined : Buffer.from(text, 'latin1');
}

/** A record for an answer alone, which no store holds. */
export function recordForAnswer(task: NewTask, nowMs: number, handle: Buffer): TaskRecord {
  const entry = new Entry(task, nowMs);
  entry.answeredHandle = handle;
  return entry;
}

function idOf({ identity: { key, incarnation }, adopted, answeredHandle }: NewTask): TaskRecord['id'] {
  if (adopted !== true || answeredHandle === undefined) return taskIdOf(key, incarnation);
  return adoptedIdOf(key, incarnation, answeredHandle);
}

/** The text in one piece: what was joined of parts keeps them alive. */
function flat(text: string): string {
  return Buffer.from(text, 'latin1').toString('latin1');
}
