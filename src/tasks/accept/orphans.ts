import type { Timer } from '../../lib/clock.js';
import { getOrMake } from '../../lib/get-or-make.js';
import type { NodeAttempt, TaskRecord } from '../../model/task-record.js';
import type { TasksDeps } from '../deps.js';
import { nextPart } from '../graces.js';

/** For the last look at a job before it is deleted. */
const LOOK_MS = 30_000;
/** What has no grace to wait for. */
const NEVER: Timer = { cancel: () => {} };
/** Candidates that are looked at for each one that comes. */
const LOOKED_AT = 2;

/**
 * Creates whose answer visibly never reached the engine (rule 9). An engine that goes on to the next attempt of the node
 * never deletes the one before, since it has no handle for it; so the daemon does.
 *
 * States of a task here: none → candidate, when the last of its answers that may have arrived is lost, or, for later attempts
 * alone and with no grace, when an earlier run leaves that unknown, or another replica has passed its answer on → none again, when a call about it confirms it, its create is
 * answered once more, it is over,
 * another record takes its place (which is a candidate then), a later attempt of its node deletes it, its grace is over
 * (`onExpired`), or the daemon stops.
 */
export class Orphans {
  readonly #deps: TasksDeps;
  readonly #candidates = new Map<TaskRecord, Timer>();
  /** The same by node key, so that a later attempt finds its own at once. */
  readonly #byNode = new Map<string, Set<TaskRecord>>();
  /** Deletions under way of what attempts of a node have left at the remote, by node key, each with the number of its attempt. */
  readonly #leaving = new Map<string, Map<Promise<void>, number>>();
  /** Deletions that a task waits for. */
  readonly #predecessors = new WeakMap<TaskRecord, Promise<void>[]>();
  /** The record that took the place of one. */
  readonly #next = new WeakMap<TaskRecord, TaskRecord>();
  #stopped = false;

  constructor(deps: TasksDeps) {
    this.#deps = deps;
  }

  /** Called when the grace of a candidate is over and nobody confirmed it. */
  onExpired: (task: TaskRecord) => void = () => {};

  get size(): number {
    return this.#candidates.size;
  }

  /**
   * A create call about this task was answered. It may arrive, where those before were lost: no later run cancels the job then. `relayed`:
   * by way of another replica, which may lose it, or die, without a word. Whether it arrived is as unknown then as after a crash.
   */
  answered(task: TaskRecord, relayed = false): void {
    const { store } = this.#deps;
    if (!relayed) store.answersArrived(task, 1);
    if (task.undeliveredAtMs !== undefined) {
      store.answeredAnew(task);
      this.#drop(task);
    }
    if (relayed) this.#doubt(task);
  }

  /**
   * One of these answers was lost. A repeated create is no sign that the engine holds the handle: its answer may be lost
   * as well, and then nobody ever deletes the job.
   */
  lost(answered: TaskRecord, relayed = false): void {
    const task = this.#latest(answered);
    const { store } = this.#deps;
    if (!relayed) store.answersArrived(task, -1);
    if (task.answersArrived > 0) return;
    store.undelivered(task);
    this.#add(task);
  }

  /**
   * A task of an earlier run. Where its answer was known to be lost what is left of the grace runs on; where nobody knows, a higher
   * attempt deletes it, and otherwise it is listed.
   */
  restored(task: TaskRecord): void {
    if (task.undeliveredAtMs !== undefined) this.#add(task);
    else this.#doubt(task);
  }

