/** Options of a bench, from `--name value`; all are positive numbers. */
export type BenchOptions = Readonly<Record<string, number>>;

/** One bench of `npm run bench -- NAME`. */
export interface Bench {
  readonly summary: string;
  /** Every option it takes, with its default. */
  readonly defaults: BenchOptions;
  /** Answers what `--json` prints; `progress` takes lines for a person. */
  run(options: BenchOptions, progress: (line: string) => void): Promise<Record<string, unknown>>;
  /** The result in a few lines for a person. */
  describe(result: Record<string, unknown>): string;
}
