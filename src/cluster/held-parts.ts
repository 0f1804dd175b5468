import type { Clock } from '../lib/clock.js';
import type { Tenure } from '../state/index.js';

/**
 * - `taking`: it is this member's, and is loaded.
 * - `owned`: it works on it.
 * - `giving`: it ends its work on it, and writes what is left.
 * - `given`: nothing of it is left here; its row says so next.
 *
 * taking → owned → giving → given → none; from taking to given where it could not be loaded.
 */
export const HELD_STATES = ['taking', 'owned', 'giving', 'given'] as const;
export type HeldState = (typeof HELD_STATES)[number];

interface Held {
  readonly tenure: string;
  state: HeldState;
}

/** What a member does with parts of the state. */
export interface PartHooks {
  /** Loads a part that is this member's and goes on with what is in it. `from`: who had it, where that one did not give it back. */
  readonly take: (part: number, from: string | undefined) => Promise<void>;
  /** Ends the work on a part. Once it resolves nothing of it is sent or written any more. Undefined where a part is given up with all else. */
  readonly give?: ((part: number) => Promise<void>) | undefined;
}

export interface HeldPartsOptions extends PartHooks {
  readonly epoch: string;
  readonly clock: Clock;
  /** A part has another state, or none any more. */
  readonly changed: () => void;
  /** What was begun of one has come to its end: one more may be. */
  readonly ended: () => void;
  /** It is loaded, and worked on. */
  readonly taken: (part: number, from: string | undefined, tookMs: number) => void;
  /** It could not be loaded, and is `given`. */
  readonly refused: (part: number, error: unknown) => void;
  /** Its work did not end as it should; it is `given` all the same, since nothing of it counts any more. */
  readonly troubled: (part: number, error: unknown) => void;
}

/** The parts that are one member's by the rows of owners, as far as it knows, and what it does with each. */
export class HeldParts {
  readonly #options: HeldPartsOptions;
  readonly #held = new Map<number, Held>();
  readonly #under = new Set<Promise<void>>();

  constructor(options: HeldPartsOptions) {
    this.#options = options;
  }

  stateOf(part: number): HeldState | undefined {
    return this.#held.get(part)?.state;
  }

  /** Undefined where it is not this member's to write. */
  tenureOf(part: number): string | undefined {
    const held = this.#held.get(part);
    return held?.state === 'given' ? undefined : held?.tenure;
  }

  count(...states: readonly HeldState[]): number {
    return [...this.#held.values()].filter(({ state }) => states.includes(state)).length;
  }

  /** Those that are given up here, and not yet by their rows. */
  given(): readonly Tenure[] {
    const { epoch } = this.#options;
    return [...this.#held]
      .filter(([, { state }]) => state === 'given')
      .map(([part, { tenure }]) => ({ epoch, part, tenure }));
  }

  /** The row says that it is this member's. */
  begin(part: number, tenure: string, from: string | undefined): void {
    const { take, taken, refused, clock } = this.#options;
    const startedMs = clock.now();
    const held: Held = { tenure, state: 'taking' };
    this.#held.set(part, held);
    this.#options.changed();
    const loaded = () => {
      held.state = 'owned';
      taken(part, from, clock.now() - startedMs);
    };
    const failed = (error: unknown) => {
      held.state = 'given';
      refused(part, error);
    };
    this.#do(take(part, from).then(loaded, failed));
  }

  give(part: number): void {
    const { give, troubled } = this.#options;
    const held = this.#held.get(part);
    if (give === undefined || held?.state !== 'owned') return;
    held.state = 'giving';
    this.#options.changed();
    const ended = give(part).catch((error: unknown) => troubled(part, error));
    this.#do(
      ended.then(() => {
        held.state = 'given';
      }),
    );
  }

  /** Its row says that it is not this member's. */
  forget({ part, tenure }: Tenure): void {
    if (this.#held.get(part)?.tenure !== tenure) return;
    this.#held.delete(part);
    this.#options.changed();
  }

  /** Resolves once nothing is loaded or ended any more. */
  async idle(): Promise<void> {
    while (this.#under.size > 0) await Promise.all(this.#under);
  }

  #do(work: Promise<void>): void {
    const under = work.finally(() => {
      this.#under.delete(under);
      this.#options.changed();
      this.#options.ended();
    });
    this.#under.add(under);
  }
}