  /** A task went on as another record, under the handle that was answered. */
  moved(task: TaskRecord, next: TaskRecord): void {
    this.#next.set(task, next);
    this.#deps.store.answersArrived(next, task.answersArrived - next.answersArrived);
    if (!this.#drop(task)) return;
    if (next.undeliveredAtMs !== undefined) this.#add(next);
    else this.#doubt(next);
  }

  /**
   * A later attempt of the same node was created: earlier candidates are deleted first. It waits for those as well that an attempt between
   * the two has had deleted, and was to wait for: that one may be deleted before it has a job, which takes no time.
   */
  supersede(task: TaskRecord, remove: (orphan: TaskRecord) => Promise<void>): void {
    const { node } = task;
    if (node === undefined) return;
    for (const candidate of this.#byNode.get(node.nodeKey) ?? []) {
      if (candidate.node === undefined || candidate.node.attempt >= node.attempt) continue;
      this.#drop(candidate);
      if (this.#isHeld(candidate)) this.leaves(candidate.node, remove(candidate));
    }
    const gone = [...(this.#leaving.get(node.nodeKey) ?? [])].filter(([, attempt]) => attempt < node.attempt);
    if (gone.length > 0)
      this.#predecessors.set(
        task,
        gone.map(([deletion]) => deletion),
      );
  }

  /** What an attempt may have at the remote is being deleted until then, whether that succeeds or not: later ones wait for it. */
  leaves({ nodeKey, attempt }: NodeAttempt, gone: Promise<void>): void {
    const ofNode = getOrMake(this.#leaving, nodeKey, () => new Map<Promise<void>, number>());
    ofNode.set(gone, attempt);
    const left = () => {
      ofNode.delete(gone);
      if (ofNode.size === 0 && this.#leaving.get(nodeKey) === ofNode) this.#leaving.delete(nodeKey);
    };
    gone.then(left, left);
  }

  /** Resolves when the orphaned attempts before this one are cancelled at the remote; undefined where there are none. */
  predecessorsGone(task: TaskRecord): Promise<unknown> | undefined {
    const gone = this.#predecessors.get(task);
    this.#predecessors.delete(task);
    return gone && Promise.allSettled(gone);
  }

  stop(): void {
    this.#stopped = true;
    for (const task of [...this.#candidates.keys()]) this.#drop(task);
  }

  /**
   * What is over is none: it runs no more, and a Delete would free its key, under which a repeated create would run it a
   * second time instead of being told its end (rule 8).
   */
  #isOrphan(task: TaskRecord): boolean {
    return !task.confirmed && task.stage !== 'over' && task.answersArrived <= 0;
  }

  /** The same, of a task that was neither deleted nor moved meanwhile. */
  #isHeld(task: TaskRecord): boolean {
    return this.#deps.store.byId(task.id) === task && this.#isOrphan(task);
  }

  #latest(task: TaskRecord): TaskRecord {
    let latest = task;
    for (let next = this.#next.get(latest); next !== undefined; next = this.#next.get(latest)) latest = next;
    return latest;
  }

  /** Nobody knows whether its answer arrived: a later attempt of its node deletes it. */
  #doubt(task: TaskRecord): void {
    if (this.#stopped || task.node === undefined || !this.#isOrphan(task) || this.#candidates.has(task)) return;
    this.#candidates.set(task, NEVER);
    getOrMake(this.#byNode, task.node.nodeKey, () => new Set<TaskRecord>()).add(task);
    this.#forgetSome();
  }

  /** Nothing tells when a doubt is over: for each one that comes some of the oldest are looked at, so that they do not pile up. */
  #forgetSome(): void {
    const oldest: [TaskRecord, Timer][] = [];
    for (const entry of this.#candidates) if (oldest.push(entry) === LOOKED_AT) break;
    for (const [task, timer] of oldest) {
      if (timer === NEVER && !this.#isHeld(task)) this.#drop(task);
      else {
        this.#candidates.delete(task);
        this.#candidates.set(task, timer);
      }
    }
  }

  #add(task: TaskRecord): void {
    if (this.#stopped || task.undeliveredAtMs === undefined) return;
    if ((this.#candidates.get(task) ?? NEVER) !== NEVER) return;
    if (task.confirmed || task.stage === 'over') return;
    this.#candidates.set(task, this.#wait(task));
    if (task.node !== undefined) getOrMake(this.#byNode, task.node.nodeKey, () => new Set<TaskRecord>()).add(task);
  }

  /** For the next part of the grace. */
  #wait(task: TaskRecord): Timer {
    const { clock, options, events, store } = this.#deps;
    const { orphanGraceMs } = options;
    const partMs = nextPart(orphanGraceMs, task.undeliveredForMs);
    return clock.setTimer(partMs, () => {
      store.undeliveredFor(task, partMs);
      if (task.undeliveredForMs < orphanGraceMs) this.#candidates.set(task, this.#wait(task));
      else this.#expire(task).catch((error: unknown) => events.fault?.('orphans', error));
    });
  }

  /** Takes a task off the candidates; false when it was none. */
  #drop(task: TaskRecord): boolean {
    const timer = this.#candidates.get(task);
    if (timer === undefined) return false;
    timer.cancel();
    this.#candidates.delete(task);
    if (task.node !== undefined) {
      const ofNode = this.#byNode.get(task.node.nodeKey);
      ofNode?.delete(task);
      if (ofNode?.size === 0) this.#byNode.delete(task.node.nodeKey);
    }
    return true;
  }

  /**
   * Nobody asks for an orphan, so it was polled ever less: a last read may show that it is over, and then there is nothing to
   * delete. Meanwhile it stays a candidate, which a call may confirm and a later attempt delete.
   */
  async #expire(task: TaskRecord): Promise<void> {
    const { clock, runtimes } = this.#deps;
    if (this.#isHeld(task) && task.stage === 'live') {
      await runtimes.get(task.scope.plugin)?.refresher.readNow(task.id, clock.now() + LOOK_MS);
    }
    if (this.#drop(task) && this.#isHeld(task)) this.onExpired(task);
  }
}
