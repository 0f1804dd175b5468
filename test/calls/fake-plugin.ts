import type { GatePlugin } from '../../src/calls/serving.js';
import type { GateConfig } from '../../src/calls/types.js';
import type { CallOptions } from '../../src/host/types.js';
import { createDeferred, type Deferred } from '../../src/lib/deferred.js';
import type { Abortable } from '../../src/lib/stop.js';
import type { PluginState, StateChange } from '../../src/model/events/host.js';
import { phaseState } from '../../src/model/phase-state.js';
import type {
  FailureKind,
  PluginFailure,
  PluginMethod,
  PluginMethods,
  PluginOutcome,
} from '../../src/model/plugin-call.js';

export interface SentCall {
  readonly method: PluginMethod;
  readonly args: unknown;
  readonly atMs: number;
  readonly deadlineMs: number;
  readonly signal: Abortable | undefined;
  readonly settle: Deferred<PluginOutcome<never>>;
  settled: boolean;
}

/** A plugin process whose calls the test settles by hand. */
export class FakePlugin implements GatePlugin {
  readonly id = 'demo';
  readonly sent: SentCall[] = [];
  state: PluginState = 'serving';
  stateReason = '';
  /** Makes `call` throw instead of answering a promise. */
  throwsOnSend = false;
  #writable = true;
  #waits: Deferred<void>[] = [];
  readonly #now: () => number;

  constructor(now: () => number) {
    this.#now = now;
  }

  get writable(): boolean {
    return this.#writable;
  }

  set writable(value: boolean) {
    this.#writable = value;
    if (value) this.nudge();
  }

  /** Resolves everybody who waits, whether or not the channel is writable. */
  nudge(): void {
    for (const wait of this.#waits.splice(0)) wait.resolve();
  }

  drained(): Promise<void> {
    const wait = createDeferred<void>();
    this.#waits.push(wait);
    return wait.promise;
  }

  onStateChange(listener: (change: StateChange) => void): () => void {
    let on = true;
    void this.drained().then(() => {
      if (on) listener({} as StateChange);
    });
    return () => {
      on = false;
    };
  }

  call<M extends PluginMethod>(
    method: M,
    args: PluginMethods[M]['args'],
    { deadlineMs = Number.POSITIVE_INFINITY, signal }: CallOptions,
  ): Promise<PluginOutcome<PluginMethods[M]['answer']>> {
    if (this.throwsOnSend) throw new Error('channel closed');
    const settle = createDeferred<PluginOutcome<never>>();
    this.sent.push({ method, args, atMs: this.#now(), settle, settled: false, deadlineMs, signal });
    return settle.promise;
  }

  get open(): SentCall[] {
    return this.sent.filter((call) => !call.settled);
  }

  /** Settles the n-th call that was sent and is not settled. */
  settle(n: number, outcome: PluginOutcome<unknown>): void {
    const call = this.open[n];
    if (call === undefined) return;
    call.settled = true;
    call.settle.resolve(outcome as PluginOutcome<never>);
  }
}

export function failure(kind: FailureKind, retryAfterMs?: number): PluginFailure {
  return { kind, code: 'X', message: kind, faultKind: 'SYSTEM', retryAfterMs };
}

export const running: PluginOutcome<unknown> = { ok: true, value: phaseState('RUNNING') };

export function fails(kind: FailureKind, retryAfterMs?: number): PluginOutcome<never> {
  return { ok: false, failure: failure(kind, retryAfterMs) };
}

export const wideConfig: GateConfig = {
  readRateLimiter: { qps: 10, burst: 10 },
  writeRateLimiter: { qps: 10, burst: 10 },
  readConcurrency: 2,
  writeConcurrency: 2,
  maxQueue: 100,
  callTimeoutMs: 30_000,
  doTimeoutMs: 300_000,
  maxWaitMs: 60_000,
};

export const resource = { meta: Buffer.from('{}'), outputPrefix: '', idempotencyKey: 'k', connection: undefined };
