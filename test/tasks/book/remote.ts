import type { ManualClock } from '../../../src/lib/clock.js';
import { createDeferred } from '../../../src/lib/deferred.js';
import { phaseState } from '../../../src/model/phase-state.js';
import type { PluginOutcome } from '../../../src/model/plugin-call.js';
import { isTerminal, type Phase } from '../../../src/plugin-api/phase.js';
import { created, type FakePlugin, fail, ok } from '../harness.js';

export type Doing = 'create' | 'read' | 'delete';
/** `lost`: the work is done and its answer dies. `slow`: it is done, and answered after some seconds. */
export type Weather = 'fine' | 'down' | 'throttled' | 'lost' | 'silent' | 'slow';
/** Whom the remote does not find: all, every second job, and in a list alone none or every second. */
export type Blind = 'no' | 'all' | 'some' | 'list empty' | 'list half';

export interface Job {
  readonly key: string;
  /** The name of the engine's attempt, and how many Deletes it had answered for it when the job was made. */
  readonly name: string;
  readonly life: number;
  readonly nth: number;
  readonly madeAtMs: number;
  phase: Phase;
  cancelled: boolean;
  /** Gone without a trace. */
  purged: boolean;
  /** Reads of it fail for ever. */
  poisoned: boolean;
  /** What the daemon of now was told of it. */
  seen: Sight;
  /** Every answer over the minimum time was NotFound, three at least: a daemon may take it for gone. */
  believedGone: boolean;
}

export interface Sight {
  foundAtMs: number | undefined;
  missingSinceMs: number | undefined;
  /** Answers of NotFound in a row, to any call. */
  misses: number;
  /** Those of them that were reads. */
  reads: number;
}

export const UNSEEN: Sight = { foundAtMs: undefined, missingSinceMs: undefined, misses: 0, reads: 0 };

const SLOW_MS = 4_000;
const SILENT_MS = 20_000;

/** A remote that makes at most one job for an idempotency key, and notes every job and every call in its book. */
export class BookRemote {
  readonly jobs = new Map<string, Job>();
  readonly calls: { readonly lane: 'read' | 'write'; readonly atMs: number; readonly daemon: number }[] = [];
  readonly weather: Record<Doing, Weather> = { create: 'fine', read: 'fine', delete: 'fine' };
  blind: Blind = 'no';
  readonly broken: string[] = [];
  daemon = 0;
  readonly #reading = new Map<string, number>();
  readonly #clock: ManualClock;
  readonly #notFoundMinMs: number;
  readonly #lifeOf: (name: string) => number;

  constructor(clock: ManualClock, notFoundMinMs: number, lifeOf: (name: string) => number) {
    this.#clock = clock;
    this.#notFoundMinMs = notFoundMinMs;
    this.#lifeOf = lifeOf;
  }

  runs(job: Job): boolean {
    return !job.cancelled && !job.purged && !isTerminal(job.phase);
  }

