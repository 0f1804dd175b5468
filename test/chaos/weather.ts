import type { Decisions, Dice } from '../support/decisions.js';

/** What a remote is like for a while. */
export type Weather =
  | 'fair'
  | 'slow'
  | 'throttles'
  | 'unavailable'
  | 'resets'
  | 'loses answers'
  | 'forgets'
  | 'requeues';

/** What happens to one request apart from the weather. */
export interface Luck {
  readonly delayMs: number;
  /** The connection ends before the remote acts. */
  readonly reset: boolean;
  /** The remote acts, and nobody hears of it. */
  readonly lost: boolean;
  readonly unavailable: boolean;
}

const WEIGHTS: Readonly<Record<Exclude<Weather, 'fair'>, number>> = {
  slow: 3,
  throttles: 2,
  unavailable: 2,
  resets: 2,
  'loses answers': 3,
  forgets: 2,
  requeues: 2,
};

const FAIR: Luck = { delayMs: 2, reset: false, lost: false, unavailable: false };

/** The times of trouble of one remote, one after the other, each followed by fair weather. */
export class Forecast {
  readonly #decisions: Decisions;
  readonly #dice: Dice;
  readonly #flavour: string;
  #now: Weather = 'fair';
  #changesAtMs = 0;
  readonly #seen = new Map<string, number>();
  /** From now on nothing goes wrong any more. */
  over = false;

  constructor(decisions: Decisions, flavour: string) {
    this.#decisions = decisions;
    this.#flavour = flavour;
    this.#dice = decisions.of('weather', flavour);
  }

  /** `ranMs` since the run began. */
  at(ranMs: number): Weather {
    if (this.over) return 'fair';
    while (ranMs >= this.#changesAtMs) {
      const fair = this.#now !== 'fair';
      this.#now = fair ? 'fair' : this.#dice.pick(WEIGHTS);
      this.#changesAtMs += fair ? this.#dice.between(1_500, 6_000) : this.#dice.between(500, 3_000);
    }
    return this.#now;
  }

  /** How the request fares that is the next one about `subject`. */
  luck(what: string, subject: string, weather: Weather): Luck {
    if (this.over) return FAIR;
    const name = `${what} ${subject}`;
    const nth = (this.#seen.get(name) ?? 0) + 1;
    this.#seen.set(name, nth);
    const dice = this.#decisions.of('luck', this.#flavour, name, nth);
    const slow = dice.chance(weather === 'slow' ? 0.7 : 0.06);
    return {
      delayMs: slow ? dice.between(100, 1_800) : dice.between(0, 15),
      reset: dice.chance(weather === 'resets' ? 0.6 : 0.01),
      lost: dice.chance(weather === 'loses answers' ? 0.6 : 0.02),
      unavailable: dice.chance(weather === 'unavailable' ? 0.9 : 0.01),
    };
  }
}
