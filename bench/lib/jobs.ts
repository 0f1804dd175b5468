/** Numbers in [0, 1) that are the same in every run of one seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const MEDIAN_MS = 120_000;
const SIGMA = 1.5;

/** How long jobs take: log-normal, median two minutes, so that a few take hours. Milliseconds. */
export function jobLengths(seed: number): () => number {
  const random = seeded(seed);
  return () => {
    const normal = Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
    return MEDIAN_MS * Math.exp(SIGMA * normal);
  };
}
