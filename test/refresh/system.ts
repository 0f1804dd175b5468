import assert from 'node:assert/strict';
import { createGate } from '../../src/calls/gate.js';
import type { GatePlugin } from '../../src/calls/serving.js';
import type { Gate, GateConfig } from '../../src/calls/types.js';
import type { CallOptions } from '../../src/host/types.js';
import { ManualClock } from '../../src/lib/clock.js';
import type { Abortable } from '../../src/lib/stop.js';
import type { PluginMethod, PluginMethods, PluginOutcome } from '../../src/model/plugin-call.js';
import type { ReadReport, RefreshConfig } from '../../src/refresh/types.js';
import { configOf, createTestRefresher, fails, type Outcome, running, type TestRefresher } from './fake-reader.js';

export interface SystemOptions {
  readonly refresh: Partial<RefreshConfig>;
  readonly gate: Partial<GateConfig>;
  readonly latencyMs: () => number;
  readonly random: () => number;
}

/** A remote behind a gate behind a refresher, with rules 1 and 3 checked at every call that reaches the remote. */
export class System {
  readonly clock = new ManualClock();
  readonly gate: Gate;
  readonly refresher: TestRefresher;
  readonly sends: number[] = [];
  readonly reports: ReadReport[] = [];
  readonly lastReadMs = new Map<string, number>();
  readonly underWay = new Set<string>();
  respond: (id: string) => Outcome = () => running;
  remote: 'up' | 'down' = 'up';
  remoteFailingSinceMs = 0;
  openSinceDown = 0;
  outages = 0;
  /** Tasks that were read later than is told as late. */
  late = 0;
  /** Broken rules, collected: an assertion thrown here would be taken for a fault of the plugin. */
  readonly violations: unknown[] = [];
  onReport: (report: ReadReport) => void = () => undefined;
  readonly #options: SystemOptions;

  constructor(options: SystemOptions) {
    this.#options = options;
    const rate = { qps: 5, burst: 5 };
    const config: GateConfig = {
      readRateLimiter: rate,
      writeRateLimiter: rate,
      readConcurrency: 4,
      writeConcurrency: 4,
      maxQueue: 1_000,
      callTimeoutMs: 20_000,
      doTimeoutMs: 20_000,
      maxWaitMs: 60_000,
      ...options.gate,
    };
    this.gate = createGate({ plugin: this.#plugin(), config, clock: this.clock, random: options.random });
    this.refresher = createTestRefresher({
      clock: this.clock,
      random: options.random,
      config: configOf({
        readQps: config.readRateLimiter.qps,
        readConcurrency: config.readConcurrency,
        ...options.refresh,
      }),
      events: {
        remoteDown: ({ sinceMs }) => {
          this.remote = 'down';
          this.remoteFailingSinceMs = sinceMs;
          this.outages += 1;
          this.openSinceDown = 0;
        },
        remoteUp: () => {
          this.remote = 'up';
        },
        readStarted: ({ late }) => {
          this.late += late;
        },
        fault: (thrown) => this.violations.push(thrown),
      },
      reader: {
        read: (request) => this.#read(request.ids, request.purpose, request.deadlineMs, request.signal),
        capacity: () => this.gate.capacity(),
        onOutcome: (report) => {
          this.reports.push(report);
          this.onReport(report);
          return { terminal: report.verdict !== undefined };
        },
      },
    });
    this.gate.onReadCapacity(() => this.refresher.wake());
  }

  async #read(ids: readonly string[], purpose: string, deadlineMs: number | undefined, signal: Abortable | undefined) {
    const items = ids.map((id) => ({
      meta: Buffer.from(id),
      outputPrefix: '',
      idempotencyKey: id,
      connection: undefined,
    }));
    if (purpose !== 'get' && !this.gate.capacity().open)
      this.violations.push('a poll was started that the gate would not send now');
    const outcome = await this.gate.call(
      'getMany',
      { items },
      {
        admission: purpose === 'get' ? 'fail-fast' : 'wait',
        deadlineMs,
        signal,
      },
    );
    if (outcome.ok) return outcome.value;
    return ids.map((): Outcome => outcome);
  }

  #plugin(): GatePlugin {
    return {
      id: 'demo',
      state: 'serving',
      stateReason: '',
      writable: true,
      drained: () => Promise.resolve(),
      onStateChange: () => () => undefined,
      call: <M extends PluginMethod>(
        _method: M,
        args: PluginMethods[M]['args'],
        { deadlineMs = Number.POSITIVE_INFINITY, signal }: CallOptions,
      ) => {
        const { items } = args as PluginMethods['getMany']['args'];
        const ids = items.map((item) => item.idempotencyKey);
        this.sends.push(this.clock.now());
        const inOutage = this.refresher.stats().remote === 'down' ? this.outages : 0;
        for (const id of ids) {
          if (this.underWay.has(id)) this.violations.push(`two reads of ${id} at a time`);
          this.underWay.add(id);
          this.lastReadMs.set(id, this.clock.now());
        }
        if (inOutage > 0) this.openSinceDown += 1;
        if (this.openSinceDown > 1 && !this.graceOver()) this.violations.push('two probes at a time');
        return new Promise<PluginOutcome<PluginMethods[M]['answer']>>((resolve) => {
          const end = (outcome: PluginOutcome<unknown>) => {
            answer.cancel();
            bound.cancel();
            signal?.removeEventListener('abort', onAbort);
            for (const id of ids) this.underWay.delete(id);
            if (inOutage > 0 && inOutage === this.outages) this.openSinceDown -= 1;
            resolve(outcome as PluginOutcome<PluginMethods[M]['answer']>);
          };
          const onAbort = () => end(fails('cancelled'));
          const answer = this.clock.setTimer(this.#options.latencyMs(), () =>
            end({ ok: true, value: ids.map((id) => this.respond(id)) }),
          );
          const bound = this.clock.setTimer(deadlineMs - this.clock.now(), () => end(fails('deadline')));
          signal?.addEventListener('abort', onAbort, { once: true });
        });
      },
    };
  }

  graceOver(): boolean {
    const graceMs = this.#options.refresh.outageGraceMs ?? 3_600_000;
    return this.clock.now() - this.remoteFailingSinceMs >= graceMs;
  }

  /** Stops polling and lets what is under way come to its end. */
  async stop(): Promise<void> {
    const stopping = this.refresher.stop();
    await this.clock.advance(25_000);
    await stopping;
    await this.gate.close();
    assert.deepEqual(this.violations, []);
  }

  /** Rule 1 over the whole run, for a limit that did not change. */
  checkWindows(qps: number, burst: number): void {
    for (let i = 0; i < this.sends.length; i++) {
      for (let j = i; j < this.sends.length; j++) {
        const allowed = burst + (qps * (this.sends[j]! - this.sends[i]!)) / 1_000;
        assert.ok(j - i + 1 <= allowed + 1e-3, `${j - i + 1} reads where ${allowed} are allowed`);
      }
    }
  }
}

/** A small reproducible source of randomness in [0, 1). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
}