  /** Answers the calls of a daemon until that one is dead. */
  serve(plugin: FakePlugin, alive: () => boolean): void {
    const daemon = this.daemon;
    const call = <T>(lane: 'read' | 'write', doing: Doing, work: () => PluginOutcome<T>) => {
      if (!alive()) return new Promise<PluginOutcome<T>>(() => undefined);
      this.calls.push({ lane, atMs: this.#clock.now(), daemon });
      return this.#answer(doing, work);
    };
    plugin.on.create = (args) =>
      call('write', 'create', () => {
        const key = args.idempotencyKey;
        const known = this.jobs.get(key);
        const name = args.metadata.generatedName;
        const job = known ?? this.#make(key, name);
        if (job.purged) return fail('transient', { message: 'the job of this key was purged' });
        return created(key, phaseState(job.cancelled ? 'ABORTED' : job.phase), known !== undefined);
      });
    plugin.on.get = ({ meta }) => this.#once([meta.toString()], () => call('read', 'read', () => this.#read(meta)));
    plugin.on.getMany = ({ items }) =>
      this.#once(
        items.map(({ meta }) => meta.toString()),
        () => call('read', 'read', () => ok(items.map(({ meta }, i) => this.#listed(meta, i)))),
      );
    plugin.on.delete = ({ meta }) =>
      call('write', 'delete', () => {
        const job = this.#find(meta.toString());
        if (job === undefined) return this.#miss(meta.toString(), false);
        this.#hit(job, false);
        if (this.runs(job)) job.cancelled = true;
        return ok({});
      });
  }

  #make(key: string, name: string): Job {
    const job: Job = {
      key,
      name,
      life: this.#lifeOf(name),
      nth: this.jobs.size,
      madeAtMs: this.#clock.now(),
      seen: { ...UNSEEN },
      believedGone: false,
      phase: 'QUEUED',
      cancelled: false,
      purged: false,
      poisoned: false,
    };
    this.jobs.set(key, job);
    return job;
  }

  /** The job, unless the remote cannot see it now or never will again. */
  #find(key: string): Job | undefined {
    const job = this.jobs.get(key);
    if (job === undefined || job.purged || this.blind === 'all') return undefined;
    if (this.blind === 'some' && job.nth % 2 === 0) return undefined;
    return job;
  }

  #read(meta: Buffer): PluginOutcome<ReturnType<typeof phaseState>> {
    const job = this.#find(meta.toString());
    if (job === undefined) return this.#miss(meta.toString(), true);
    this.#hit(job, !job.poisoned);
    if (job.poisoned) return fail('transient', { message: 'this job cannot be read' });
    return ok(phaseState(job.cancelled ? 'ABORTED' : job.phase));
  }

  #listed(meta: Buffer, at: number): PluginOutcome<ReturnType<typeof phaseState>> {
    if (this.blind === 'list empty' || (this.blind === 'list half' && at % 2 === 1)) {
      return this.#miss(meta.toString(), true);
    }
    return this.#read(meta);
  }

  #miss(key: string, read: boolean): PluginOutcome<never> {
    const job = this.jobs.get(key);
    if (job !== undefined) {
      const { seen } = job;
      const now = this.#clock.now();
      seen.missingSinceMs ??= now;
      seen.misses += 1;
      if (read) seen.reads += 1;
      if (seen.misses >= 3 && now - seen.missingSinceMs >= this.#notFoundMinMs) job.believedGone = true;
    }
    return fail('not_found');
  }

  #hit(job: Job, alive: boolean): void {
    job.seen = { ...UNSEEN, foundAtMs: alive ? this.#clock.now() : job.seen.foundAtMs };
  }

  async #once<T>(keys: readonly string[], read: () => Promise<T>): Promise<T> {
    for (const key of keys) {
      if (this.#reading.get(key) === this.daemon) this.broken.push(`two reads of ${key} at a time`);
      this.#reading.set(key, this.daemon);
    }
    try {
      return await read();
    } finally {
      for (const key of keys) this.#reading.delete(key);
    }
  }

  #answer<T>(doing: Doing, work: () => PluginOutcome<T>): Promise<PluginOutcome<T>> {
    const weather = this.weather[doing];
    // A read whose answer dies has told nothing, and a read has no effect.
    const effect = () => void (doing !== 'read' && work());
    switch (weather) {
      case 'fine':
        return Promise.resolve(work());
      case 'down':
        return Promise.resolve(fail('transient'));
      case 'throttled':
        return Promise.resolve(fail('throttled', { retryAfterMs: 3_000 }));
      case 'lost':
        effect();
        return Promise.resolve(fail('process_died'));
      case 'slow':
        return this.#later(work(), SLOW_MS);
      case 'silent':
        effect();
        return this.#later(fail('deadline'), SILENT_MS);
      default:
        return weather satisfies never;
    }
  }

  #later<T>(outcome: PluginOutcome<T>, ms: number): Promise<PluginOutcome<T>> {
    const late = createDeferred<PluginOutcome<T>>();
    this.#clock.setTimer(ms, () => late.resolve(outcome));
    return late.promise;
  }
}
