/**
 * Times as V8 keeps them in the place of a reference: whole milliseconds since the process began, within 24 days of it. An
 * epoch time is a number object of 16 bytes beside it, a time of a day from far away is one as well. A field for such a time
 * is to begin as undefined: one that only ever held numbers is turned, for all objects of its class, into one of number objects
 * with the first time from far away.
 */
const BASE_MS = Math.floor(performance.timeOrigin);

/** Parts of a millisecond are cut off. */
export const smallTimeOf = (epochMs: number): number => Math.floor(epochMs) - BASE_MS;

export const epochMsOf = (smallTime: number): number => smallTime + BASE_MS;
