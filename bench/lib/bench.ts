/** Options of a bench, from `--name value`; all are positive numbers. */
export type BenchOptions = Readonly<Record<string, number>>;

/** What a figure is to be at least, or at most. */
export type Target = { readonly atLeast: number } | { readonly atMost: number };

export type Targets = Readonly<Record<string, Target>>;

/** What a run comes to, by field. */
export type Result = Readonly<Record<string, unknown>>;

/** Below this part of its target a figure has got worse, and is not just measured on a bad day. */
const TOLERANCE = 4 / 5;

/** How a figure does against its target, over all tries. */
export interface Verdict {
  readonly held: boolean;
  /** For a person: the figure, its target, what is still let pass, and by how much the figure misses it. */
  readonly line: string;
}

const numberOf = (value: unknown): number => (typeof value === 'number' ? value : Number.NaN);

/** The best of the tries, since what else the machine does makes a figure worse and never better; NaN where none has it. */
function best(field: string, target: Target, results: readonly Result[]): number {
  const seen = results.map((result) => numberOf(result[field])).filter((value) => !Number.isNaN(value));
  if (seen.length === 0) return Number.NaN;
  return 'atLeast' in target ? Math.max(...seen) : Math.min(...seen);
}

function verdict(field: string, target: Target, results: readonly Result[]): Verdict {
  const value = best(field, target, results);
  const atLeast = 'atLeast' in target;
  const bound = atLeast ? target.atLeast : target.atMost;
  const limit = atLeast ? bound * TOLERANCE : bound / TOLERANCE;
  const held = atLeast ? value >= limit : value <= limit;
  const tries = results.length > 1 ? `, best of ${results.map((result) => numberOf(result[field])).join(', ')}` : '';
  const asked = `target at ${atLeast ? 'least' : 'most'} ${shown(bound)}, fails ${atLeast ? 'below' : 'above'} ${shown(limit)}`;
  return { held, line: `${field} ${value}${tries}: ${asked}; ${how(value, bound, atLeast)}` };
}

const shown = (value: number): number => Number(value.toPrecision(4));

function how(value: number, bound: number, atLeast: boolean): string {
  if (Number.isNaN(value)) return 'no figure';
  const over = atLeast ? bound - value : value - bound;
  if (over <= 0) return 'reached';
  const by = bound === 0 ? shown(over) : `${shown((100 * over) / bound)} %`;
  return `${by} ${atLeast ? 'below' : 'above'} the target`;
}

/** One for each target, of the best that the tries have seen of its figure. */
export function verdicts(targets: Targets, results: readonly Result[]): readonly Verdict[] {
  return Object.entries(targets).map(([field, target]) => verdict(field, target, results));
}

/**
 * What is told of several tries: the last one's result, in which each figure that has a target is the best of all; `tries`
 * says how many there were, and `by_try` what each has seen of these figures.
 */
export function ofTries(targets: Targets, results: readonly Result[]): Result {
  const fields = Object.keys(targets);
  const judged = fields.map((field) => [field, best(field, targets[field]!, results)]);
  const seen = fields.map((field) => [field, results.map((result) => result[field])]);
  const more = results.length > 1 ? { by_try: Object.fromEntries(seen) } : {};
  return { ...results.at(-1), ...Object.fromEntries(judged), tries: results.length, ...more };
}

/** One bench of `npm run bench -- NAME`. */
export interface Bench {
  readonly summary: string;
  /** Every option it takes, with its default. */
  readonly defaults: BenchOptions;
  /** The figures of its result, beside its options and `COMMON_FIELDS`; what each means stands in docs/performance.md. */
  readonly fields: readonly string[];
  /** What `--enforce` holds its figures to. */
  readonly targets?: Targets;
  /** Answers what `--json` prints; `progress` takes lines for a person. */
  run(options: BenchOptions, progress: (line: string) => void): Promise<Result>;
  /** The result in a few lines for a person. */
  describe(result: Result): string;
}

/** What every result has beside figures and options: the bench's name, and what it ran on. */
export const COMMON_FIELDS = ['bench', 'machine'] as const;

interface Declared<Field extends string> extends Omit<Bench, 'targets'> {
  readonly fields: readonly Field[];
  readonly targets?: Readonly<Partial<Record<NoInfer<Field>, Target>>>;
  run(
    options: BenchOptions,
    progress: (line: string) => void,
  ): Promise<Readonly<Record<NoInfer<Field> | (typeof COMMON_FIELDS)[number], unknown>>>;
}

/** A bench whose result has the fields that it declares, by its type; the tests that run it hold it to having no other. */
export function defineBench<const Field extends string>(bench: Declared<Field>): Bench {
  // The compiler takes what may be left out for what may be undefined.
  return bench as Bench;
}
