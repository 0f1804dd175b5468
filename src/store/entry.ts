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

/**
 * A record as the store alone may change it. Half a million of them may be live, so what is kept of each is small: bytes are kept as text of one
 * byte a character (a Buffer costs two objects and a place in a slab that others keep alive), and the handle's text is the very one that the
 * index has as its key. `meta` and `answeredHandle` make a Buffer each time they are asked for.
 */
export class Entry implements Fields {
  readonly id: TaskRecord['id'];
  identity: TaskIdentity;
  stage: TaskStage;
  outputPrefix: string;
  payload: TaskPayload | undefined;
  node: NodeAttempt | undefined;
  requirements: ResourceRequirements | undefined = undefined;
  connection: ConnectionInfo | undefined;
  connectionUntilMs: number;
  sentBoundMs: number | undefined = undefined;
  state: PhaseState;
  phaseVersion: number;
  observedAtMs: number | undefined = undefined;
  consecutiveFailures = 0;
  lastFailure: ReadFailure | undefined = undefined;
  liveSinceMs: number;
  lastAskedAtMs: number;
  confirmed: boolean;
  undeliveredAtMs: number | undefined;
  readonly adopted: boolean;
  deleted: boolean;
  revision = 0;
  #meta: string | undefined;
  #handle: string | undefined = undefined;

  constructor(task: NewTask, nowMs: number) {
    const { identity, seen } = task;
    this.id = flat(idOf(task));
    this.identity = sharingTexts(identity);
    this.stage = task.stage;
    this.#meta = task.meta?.toString('latin1');
    this.outputPrefix = task.outputPrefix;
    this.payload = task.payload;
    this.node = task.node;
    this.connection = task.connection;
    this.connectionUntilMs = task.connectionUntilMs ?? 0;
    this.state = task.state;
    this.phaseVersion = seen?.phaseVersion ?? 0;
    this.liveSinceMs = identity.createdAtMs;
    this.lastAskedAtMs = nowMs;
    this.confirmed = seen?.confirmed ?? task.adopted ?? false;
    this.undeliveredAtMs = seen?.undeliveredAtMs;
    this.adopted = task.adopted ?? false;
    this.deleted = task.deleted ?? false;
  }

  get createdAtMs(): number {
    return this.identity.createdAtMs;
  }

  get meta(): Buffer | undefined {
    return bytesOf(this.#meta);
  }

  set meta(meta: Buffer | undefined) {
    this.#meta = meta?.toString('latin1');
  }

  get answeredHandle(): Buffer | undefined {
    return bytesOf(this.#handle);
  }

  set answeredHandle(handle: Buffer | undefined) {
    this.#handle = handle?.toString('latin1');
  }

  /** The answered handle as the index has it; undefined until there is one. */
  get handleKey(): string | undefined {
    return this.#handle;
  }
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

function sharingTexts(identity: TaskIdentity): TaskIdentity {
  const { plugin, taskType, project, domain, namespace, quotaNamespace } = identity;
  return {
    ...identity,
    plugin: share(plugin),
    taskType: share(taskType),
    project: share(project),
    domain: share(domain),
    namespace: share(namespace),
    quotaNamespace: share(quotaNamespace),
  };
}

function share(text: string): string {
  const known = shared.get(text);
  if (known !== undefined) return known;
  if (shared.size < MAX_SHARED) shared.set(text, text);
  return text;
}
