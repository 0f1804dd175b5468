import { type ErrorCode, HostError } from '../../src/errors/index.js';
import { createDeferred } from '../../src/lib/deferred.js';
import type { FactKey, Puts, StateEngine } from '../../src/state/index.js';

/** Thrown by an engine of a daemon that is dead: nothing it does counts any more. */
export class Dead extends Error {}

/** What lies on the disk of a machine: it outlives the engines that write it. */
export class Disk {
  readonly facts = new Map<FactKey, Buffer>();
  commits = 0;
}

export interface CrashOptions {
  /** The daemon is dead once this many commits are safe; what it does then changes nothing. */
  readonly stopAfter?: number;
  /** With it a commit is safe on the disk, and the daemon dies before it learns that. */
  readonly told?: boolean;
}

/**
 * Facts in the memory of a test, as a machine that loses power sees them: a commit that has not resolved is lost whole.
 * `hold` keeps commits from being safe until `release`.
 */
export class CrashEngine implements StateEngine {
  readonly name = 'crash';
  readonly durable = true;
  readonly disk: Disk;
  readonly #options: CrashOptions;
  #held = createDeferred<void>();
  #dead = false;
  /** What the next commits fail with. */
  failWith: ErrorCode | undefined;
  sizeBytes = 0;
  /** Commits that were asked for. */
  asked = 0;

  constructor(disk = new Disk(), options: CrashOptions = {}) {
    this.disk = disk;
    this.#options = options;
    this.#held.resolve();
  }

  get dead(): boolean {
    return this.#dead;
  }

  hold(): void {
    this.#held = createDeferred<void>();
  }

  release(): void {
    this.#held.resolve();
  }

  /** Loses every write that is not safe yet, as a loss of power does. */
  powerLoss(): void {
    this.#dead = true;
    this.#held.resolve();
  }

  open(): Promise<void> {
    return Promise.resolve();
  }

  async *load(): AsyncIterable<readonly (readonly [FactKey, Buffer])[]> {
    const facts = [...this.disk.facts].sort(([a], [b]) => (a < b ? -1 : 1));
    if (facts.length > 0) yield facts;
  }

  async commit(puts: Puts, drops: readonly FactKey[]): Promise<void> {
    this.asked += 1;
    // What memory holds may change while it is written; this is what was handed over.
    const copies = [...puts].map(([key, value]) => [key, Buffer.from(value)] as const);
    await this.#held.promise;
    await Promise.resolve();
    if (this.#dead) return new Promise(() => undefined);
    if (this.failWith !== undefined) throw new HostError(this.failWith, 'as the test has it');
    if (this.#options.stopAfter === this.disk.commits && this.#options.told !== true) return this.#die();
    for (const [key, value] of copies) this.disk.facts.set(key, value);
    for (const key of drops) this.disk.facts.delete(key);
    this.disk.commits += 1;
    if (this.#options.stopAfter === this.disk.commits && this.#options.told === true) return this.#die();
  }

  /** Nobody hears of it: a dead process awaits nothing. */
  #die(): Promise<void> {
    this.#dead = true;
    return new Promise(() => undefined);
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
