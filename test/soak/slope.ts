/** How much `values` rise within an hour, by least squares; `atMs` are their times. */
export function slopeAnHour(atMs: readonly number[], values: readonly number[]): number {
  const mean = (all: readonly number[]) => all.reduce((sum, one) => sum + one, 0) / all.length;
  const [middleMs, middle] = [mean(atMs), mean(values)];
  let above = 0;
  let below = 0;
  for (const [index, ms] of atMs.entries()) {
    above += (ms - middleMs) * ((values[index] as number) - middle);
    below += (ms - middleMs) ** 2;
  }
  return below === 0 ? 0 : (above / below) * 3_600_000;
}
