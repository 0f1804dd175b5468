import { HostError } from '../../src/errors/index.js';
import { createDeferred } from '../../src/lib/deferred.js';
import { type FactKey, type Guard, noState, type Puts, type StateEngine } from '../../src/state/index.js';

/** What becomes of the next commits: written; not written; written, and nobody hears of it. */
type Luck = 'good' | 'fails' | 'doubt';

/**
 * Facts in the memory of a test, and the tenures of the parts that commits may name as guards, which are compared in the instant of the write.
 * `hold` keeps commits from being written until `release`.
 */
export class GuardedEngine implements StateEngine {
  readonly name = 'guarded';
  readonly durable = true;
  readonly sizeBytes = 0;
  /** As texts. */
  readonly facts = new Map<FactKey, string>();
  readonly tenures = new Map<number, number>();
  /** Rows of the inbox. */
  readonly rows = new Set<string>();
  /** The guards of each commit that was asked for. */
  readonly asked: string[][] = [];
  luck: Luck = 'good';
  /** Looks at what is written, just before it is. */
  onWrite: (texts: ReadonlyMap<FactKey, string>, puts: Puts) => void = () => {};
  /** Looks at what stands, just after it was written. */
  onWritten: () => void = () => {};
  #held = createDeferred<void>();

  constructor() {
    this.#held.resolve();
  }

  hold(): void {
    this.release();
    this.#held = createDeferred<void>();
  }

  release(): void {
    this.#held.resolve();
  }

  tenureOf(part: number): number {
    return this.tenures.get(part) ?? 1;
  }

  /** Somebody takes the part. */
  move(part: number): void {
    this.tenures.set(part, this.tenureOf(part) + 1);
  }

  open = noState.open;
  load = noState.load;

  async commit(puts: Puts, drops: readonly FactKey[], consumed: readonly string[] = []): Promise<void> {
    await this.commitUnder(puts, drops, [], consumed);
  }

  async commitUnder(
    puts: Puts,
    drops: readonly FactKey[],
    guards: readonly Guard[],
    consumed: readonly string[] = [],
  ): Promise<readonly Guard[]> {
    this.asked.push(guards.map(({ part, tenure }) => `${part}/${tenure}`));
    const texts = new Map([...puts].map(([key, value]) => [key, String(value)] as const));
    await this.#held.promise;
    await Promise.resolve();
    if (this.luck === 'fails') throw new HostError('STATE_UNREACHABLE', 'as the test has it');
    const unmet = guards.filter(({ part, tenure }) => String(this.tenureOf(part)) !== tenure);
    if (unmet.length === 0) {
      this.onWrite(texts, puts);
      for (const [key, text] of texts) this.facts.set(key, text);
      for (const key of drops) this.facts.delete(key);
      for (const row of consumed) this.rows.delete(row);
      this.onWritten();
    }
    if (this.luck === 'doubt') throw new HostError('STATE_UNREACHABLE', 'as the test has it');
    return unmet;
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
