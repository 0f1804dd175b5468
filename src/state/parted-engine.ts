import { HostError } from '../errors/index.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import type { Puts, StateEngine } from './engine.js';
import type { FactKey } from './facts/facts.js';
import { type KeyRange, partPrefix, rangeOfPart, rangesOutside } from './facts/part-keys.js';

interface Asked {
  readonly part: Part;
  readonly puts: Puts;
  readonly drops: readonly FactKey[];
  readonly done: Deferred<void>;
}

/**
 * One engine for several parts, each of which has facts of its own under keys of its own. What parts commit while a commit is under way
 * is gathered, and is one commit.
 *
 * States: closed → open, with the first part's `open` → closed, with the last one's `close`.
 */
export class PartedEngine {
  readonly #engine: StateEngine;
  readonly #parts: readonly Part[];
  #opening: Promise<void> | undefined;
  #open = 0;
  #asked: Asked[] = [];
  #writing = false;

  constructor(engine: StateEngine, parts: number) {
    this.#engine = engine;
    this.#parts = Array.from({ length: parts }, (_, index) => new Part(this, engine, index, parts));
  }

  part(index: number): StateEngine {
    return this.#parts[index] as Part;
  }

  async open(stop: AbortSignal | undefined): Promise<void> {
    this.#opening ??= this.#openWhole(stop);
    await this.#opening;
    this.#open += 1;
  }

  async #openWhole(stop: AbortSignal | undefined): Promise<void> {
    await this.#engine.open(stop);
    try {
      await this.#assertDivided();
    } catch (error) {
      await this.#engine.close().catch(() => undefined);
      throw error;
    }
  }

  /** Throws STATE_FOREIGN where the state is divided in another way, or not at all. */
  async #assertDivided(): Promise<void> {
    for (const range of rangesOutside(this.#parts.length)) {
      for await (const page of this.#engine.load(range)) {
        const [key] = page[0] ?? [];
        if (key === undefined) continue;
        throw new HostError(
          'STATE_FOREIGN',
          `the state is not divided into ${this.#parts.length} parts, since it holds "${key.slice(0, 80)}"; set state.parts to the number that it was begun with`,
        );
      }
    }
  }

  commit(part: Part, puts: Puts, drops: readonly FactKey[]): Promise<void> {
    const done = createDeferred<void>();
    this.#asked.push({ part, puts, drops, done });
    if (!this.#writing) void this.#write();
    return done.promise;
  }

  async #write(): Promise<void> {
    this.#writing = true;
    while (this.#asked.length > 0) {
      const group = this.#asked;
      this.#asked = [];
      try {
        await this.#commitAll(group);
        for (const { done } of group) done.resolve();
      } catch (error) {
        for (const { done } of group) done.reject(error);
        // The others have to commit everything anew as well, and would not hear of it.
        if (HostError.is(error) && error.code === 'STATE_LOST') {
          for (const part of this.#parts) if (!group.some((one) => one.part === part)) part.tellLost();
        }
      }
    }
    this.#writing = false;
  }

  async #commitAll(group: readonly Asked[]): Promise<void> {
    const puts = new Map<FactKey, Buffer>();
    const drops: FactKey[] = [];
    for (const { part, puts: own, drops: gone } of group) {
      for (const [key, value] of own) puts.set(part.prefix + key, value);
      for (const key of gone) drops.push(part.prefix + key);
    }
    await this.#engine.commit(puts, drops);
  }

  /** Of one part that was open. */
  async close(): Promise<void> {
    this.#open -= 1;
    if (this.#open > 0) return;
    this.#opening = undefined;
    await this.#engine.close();
  }
}

/**
 * What one part has of the engine.
 *
 * States: closed → `open` → open → `close` → closed.
 */
class Part implements StateEngine {
  readonly #whole: PartedEngine;
  readonly #engine: StateEngine;
  readonly #range: KeyRange;
  readonly prefix: string;
  #isOpen = false;
  #lost: () => void = () => {};

  constructor(whole: PartedEngine, engine: StateEngine, index: number, parts: number) {
    this.#whole = whole;
    this.#engine = engine;
    this.#range = rangeOfPart(index, parts);
    this.prefix = partPrefix(index, parts);
  }

  get name(): string {
    return this.#engine.name;
  }

  get durable(): boolean {
    return this.#engine.durable;
  }

  get sizeBytes(): number {
    return this.#engine.sizeBytes;
  }

  async open(stop?: AbortSignal): Promise<void> {
    await this.#whole.open(stop);
    this.#isOpen = true;
  }

  async *load(): AsyncIterable<readonly (readonly [FactKey, Buffer])[]> {
    for await (const page of this.#engine.load(this.#range)) {
      yield page.map(([key, value]) => [key.slice(this.prefix.length), value] as const);
    }
  }

  commit(puts: Puts, drops: readonly FactKey[]): Promise<void> {
    return this.#whole.commit(this, puts, drops);
  }

  onLost(tell: () => void): void {
    this.#lost = tell;
  }

  tellLost(): void {
    if (this.#isOpen) this.#lost();
  }

  async close(): Promise<void> {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    await this.#whole.close();
  }
}
