import { HostError } from '../errors/index.js';
import { createDeferred, type Deferred } from '../lib/deferred.js';
import type { Guard, NotWritten, PartCommit, Puts, StateEngine } from './engine.js';
import type { FactKey, FactKind } from './facts/facts.js';
import { type KeyRange, partPrefix, rangeOfKind, rangeOfPart, rangesOutside } from './facts/part-keys.js';

interface Asked {
  readonly part: Part;
  /** When it was asked. */
  readonly tenure: string;
  readonly puts: Puts;
  readonly drops: readonly FactKey[];
  readonly guards: readonly Guard[];
  readonly consumed: readonly string[];
  /** With the guards that are not met. */
  readonly done: Deferred<readonly Guard[]>;
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

  /** The facts of one kind of a part, whoever has it, as they are kept now. Throws as `StateEngine.load`. */
  read(part: number, kind: FactKind): AsyncIterable<readonly (readonly [FactKey, Buffer])[]> {
    return this.#engine.load(rangeOfKind(part, this.#parts.length, kind));
  }

  commit(
    part: Part,
    puts: Puts,
    drops: readonly FactKey[],
    guards: readonly Guard[] = NO_GUARDS,
    consumed: readonly string[] = NO_ROWS,
  ): Promise<readonly Guard[]> {
    const done = createDeferred<readonly Guard[]>();
    this.#asked.push({ part, tenure: part.tenure, puts, drops, guards, consumed, done });
    if (!this.#writing) void this.#write();
    return done.promise;
  }

  async #write(): Promise<void> {
    this.#writing = true;
    while (this.#asked.length > 0) {
      const group = firstOfEach(this.#asked);
      this.#asked = group.length === this.#asked.length ? [] : this.#asked.filter((one) => !group.includes(one));
      try {
        const not = await this.#commitAll(group);
        for (const { part, done } of group) {
          const why = not.get(part.index);
          if (why !== undefined && 'lost' in why) done.reject(why.lost);
          else done.resolve(why?.unmet ?? NO_GUARDS);
        }
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

  /** Answers the parts of which nothing was written, and why. */
  async #commitAll(group: readonly Asked[]): Promise<ReadonlyMap<number, NotWritten>> {
    const { fences } = this.#engine;
    if (fences !== undefined) return fences.commit(group.map(committed));
    const puts = new Map<FactKey, Buffer>();
    const drops: FactKey[] = [];
    for (const one of group.map(committed)) {
      for (const [key, value] of one.puts) puts.set(key, value);
      drops.push(...one.drops);
    }
    await this.#engine.commit(puts, drops);
    return ALL_WRITTEN;
  }

  /** Of one part that was open. */
  async close(): Promise<void> {
    this.#open -= 1;
    if (this.#open > 0) return;
    this.#opening = undefined;
    await this.#engine.close();
  }
}

const ALL_WRITTEN: ReadonlyMap<number, NotWritten> = new Map();
const NO_GUARDS: readonly Guard[] = [];
const NO_ROWS: readonly string[] = [];

/** A part that was given up and taken again may have asked under both tenures. */
function firstOfEach(asked: readonly Asked[]): readonly Asked[] {
  const byPart = new Map<Part, Asked>();
  for (const one of asked) if (!byPart.has(one.part)) byPart.set(one.part, one);
  return byPart.size === asked.length ? asked : [...byPart.values()];
}

function committed({ part, tenure, puts, drops, guards, consumed }: Asked): PartCommit {
  const keyOf = (key: FactKey): FactKey => part.prefix + key;
  return {
    part: part.index,
    tenure,
    puts: new Map([...puts].map(([key, value]) => [keyOf(key), value])),
    drops: drops.map(keyOf),
    guards,
    consumed,
  };
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
  readonly index: number;
  /** What was asked under an earlier one is not written. */
  tenure = '';
  #isOpen = false;
  #lost: () => void = () => {};

  constructor(whole: PartedEngine, engine: StateEngine, index: number, parts: number) {
    this.#whole = whole;
    this.#engine = engine;
    this.index = index;
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
    try {
      this.tenure = this.#engine.fences?.tenureOf(this.index) ?? '';
    } catch (error) {
      await this.#whole.close();
      throw error;
    }
    this.#isOpen = true;
  }

  async *load(): AsyncIterable<readonly (readonly [FactKey, Buffer])[]> {
    for await (const page of this.#engine.load(this.#range)) {
      yield page.map(([key, value]) => [key.slice(this.prefix.length), value] as const);
    }
  }

  async commit(puts: Puts, drops: readonly FactKey[], consumed?: readonly string[]): Promise<void> {
    await this.#whole.commit(this, puts, drops, NO_GUARDS, consumed);
  }

  get commitUnder(): StateEngine['commitUnder'] {
    if (this.#engine.fences === undefined) return undefined;
    return (puts, drops, guards, consumed) => this.#whole.commit(this, puts, drops, guards, consumed);
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
