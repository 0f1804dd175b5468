import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { DemoRemote } from '../../plugins/demo/remote.js';
import type { Client, PhaseInfo } from '../../src/client/index.js';
import { isTerminal } from '../../src/plugin-api/phase.js';
import { until } from '../daemon/support.js';
import { mostAtOnce } from '../support/at-once.js';
import { mostBeyond, RoundRobin } from './support.js';

interface Limit {
  readonly qps: number;
  readonly burst: number;
}

/** What engines do, and what the remote's book is compared with. */
export interface Work {
  /** What the plugin is held to meanwhile. */
  readonly held: {
    readonly writeRateLimiter: Limit;
    readonly readRateLimiter: Limit;
    readonly resourceQuotas: { readonly default: number };
  };
  /** Tasks that are open at once: more than there are tokens. */
  readonly open: number;
  readonly jobS: number;
  /** Between two looks at a task. */
  readonly pollMs: number;
  /** Tasks in all; as many as there is time for unless given. */
  readonly tasks?: number;
}

export const USUAL = {
  held: {
    writeRateLimiter: { qps: 20, burst: 5 },
    readRateLimiter: { qps: 40, burst: 10 },
    resourceQuotas: { default: 8 },
  },
  open: 12,
  jobS: 0.6,
  pollMs: 150,
} satisfies Work;
/** One in so many tasks is deleted while it runs. */
const DELETED = 5;
const CALL_MS = 6_000;
/** How long a call is tried: longer than any trouble here. */
const PATIENCE_MS = 90_000;
/** Whatever a connection, or a deadline, may end with. */
const REPEATED = ['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'CANCELLED', 'INTERNAL', 'UNKNOWN', 'RESOURCE_EXHAUSTED'];

/** Engines that take tasks from their Create to their Delete, one after the other, over whatever replicas there are. */
export class Engines {
  readonly balancer: RoundRobin;
  readonly #remote: DemoRemote;
  readonly #of: Work;
  readonly #ends = new Map<string, string>();
  readonly #working: Promise<void>;
  #begun = 0;
  #going = true;

  constructor(remote: DemoRemote, clients: () => readonly Client[], of: Work = USUAL) {
    this.#remote = remote;
    this.#of = of;
    this.balancer = new RoundRobin(clients, REPEATED);
    this.#working = Promise.all(Array.from({ length: of.open }, () => this.#work())).then(() => undefined);
    // Who waits for the end is told; until then the test goes on.
    this.#working.catch(() => undefined);
  }

  /** Tasks that have come to their end so far. */
  get ended(): number {
    return this.#ends.size;
  }

  /** Resolves once so many more tasks have come to their end. */
  async progress(tasks = this.#of.open): Promise<void> {
    const from = this.ended;
    const ended = until(`${tasks} more ends`, () => this.ended >= from + tasks).catch((error: unknown) => {
      throw new Error(`${this.ended - from} of ${tasks} ends came; repeated: ${this.#repeated()}`, { cause: error });
    });
    await Promise.race([ended, this.#failure()]);
  }

  /** Resolves once all of a given number of tasks have come to their end. */
  async all(): Promise<void> {
    await this.#working;
  }

  /** Begins no more tasks, and compares the remote's book with what was told, once all have ended. */
  async finish({ limits = true }: { limits?: boolean } = {}): Promise<string> {
    this.#going = false;
    await this.#working;
    assert.equal(this.#ends.size, this.#begun);
    const creates = this.#remote.calls.filter(({ kind, status }) => kind === 'create' && status === 201);
    for (const [name, end] of this.#ends) {
      const jobs = creates.filter(({ names }) => names[0] === name).length;
      if (end === 'deleted') assert.ok(jobs <= 1, `${name}: ${jobs} jobs`);
      else assert.deepEqual([end, jobs], ['SUCCESS', 1], name);
    }
    await until('the end of every job', () =>
      this.#remote.jobs().every(({ state }) => state !== 'QUEUED' && state !== 'RUNNING'),
    );
    const { held } = this.#of;
    const most = this.#mostAtOnce();
    assert.ok(most <= held.resourceQuotas.default, `${most} jobs at once`);
    const [writes, reads] = [this.#beyond('write'), this.#beyond('read')];
    if (limits) {
      // A busy machine holds calls up between their send and their arrival, and lets go of them together: of half a second here.
      assert.ok(writes <= held.writeRateLimiter.qps / 2, `${writes} writes too many`);
      assert.ok(reads <= held.readRateLimiter.qps / 2, `${reads} reads too many`);
    }
    return `${this.#begun} tasks, ${most} jobs at once; writes beyond the limit ${writes.toFixed(1)}, reads ${reads.toFixed(1)}; repeated: ${this.#repeated()}`;
  }

  #repeated(): string {
    const codes = [...this.balancer.repeated].map(([code, times]) => `${code} ${times}`);
    return codes.join(', ') || 'nothing';
  }

  async #work(): Promise<void> {
    while (this.#going && this.#begun < (this.#of.tasks ?? Number.POSITIVE_INFINITY)) {
      const number = this.#begun++;
      const name = `e${number}`;
      const deletes = number % DELETED === DELETED - 1;
      const template = { type: 'demo_sleep', custom: { seconds: this.#of.jobS } };
      const create = (client: Client) => client.create({ generatedName: name, template }, { deadlineMs: CALL_MS });
      const { handle } = await this.#call(create);
      const end = deletes ? 'deleted' : await this.#endOf(handle);
      await this.#call((client) => client.delete(handle, { deadlineMs: CALL_MS }));
      this.#ends.set(name, end);
    }
  }

  async #endOf(handle: Uint8Array): Promise<string> {
    for (;;) {
      const { phaseInfo } = await this.#call((client) => client.status(handle, { deadlineMs: CALL_MS }));
      if (isTerminal(phaseInfo.phase)) return endText(phaseInfo);
      await sleep(this.#of.pollMs);
    }
  }

  #call<T>(make: (client: Client) => Promise<T>): Promise<T> {
    return this.balancer.call(make, PATIENCE_MS);
  }

  /** Rejects where an engine gave up. */
  async #failure(): Promise<void> {
    await this.#working;
    if (this.#going) throw new Error('the engines ended');
  }

  #beyond(lane: 'write' | 'read'): number {
    const kinds = lane === 'write' ? ['create', 'cancel'] : ['read', 'readMany'];
    const times = this.#remote.calls.filter(({ kind }) => kinds.includes(kind)).map(({ atMs }) => atMs);
    return mostBeyond(times, lane === 'write' ? this.#of.held.writeRateLimiter : this.#of.held.readRateLimiter);
  }

  /** From the remote's book: a job runs for its time, or until it is cancelled. */
  #mostAtOnce(): number {
    const cancels = new Map<string, number>();
    for (const { kind, names, atMs } of this.#remote.calls) {
      const [name = ''] = names;
      if (kind === 'cancel' && !cancels.has(name)) cancels.set(name, atMs);
    }
    const spans = this.#remote.calls
      .filter(({ kind, status }) => kind === 'create' && status === 201)
      .map(({ names: [name = ''], atMs }) => ({
        from: atMs,
        to: Math.min(atMs + this.#of.jobS * 1000, cancels.get(name) ?? Number.POSITIVE_INFINITY),
      }));
    return mostAtOnce(spans);
  }
}

function endText({ phase, error }: PhaseInfo): string {
  return error === undefined ? phase : `${phase}: ${error.code} ${error.message}`;
}
