/** From when to when something ran; milliseconds of one clock. */
export interface Span {
  readonly from: number;
  readonly to: number;
}

/** The most that ran at a time; who ends as another begins makes room for it. */
export function mostAtOnce(spans: readonly Span[]): number {
  const steps = spans
    .flatMap(({ from, to }) => [
      { at: from, by: 1 },
      { at: to, by: -1 },
    ])
    .sort((a, b) => a.at - b.at || a.by - b.by);
  let running = 0;
  let most = 0;
  for (const { by } of steps) {
    running += by;
    most = Math.max(most, running);
  }
  return most;
}
