/** Whole numbers, of which each is higher than the one before, as people write them: `0-3`, `6`. */
export function rangesOf(numbers: readonly number[]): readonly string[] {
  const ranges: { from: number; to: number }[] = [];
  for (const number of numbers) {
    const last = ranges.at(-1);
    if (last?.to === number - 1) last.to = number;
    else ranges.push({ from: number, to: number });
  }
  return ranges.map(({ from, to }) => (from === to ? `${from}` : `${from}-${to}`));
}
