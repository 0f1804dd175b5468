import { createHash } from 'node:crypto';
import { type ErrorCode, HostError, messageOf } from '../errors/index.js';
import { Stop } from '../lib/stop.js';
import { settledBefore, sleep } from '../lib/wait.js';
import { type AttemptKey, attemptKeyOf } from '../model/attempt-key.js';
import type { StoodInCall, StoodInOutcome } from '../model/events/tasks.js';
import { decodeHandle, looksLikeHandle, partitionOfHandle, partOf } from '../model/handle.js';
import { HandleKeys } from '../model/handle-keys.js';
import { partitionOfAttempt } from '../model/partition.js';
import type { PhaseState } from '../model/phase-state.js';
import { assertHosted, assertNotFailed, type Runtimes } from '../runtime/runtime.js';
import { encodeDeleteBody, encodeDoBody, type Inbox, type KeptOfKey, type NewInboxRow } from '../state/index.js';
import { doFactOf } from '../store/facts.js';
import { createBodyOf, type KeptOfPart, restoreKept } from '../store/kept-key.js';
import { ReplayCache } from '../store/replay-cache.js';
import type { FactKind, StateFeed } from '../store/state-feed.js';
import { TaskStore } from '../store/task-store.js';
import { payloadOf } from './accept/create.js';
import { DoTask } from './accept/do.js';
import { WaitingRoom } from './accept/waiting-room.js';
import type { TasksDeps } from './deps.js';
import { HandleTrust } from './read/handle-trust.js';
import { createTasks, type TasksControl } from './tasks.js';
import type { CallScope, HandleHints, TaskSpec, Tasks } from './types.js';

export interface StandInOptions
  extends Pick<TasksDeps, 'clock' | 'random' | 'host' | 'runtimes' | 'options' | 'events' | 'writeOutputs'> {
  readonly inbox: Inbox;
  /** How many there are. */
  readonly parts: number;
  /** This replica's. */
  readonly epoch: string;
  /** Who had a part as it was seen last; undefined where nobody did. */
  readonly ownerSeen: (part: number) => string | undefined;
  /** The tenure under which a part was seen last, by which its owner was taken for away; undefined where none was. */
  readonly tenureOf: (part: number) => string | undefined;
  /** Whether a replica is known to be dead. */
  readonly isDead: (epoch: string) => boolean;
  /** Whether an owner takes no calls, as it is seen from here. */
  readonly isClosed: (epoch: string) => boolean;
  /** Whether an owner answers nobody any more. One that is only silent may wake, however late, and go on until its parts are taken. */
  readonly isGone: (epoch: string) => boolean;
  /** With which keys the handles of a part are signed and checked, the signing one first, given the one that its state keeps. */
  readonly handleKeys: (kept: string) => readonly string[];
  readonly handleGraceMs: number;
  /** How long the ends of runs are kept for repeats. Milliseconds. */
  readonly doReplayTtlMs: number;
  /** What is said of no single task. */
  readonly shown: Pick<Tasks, 'listPlugins' | 'remoteDown'>;
}

/** The use cases for parts whose owner is away. */
export interface StandIn extends Tasks {
  /** What became of its runs is not written any more where it could not be so far. */
  stop(): void;
}

/** All that is known of one key, as its owner would have it. */
interface OfKey {
  readonly kept: KeptOfKey;
  readonly store: TaskStore;
  readonly replays: ReplayCache;
  readonly tasks: TasksControl;
  /** Kinds of facts that the call has changed. */
  readonly changed: Set<FactKind>;
  /** Writes what has to be safe before it is told. */
  write: () => Promise<void>;
}

interface Place {
  readonly part: number;
  readonly key: AttemptKey;
}

/** Somebody else put a row first: what stands is to be read again. */
class Stands extends Error {}

const DONE = Promise.resolve();
/** Times that a call begins anew because others put rows first. */
const TRIES = 10;
/** Between two looks at what another replica runs. Milliseconds. */
const LOOK_MS = 500;
/** Between two looks at whether an owner has taken in what was promised: it looks once a second. Milliseconds. */
const TAKEN_IN_MS = 250;
/** Within this time one that lives, and reaches the database, has. Milliseconds. */
const TAKING_IN_MS = 1_500;
/** Between two tries to write what became of a run. Milliseconds. */
const SETTLE_MS = 1_000;
/** When a caller should ask again. Milliseconds. */
const AGAIN_MS = 1_000;
const FULL_MS = 30_000;

const ONLY_OWNER = 'only the replica that has the task can answer this';

