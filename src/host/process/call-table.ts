import { messageOf } from '../../errors/index.js';
import type { Clock, Timer } from '../../lib/clock.js';
import { PassingMap } from '../../lib/passing.js';
import type { Abortable } from '../../lib/stop.js';
import { type Mask, maskedFailure } from '../../model/masked.js';
import type { PluginFailure, PluginMethod, PluginMethods, PluginOutcome } from '../../model/plugin-call.js';
import { failedCall, failureOf } from '../../model/plugin-failure.js';
import { checkAnswer, maskedAnswer } from './answers.js';

type AnyOutcome = PluginOutcome<PluginMethods[PluginMethod]['answer']>;

interface Waiting {
  readonly method: PluginMethod;
  readonly args: unknown;
  readonly settle: (outcome: AnyOutcome) => void;
  readonly timer: Timer;
  readonly signal: Abortable | undefined;
  readonly onAbort: () => void;
}

export interface CallTableOptions {
  readonly clock: Clock;
  /** Tells the process that nobody waits for this call any more. */
  readonly cancel: (id: number) => void;
  /** Takes secrets out of what is shown of answers and failures. */
  readonly mask: Mask;
}

/**
 * The calls that were sent to one process and are not settled. Every call settles exactly once: by its answer, its
 * deadline, its signal, or the end of the process. What comes later is dropped.
 */
export class CallTable {
  readonly #options: CallTableOptions;
  readonly #waiting = new PassingMap<number, Waiting>();
  #nextId = 1;
  /** Calls that passed their deadline since it was last set to 0; a sign of a hanging process. */
  expired = 0;

  constructor(options: CallTableOptions) {
    this.#options = options;
  }

  get size(): number {
    return this.#waiting.size;
  }

  /** Starts a call. `send` is called with its id; if it throws, nothing waits and the error is passed on. */
  add<M extends PluginMethod>(
    method: M,
    args: PluginMethods[M]['args'],
    leftMs: number,
    signal: Abortable | undefined,
    send: (id: number) => void,
  ): Promise<PluginOutcome<PluginMethods[M]['answer']>> {
    const id = this.#nextId++;
    send(id);
    return new Promise((resolve) => {
      const onAbort = (): void => {
        this.#options.cancel(id);
        this.#settle(id, failedCall('cancelled', 'CALL_CANCELLED', `${method}: the caller gave the call up`));
      };
      const timer = this.#options.clock.setTimer(leftMs, () => {
        this.expired++;
        // A process that was busy may not have begun it yet; it would give it the whole time once more.
        this.#options.cancel(id);
        this.#settle(
          id,
          failedCall('deadline', 'PLUGIN_DEADLINE', `${method}: no answer within ${Math.round(leftMs)} ms`),
        );
      });
      signal?.addEventListener('abort', onAbort, { once: true });
      const settle = resolve as (outcome: AnyOutcome) => void;
      this.#waiting.set(id, { method, args, settle, timer, signal, onAbort });
    });
  }

  answer(id: number, value: unknown): void {
    const call = this.#waiting.get(id);
    if (call === undefined) return;
    try {
      this.#settle(id, {
        ok: true,
        value: maskedAnswer(call.method, checkAnswer(call.method, value, call.args), this.#options.mask),
      });
    } catch (error) {
      const message = this.#options.mask(`${call.method}: ${messageOf(error)}`);
      this.#settle(id, failedCall('invalid', 'PLUGIN_ANSWER_INVALID', message));
    }
  }

  fail(id: number, failure: PluginFailure): void {
    this.#settle(id, { ok: false, failure: maskedFailure(failureOf(failure), this.#options.mask) });
  }

  /** The process is gone: every call settles as `process_died`. */
  end(why: string): void {
    for (const [id, call] of [...this.#waiting]) {
      this.#settle(
        id,
        failedCall('process_died', 'PLUGIN_PROCESS_DIED', `${call.method}: the plugin's process ${why}`),
      );
    }
  }

  #settle(id: number, outcome: AnyOutcome): void {
    const call = this.#waiting.get(id);
    if (call === undefined) return;
    this.#waiting.delete(id);
    call.timer.cancel();
    call.signal?.removeEventListener('abort', call.onAbort);
    call.settle(outcome);
  }
}
