/** Of so many parts of a grace it is kept that they are over: a daemon that starts again and again gets to its end all the same. */
const GRACE_PARTS = 8;

/** The next part of a grace of which so much is over, and 0 at its end. Milliseconds. */
export function nextPart(graceMs: number, overMs: number): number {
  return Math.min(Math.max(0, graceMs - overMs), Math.ceil(graceMs / GRACE_PARTS));
}
