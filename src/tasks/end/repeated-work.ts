import type { Clock, Timer } from '../../lib/clock.js';
import { createDeferred, type Deferred } from '../../lib/deferred.js';
import { getOrMake } from '../../lib/get-or-make.js';
import { LinkedQueue } from '../../lib/linked-queue.js';
import { PassingSet } from '../../lib/passing.js';
import { type Abortable, Stop } from '../../lib/stop.js';
import { type PluginMethod, type PluginMethods, UNTIL_SENT } from '../../model/plugin-call.js';
import type { PluginRuntime } from '../../runtime/runtime.js';

export interface RepeatedWorkOptions<T> {
  readonly clock: Clock;
  /** Tries of one plugin's work that are under way at a time. */
  readonly concurrency: number;
  readonly pluginOf: (item: T) => string;
  /** One try. Resolves to the delay before the next one in milliseconds, or to undefined when nothing is left to do. */
  readonly attempt: (item: T) => Promise<number | undefined>;
  /** `attempt` rejected, which is a fault of the daemon; answers the delay before the next try. */
  readonly faulty: (item: T, error: unknown) => number;
}

interface Line<T> {
  readonly ready: LinkedQueue<T>;
  active: number;
}

/**
 * Work that the daemon owes to remotes and tries until it is done: a line for each plugin, first come, first served, with
 * a bound of its own, so that a remote that does not answer holds up its own work alone.
 *
 * States of an item: waiting for its next try (a timer; `drop` takes it out), ready in its plugin's line, being tried; whoever
 * tries it adds it again, or it is done. After `stop` nothing becomes ready and calls that were not sent are taken back.
 */
export class RepeatedWork<T> {
  readonly #options: RepeatedWorkOptions<T>;
  readonly #lines = new Map<string, Line<T>>();
  readonly #timers = new Map<T, Timer>();
  /** Takes calls that are not sent yet out of the gate's queue. */
  readonly #queued = new PassingSet<Stop>();
  #inFlight = 0;
  #stopping = false;
  #idle: Deferred<void> | undefined;

  constructor(options: RepeatedWorkOptions<T>) {
    this.#options = options;
  }

  /** Tries the item once the delay has passed and its turn has come. */
  add(item: T, delayMs = 0): void {
    if (this.#stopping) return;
    if (delayMs > 0) {
      this.#timers.set(
        item,
        this.#options.clock.setTimer(delayMs, () => this.#enqueue(item)),
      );
    } else this.#enqueue(item);
  }

  /** Takes an item out that waits for its next try. */
  drop(item: T): void {
    this.#timers.get(item)?.cancel();
    this.#timers.delete(item);
  }

  /** A call that waits its turn, unless the stop comes first; once sent it is not given up. */
  call<M extends PluginMethod>(runtime: PluginRuntime, method: M, args: PluginMethods[M]['args']) {
    return this.untilStop((signal, onSent) =>
      runtime.gate.call(method, args, { admission: 'wait', deadlineMs: UNTIL_SENT, signal, onSent }),
    );
  }

  /** Something that waits on the signal of the stop, until it says that it is past its waiting. */
  async untilStop<R>(wait: (signal: Abortable, past: () => void) => Promise<R>): Promise<R> {
    const queued = new Stop();
    if (this.#stopping) queued.abort();
    this.#queued.add(queued);
    try {
      return await wait(queued, () => this.#queued.delete(queued));
    } finally {
      this.#queued.delete(queued);
    }
  }

  /** Sends nothing more; resolves when no try is under way. */
  async stop(): Promise<void> {
    this.#stopping = true;
    for (const queued of this.#queued) queued.abort();
    for (const timer of this.#timers.values()) timer.cancel();
    this.#timers.clear();
    if (this.#inFlight === 0) return;
    this.#idle ??= createDeferred<void>();
    await this.#idle.promise;
  }

  #enqueue(item: T): void {
    this.#timers.delete(item);
    const line = getOrMake(this.#lines, this.#options.pluginOf(item), () => ({
      ready: new LinkedQueue<T>(),
      active: 0,
    }));
    line.ready.push(item);
    this.#pump(line);
  }

  #pump(line: Line<T>): void {
    while (!this.#stopping && line.active < this.#options.concurrency) {
      const item = line.ready.shift();
      if (item === undefined) return;
      line.active += 1;
      this.#inFlight += 1;
      void this.#try(item).finally(() => {
        line.active -= 1;
        this.#inFlight -= 1;
        if (this.#inFlight === 0) this.#idle?.resolve();
        this.#pump(line);
      });
    }
  }

  /** Never rejects. */
  async #try(item: T): Promise<void> {
    let again: number | undefined;
    try {
      again = await this.#options.attempt(item);
    } catch (error) {
      again = this.#options.faulty(item, error);
    }
    if (again !== undefined) this.add(item, again);
  }
}