/** What says that another replica may know, or do, what this one cannot; so does all that begins with STATE_. */
const OWNERS_BUSINESS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'LEASE_LAPSED',
  'OUTPUTS_UNREAD',
  'OWNER_AWAY',
  'PLUGIN_NOT_SERVING',
  'TASK_TYPE_UNKNOWN',
  'TASK_TYPE_VERSION_UNKNOWN',
]);

/** Bounds of what is held of one key: more than it has. What is past its time the state does not have. */
const OF_ONE_KEY = {
  maxTasks: Number.MAX_SAFE_INTEGER,
  finished: { maxCount: 100, maxBytes: Number.MAX_SAFE_INTEGER, ttlMs: Number.MAX_SAFE_INTEGER },
  watchRing: 1,
} as const;
const MARKS_OF_ONE_KEY = 1_000_000;
const REPLAYS_OF_ONE_KEY = { max: 1, maxBytes: Number.MAX_SAFE_INTEGER } as const;

/**
 * Answers for a part whose owner is away, by the use cases of an owner over what the state and the inbox have of one key: they are stopped
 * before anything is asked of them, so that nothing is sent, polled or cancelled, and what they decide goes into the inbox. Only a Do is run
 * here, by who claims its key. What only the owner can answer is OWNER_AWAY, and so is a part that was taken meanwhile; STORE_FULL where
 * the inbox is full.
 *
 * | owner | Delete | Create, Status, Do |
 * | --- | --- | --- |
 * | gone: nobody has the part, or its port is closed and it gives no sign of life | at once | at once |
 * | its port is closed | once it has taken that in, or has had the time to | OWNER_AWAY |
 * | may be alive, as frozen or cut off | once it has taken that in | OWNER_AWAY |
 *
 * States of a claim: none → put → run here → settled with the end, or given back; where that cannot be written it is tried again until
 * `stop`.
 */
export function createStandIn(options: StandInOptions): StandIn {
  return new KeyStandIn(options);
}

class KeyStandIn implements StandIn {
  readonly #options: StandInOptions;
  readonly #waiting: WaitingRoom;
  readonly #doing: DoTask;
  /** Runs whose end is not written yet, with the parts that their keys are in. */
  readonly #claims = new Map<AttemptKey, number>();
  readonly #stop = new Stop();

