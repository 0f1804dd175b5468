import { adoptedIdOf, taskIdOf } from '../model/attempt-key.js';
import type { TaskIdentity } from '../model/handle.js';
import type { PhaseState } from '../model/phase-state.js';
import type { NodeAttempt, ReadFailure, TaskPayload, TaskRecord, TaskStage } from '../model/task-record.js';
import type { ConnectionInfo } from '../plugin-api/contexts.js';
import type { ResourceRequirements } from '../plugin-api/plugin.js';

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
  /** What callers know of a record that this one takes the place of. */
  readonly seen?: Pick<TaskRecord, 'phaseVersion'> & Partial<Pick<TaskRecord, 'confirmed' | 'undeliveredAtMs'>>;
}

type Fields = { -readonly [K in keyof TaskRecord]: TaskRecord[K] };

/** What most live tasks do not have. */
interface Rare {
  payload: TaskPayload | undefined;
  requirements: ResourceRequirements | undefined;
  connection: ConnectionInfo | undefined;
  connectionUntilMs: number;
  sentBoundMs: number | undefined;
  consecutiveFailures: number;
  lastFailure: ReadFailure | undefined;
  undeliveredAtMs: number | undefined;
}

const NOTHING_RARE: Rare = Object.freeze({
  payload: undefined,
  requirements: undefined,
  connection: undefined,
  connectionUntilMs: 0,
  sentBoundMs: undefined,
  consecutiveFailures: 0,
  lastFailure: undefined,
  undeliveredAtMs: undefined,
});

/**
 * A record as the store alone may change it. Half a million of them may be live, so what is kept of each is small: what most
 * do not have is an object of its own, made when there is something of it and dropped with the last. Bytes are kept as text
 * of one byte a character (a Buffer costs two objects and a place in a slab that others keep alive): the handle's text is the
 * very one that the index has as its key, and a meta that the handle ends with is kept there alone. `meta` and
 * `answeredHandle` make a Buffer each time they are asked for.
 */
export class Entry implements Fields {
  readonly id: TaskRecord['id'];
  identity: TaskIdentity;
  stage: TaskStage;
  outputPrefix: string;
  node: NodeAttempt | undefined;
  /** What anybody is told. */
  state: PhaseState;
  /** What is known; told once it is safe (design 6). */
  known: PhaseState;
  /** What is known waits to be safe. */
  telling = false;
  /** Versions that were told since the last one that was safe before. */
  unsafeVersions = 0;
  /** Place among all that were accepted, over restarts. */
  order = 0;
  phaseVersion: number;
  observedAtMs: number | undefined = undefined;
  liveSinceMs: number;
  lastAskedAtMs: number;
  confirmed: boolean;
  readonly adopted: boolean;
  deleted: boolean;
  revision = 0;
  listedAt = 0;
  /** The bytes, or their number where the handle ends with them. */
  #meta: string | number | undefined;
  #handle: string | undefined = undefined;
  #rare: Rare | undefined = undefined;

  constructor(task: NewTask, nowMs: number) {
    const { identity, seen } = task;
    this.id = flat(idOf(task));
    this.identity = sharingTexts(identity);
    this.stage = task.stage;
    this.#meta = task.meta?.toString('latin1');
    this.outputPrefix = task.outputPrefix;
    this.node = task.node;
    this.state = task.state;
    this.known = task.state;
    this.phaseVersion = seen?.phaseVersion ?? 0;
    this.liveSinceMs = identity.createdAtMs;
    this.lastAskedAtMs = nowMs;
    this.confirmed = seen?.confirmed ?? task.adopted ?? false;
    this.adopted = task.adopted ?? false;
    this.deleted = task.deleted ?? false;
    this.payload = task.payload;
    this.connection = task.connection;
    this.connectionUntilMs = task.connectionUntilMs ?? 0;
    this.undeliveredAtMs = seen?.undeliveredAtMs;
  }

  get createdAtMs(): number {
    return this.identity.createdAtMs;
  }

  get meta(): Buffer | undefined {
    if (typeof this.#meta !== 'number') return bytesOf(this.#meta);
    const handle = this.#handle ?? '';
    return Buffer.from(handle.slice(handle.length - this.#meta), 'latin1');
  }

  set meta(meta: Buffer | undefined) {
    this.#meta = meta?.toString('latin1');
    this.#shareMeta();
  }

  get answeredHandle(): Buffer | undefined {
    return bytesOf(this.#handle);
  }

  set answeredHandle(handle: Buffer | undefined) {
    const { meta } = this;
    this.#handle = handle?.toString('latin1');
    this.meta = meta;
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

  get undeliveredAtMs(): number | undefined {
    return this.#rare?.undeliveredAtMs;
  }

  set undeliveredAtMs(atMs: number | undefined) {
    this.#set('undeliveredAtMs', atMs);
  }

  #set<K extends keyof Rare>(name: K, value: Rare[K]): void {
    if ((this.#rare ?? NOTHING_RARE)[name] === value) return;
    this.#rare ??= { ...NOTHING_RARE };
    this.#rare[name] = value;
    if (value === NOTHING_RARE[name] && isNothing(this.#rare)) this.#rare = undefined;
  }

  #shareMeta(): void {
    const meta = this.#meta;
    if (typeof meta === 'string' && this.#handle?.endsWith(meta) === true) this.#meta = meta.length;
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

/** Texts that many tasks have in common, each kept once; a text that came in too late for its place is kept by its task. */
const shared = new Map<string, string>();
const MAX_SHARED = 10_000;
const NO_NAMES: readonly string[] = Object.freeze([]);

/** The identity with what many tasks have in common kept once. */
export function sharingTexts(identity: TaskIdentity): TaskIdentity {
  const { plugin, taskType, project, domain, namespace, quotaNamespace, outputNames } = identity;
  return {
    ...identity,
    plugin: share(plugin),
    taskType: share(taskType),
    project: share(project),
    domain: share(domain),
    namespace: share(namespace),
    quotaNamespace: share(quotaNamespace),
    outputNames: outputNames?.length === 0 ? NO_NAMES : outputNames,
  };
}

function share(text: string): string {
  const known = shared.get(text);
  if (known !== undefined) return known;
  if (shared.size < MAX_SHARED) shared.set(text, text);
  return text;
}
