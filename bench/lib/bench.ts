/** Options of a bench, from `--name value`; all are positive numbers. */
export type BenchOptions = Readonly<Record<string, number>>;

/** What a figure is to be at least, or at most. */
export type Target = { readonly atLeast: number } | { readonly atMost: number };

/** Below this part of its target a figure has got worse, and is not just measured on a bad day. */
const TOLERANCE = 4 / 5;

/** A line for each figure that misses its target by more than a fifth. */
export function missed(
  targets: Readonly<Record<string, Target>>,
  result: Readonly<Record<string, unknown>>,
): readonly string[] {
  return Object.entries(targets).flatMap(([field, target]) => {
    const value = result[field];
    const seen = typeof value === 'number' ? value : Number.NaN;
    if ('atLeast' in target) {
      return seen >= target.atLeast * TOLERANCE ? [] : [`${field} is ${seen}, to reach is at least ${target.atLeast}`];
    }
    return seen <= target.atMost / TOLERANCE ? [] : [`${field} is ${seen}, to reach is at most ${target.atMost}`];
  });
}

/** The same of several tries: of each figure the best counts, since what else the machine does makes it worse and never better. */
export function missedInAll(
  targets: Readonly<Record<string, Target>>,
  results: readonly Readonly<Record<string, unknown>>[],
): readonly string[] {
  return Object.entries(targets).flatMap(([field, target]) => {
    const lines = results.map((result) => missed({ [field]: target }, result)[0]);
    return lines.includes(undefined) ? [] : [lines.at(-1) as string];
  });
}

/** One bench of `npm run bench -- NAME`. */
export interface Bench {
  readonly summary: string;
  /** Every option it takes, with its default. */
  readonly defaults: BenchOptions;
  /** What `--enforce` holds its figures to. */
  readonly targets?: Readonly<Record<string, Target>>;
  /** Answers what `--json` prints; `progress` takes lines for a person. */
  run(options: BenchOptions, progress: (line: string) => void): Promise<Record<string, unknown>>;
  /** The result in a few lines for a person. */
  describe(result: Record<string, unknown>): string;
}