  constructor(options: StandInOptions) {
    this.#options = options;
    this.#waiting = new WaitingRoom(options.options);
    const replays = { get: () => undefined, set: (key: AttemptKey, state: PhaseState) => this.#settle(key, state) };
    this.#doing = new DoTask({ ...options, replays }, this.#waiting);
    this.#doing.onOver = (key) => this.#giveBack(key);
  }

  stop(): void {
    this.#stop.abort();
  }

  create(spec: TaskSpec, scope: CallScope): ReturnType<Tasks['create']> {
    return this.#stand('create', async () => {
      const place = this.#placeOf(spec);
      const { key } = place;
      // One that may be alive may take a later attempt of the node meanwhile, beside which this one must not start.
      const of = await this.#ofGone(place, scope);
      const { store, replays, kept } = of;
      if (store.current(key)?.answeredHandle === undefined) {
        of.write = async () => {
          const id = store.current(key)?.id ?? '';
          const body = createBodyOf(store, replays, id, payloadOf(spec));
          await this.#put({ ...place, kind: 'create', name: id, body }, kept);
        };
      }
      return of.tasks.create(spec, scope);
    });
  }

  delete(...[bytes, reason, hints, scope]: Parameters<Tasks['delete']>): Promise<void> {
    return this.#stand('delete', async () => {
      const place = this.#placeIn(bytes);
      const of = await this.#of(place, scope);
      let put: Promise<void> | undefined;
      of.write = () => {
        // What was deleted before, or has a row, needs none.
        if (of.changed.has('mark')) put ??= this.#put(deleteRow(place, bytes, reason, hints), of.kept);
        return put ?? DONE;
      };
      await of.tasks.delete(bytes, reason, hints, scope);
      await this.#untilTakenIn(place, of.kept, scope);
    });
  }

  /** As it is known, however long ago it was read: only the owner reads. OWNER_AWAY where that one may be alive. */
  status(...[bytes, hints, scope]: Parameters<Tasks['status']>): ReturnType<Tasks['status']> {
    return this.#stand('status', async () => {
      const { store, tasks } = await this.#ofGone(this.#placeIn(bytes), scope);
      // The first read of such an order may find that the task was over, which is told then.
      for (const { readFirst } of store.owed.listed()) if (readFirst !== undefined) throw away(ONLY_OWNER);
      return tasks.status(bytes, hints, scope, 0);
    });
  }

  do(spec: TaskSpec, scope: CallScope): Promise<PhaseState> {
    return this.#stand('do', async () => {
      const place = this.#placeOf(spec);
      const { key } = place;
      while (!this.#doing.isRunning(key)) {
        const { kept, replays } = await this.#of(place, scope);
        const known = replays.get(key);
        if (known !== undefined) return known;
        this.#assertGone(kept);
        this.#assertServed(spec);
        this.#waiting.assertRoom(spec);
        if (await this.#claim(place, kept)) break;
        await this.#untilLook(scope);
      }
      const answer = this.#doing.do(spec, scope);
      if (this.#doing.isRunning(key)) return answer;
      answer.catch(() => undefined);
      await this.#giveBack(key);
      return answer;
    });
  }

  /** It would have to be decoded to be looked for, which `status` does. */
  peek(): undefined {
    return undefined;
  }

  readonly get: Tasks['get'] = () => Promise.reject(away(ONLY_OWNER));
  readonly getLogs: Tasks['getLogs'] = () => Promise.reject(away(ONLY_OWNER));
  readonly getMetrics: Tasks['getMetrics'] = () => Promise.reject(away(ONLY_OWNER));

  adoptForeign(bytes: Buffer): Promise<string | undefined> {
    return looksLikeHandle(bytes) ? Promise.resolve(undefined) : Promise.reject(away(ONLY_OWNER));
  }

  watch(): never {
    throw away(ONLY_OWNER);
  }

  listPlugins(): ReturnType<Tasks['listPlugins']> {
    return this.#options.shown.listPlugins();
  }

  remoteDown(plugin: string): boolean {
    return this.#options.shown.remoteDown(plugin);
  }

  #isClosed({ owner }: KeptOfKey): boolean {
    return owner === undefined || this.#options.isClosed(owner);
  }

  #isGone({ owner }: Pick<KeptOfKey, 'owner'>): boolean {
    return owner === undefined || this.#options.isGone(owner);
  }

  /**
   * What is kept of a task is less than its owner may have told, and a leap beyond that is more than it tells next, if it is only out of
   * reach, or frozen; what it is asked to run it may run. Throws OWNER_AWAY where it may be alive.
   */
  #assertGone(of: Pick<KeptOfKey, 'owner'>): void {
    if (!this.#isGone(of)) throw away('it may be alive, and know more');
  }

  /** Throws OWNER_AWAY: a claim that this replica could not run would only be given back. */
  #assertServed({ taskType, taskTypeVersion }: TaskSpec): void {
    const { host, runtimes } = this.#options;
    if (runtimes.get(host.route(taskType, taskTypeVersion).id) === undefined) throw away(ONLY_OWNER);
  }

  /**
   * An owner that may be alive may be asked about what was promised in its place: it has taken that in before anybody is told. One that can
   * be reached by others than this replica has done so soon. Throws OWNER_AWAY where the caller's time is over before.
   */
  async #untilTakenIn({ part, key }: Place, kept: KeptOfKey, scope: CallScope | undefined): Promise<void> {
    const { clock, inbox, options } = this.#options;
    if (this.#isGone(kept)) return;
    const untilMs = scope === undefined ? Number.POSITIVE_INFINITY : scope.deadlineMs - options.answerMarginMs;
    const hadTimeMs = clock.now() + TAKING_IN_MS;
    for (;;) {
      const { rows } = await inbox.read(part, key);
      if (!rows.some(({ kind }) => kind === 'delete') || this.#isGone(kept)) return;
      if (this.#isClosed(kept) && clock.now() >= hadTimeMs) return;
      await sleep(clock, TAKEN_IN_MS, scope?.signal ?? this.#stop);
      if (clock.now() >= untilMs || scope?.signal.aborted === true || this.#stop.aborted)
        throw away('it has not taken in yet what was promised for it');
    }
  }

  #placeOf({ attempt, node }: TaskSpec): Place {
    return { part: partOf(partitionOfAttempt(attempt, node), this.#options.parts), key: attemptKeyOf(attempt) };
  }

  /** Throws as `decodeHandle` does, and OWNER_AWAY for a foreign meta. */
  #placeIn(bytes: Buffer): Place {
    if (!looksLikeHandle(bytes)) throw away(ONLY_OWNER);
    const { key } = decodeHandle(bytes).identity;
    return { part: partOf(partitionOfHandle(bytes), this.#options.parts), key };
  }

  /** Tells what became of it, and what is the owner's as OWNER_AWAY. */
  async #stand<T>(call: StoodInCall, answer: () => Promise<T>): Promise<T> {
    let outcome: StoodInOutcome = 'failed';
    try {
      const answered = await this.#again(answer);
      outcome = 'answered';
      return answered;
    } catch (error) {
      const code = HostError.is(error) ? error.code : 'INTERNAL';
      if (code === 'STORE_FULL') outcome = 'full';
      if (!OWNERS_BUSINESS.has(code) && !code.startsWith('STATE_')) throw error;
      outcome = 'away';
      throw code === 'OWNER_AWAY' ? error : away(messageOf(error));
    } finally {
      this.#options.events.stoodIn?.(call, outcome);
    }
  }

  /** Who lost a race answers what stands. */
  async #again<T>(answer: () => Promise<T>): Promise<T> {
    for (let tries = 1; ; tries++) {
      try {
        return await answer();
      } catch (error) {
        if (!(error instanceof Stands)) throw error;
        if (tries === TRIES) throw away('others write about the same task again and again');
      }
    }
  }

  /**
   * The same as `#of`, of an owner that is gone. Nothing is read for one that may be alive, about which a caller asks again each second. That one
   * was seen earlier: what counts is whether the one is gone that the part had as it was read, asked once it was. What is put then is put
   * under its tenure.
   */
  async #ofGone(place: Place, scope: CallScope | undefined): Promise<OfKey> {
    this.#assertGone({ owner: this.#options.ownerSeen(place.part) });
    const of = await this.#of(place, scope);
    this.#assertGone(of.kept);
    return of;
  }

  /** All that is known of a key, with the use cases over it. Throws OWNER_AWAY, and the STATE_ codes where it cannot be read. */
  async #of({ part, key }: Place, scope: CallScope | undefined): Promise<OfKey> {
    const kept = await this.#read(part, key, scope);
    const { clock, options, doReplayTtlMs } = this.#options;
    let born: KeptOfPart['birth'];
    let write = (): Promise<void> => DONE;
    const changed = new Set<FactKind>();
    const feed: StateFeed = {
      durable: true,
      get completeSinceMs() {
        return born?.completeSinceMs;
      },
      get endsKnownSinceMs() {
        return born?.endsKnownSinceMs;
      },
      changed: (kind) => changed.add(kind),
      safe: () => write(),
    };
    const endMarks = { max: MARKS_OF_ONE_KEY, ttlMs: options.replayWindowMs };
    const store = new TaskStore({ ...OF_ONE_KEY, clock, feed, endMarks });
    const replays = new ReplayCache({ clock, ttlMs: doReplayTtlMs, ...REPLAYS_OF_ONE_KEY });
    const { birth, handleKey } = restoreKept(store, replays, kept.facts, clock.now());
    if (birth === undefined || handleKey === undefined) throw away(`nobody has begun part ${part}`);
    born = birth;
    const tasks = await this.#tasksOver(store, replays, this.#trust(handleKey.signingKey, birth.completeSinceMs));
    for (const row of kept.rows) {
      if (!tasks.takeIn(row) && row.kind !== 'do') throw away('what waits of the task cannot be read here');
    }
    changed.clear();
    return {
      kept,
      store,
      replays,
      tasks,
      changed,
      set write(next: () => Promise<void>) {
        write = next;
      },
    };
  }

  /** Throws OWNER_AWAY where it takes too long, or the part is another one's by now. */
  async #read(part: number, key: AttemptKey, scope: CallScope | undefined): Promise<KeptOfKey> {
    const { clock, options, inbox, tenureOf } = this.#options;
    const reading = inbox.read(part, key);
    if (scope !== undefined) {
      const untilMs = Math.max(clock.now(), scope.deadlineMs - options.answerMarginMs);
      if (!(await settledBefore(clock, reading, untilMs, scope.signal)))
        throw away('reading what is kept takes too long');
    }
    const kept = await reading;
    const seen = tenureOf(part);
    if (seen !== undefined && seen !== kept.tenure) throw away(`part ${part} was taken meanwhile`);
    return kept;
  }

  /** The use cases of an owner that does nothing: they have no runtimes, and are stopped. */
  async #tasksOver(store: TaskStore, replays: ReplayCache, handles: HandleTrust): Promise<TasksControl> {
    const { clock, random, host, options, runtimes: real } = this.#options;
    const runtimes: Runtimes = {
      get: () => undefined,
      comes: (plugin) => real.get(plugin) !== undefined || real.comes(plugin),
      all: () => [],
    };
    const parts = { store, replays, handles, runtimes, events: {}, writeOutputs: undefined };
    const tasks = createTasks({ clock, random, host, options, ...parts, mayWork: () => false });
    await tasks.stop(true);
    tasks.starting({
      route: (taskType, version) => {
        const plugin = host.route(taskType, version);
        assertNotFailed(plugin);
        // Who only stands by has no runtimes yet.
        assertHosted(real, plugin.id);
        return plugin.id;
      },
      served: () => [],
    });
    return tasks;
  }

  #trust(kept: string, bornMs: number): HandleTrust {
    const { clock, handleGraceMs, handleKeys } = this.#options;
    const trust = new HandleTrust({ clock, graceMs: handleGraceMs, events: {} });
    trust.use(new HandleKeys(handleKeys(kept)), Math.max(0, clock.now() - bornMs));
    return trust;
  }

  async #put(row: NewInboxRow, { tenure }: KeptOfKey): Promise<void> {
    const end = await this.#options.inbox.put(row, tenure);
    switch (end) {
      case 'put':
        return;
      case 'stands':
        throw new Stands();
      case 'moved':
        throw away(`part ${row.part} was taken meanwhile`);
      case 'full': {
        const seen = `the inbox of part ${row.part} is full, while the replica that has it is away`;
        throw new HostError('STORE_FULL', `${seen}; try again when it is back`, { retryAfterMs: FULL_MS });
      }
      default:
        return end satisfies never;
    }
  }

  /** Whether it is this replica that runs it from here on. */
  async #claim({ part, key }: Place, kept: KeptOfKey): Promise<boolean> {
    const { inbox, epoch, isDead } = this.#options;
    const claim = kept.rows.find(({ kind }) => kind === 'do');
    if (claim === undefined) await this.#put({ part, kind: 'do', key, name: '', body: undefined }, kept);
    else if (claim.epoch !== epoch) {
      if (!isDead(claim.epoch) || !(await inbox.reclaim(part, key, claim.epoch))) return false;
    }
    this.#claims.set(key, part);
    return true;
  }

  async #untilLook({ deadlineMs, signal }: CallScope): Promise<void> {
    const { clock } = this.#options;
    await sleep(clock, Math.min(LOOK_MS, deadlineMs - clock.now()), signal);
    if (signal.aborted) throw new HostError('CALL_CANCELLED', 'the caller cancelled the call; the task runs on');
    if (clock.now() < deadlineMs) return;
    const seen = 'another replica runs the task, and it did not end within the deadline; a repeat waits on';
    throw new HostError('DEADLINE_EXCEEDED', seen);
  }

  /** The end is told once it is written; OWNER_AWAY where this replica was taken for dead, and another may have run it. */
  async #settle(key: AttemptKey, state: PhaseState): Promise<void> {
    const end = doFactOf({ state, endedAtMs: this.#options.clock.now() });
    if (!(await this.#write(key, encodeDoBody(key, end)))) throw away('the run is not known any more');
  }

  /** Nothing is to be told of a run that is over: the next call runs it. */
  async #giveBack(key: AttemptKey): Promise<void> {
    if (this.#claims.has(key)) await this.#write(key, undefined);
  }

  /** False where the claim is another's. */
  async #write(key: AttemptKey, body: Buffer | undefined): Promise<boolean> {
    const { inbox, clock, events } = this.#options;
    const part = this.#claims.get(key);
    this.#claims.delete(key);
    if (part === undefined) return false;
    while (!this.#stop.aborted) {
      try {
        return await inbox.settle(part, key, body);
      } catch (error) {
        if (!HostError.is(error)) events.fault?.('inbox', error);
        await sleep(clock, SETTLE_MS, this.#stop);
      }
    }
    return false;
  }
}

function deleteRow({ part, key }: Place, handle: Buffer, reason: string, { outputPrefix }: HandleHints): NewInboxRow {
  const name = createHash('sha256').update(handle).digest('hex').slice(0, 32);
  return { part, kind: 'delete', key, name, body: encodeDeleteBody(name, { handle, reason, outputPrefix }) };
}

function away(why: string): HostError {
  return new HostError('OWNER_AWAY', `the replica that has the task is away: ${why}; try again`, {
    retryAfterMs: AGAIN_MS,
  });
}
