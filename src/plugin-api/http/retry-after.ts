/** Longest pause that a remote may ask for, in milliseconds; what asks for more is asked again then. */
const LONGEST_MS = 3_600_000;

/** Above this a reset is a time since 1970 in seconds and not a number of seconds from now. */
const EPOCH_SECONDS = 1_000_000_000;

/**
 * How long an answer asks its caller to wait, in milliseconds from now; undefined where it does not say. Retry-After in
 * seconds or as a date (RFC 9110, 10.2.3), else what the usual rate-limit headers say of their window. A date is taken
 * against the answer's own Date, since the remote's clock may be wrong.
 */
export function retryAfterMs(headers: Readonly<Record<string, string>>): number | undefined {
  const retryAfter = headers['retry-after'];
  const asked = retryAfter === undefined ? undefined : (secondsIn(retryAfter) ?? dateIn(retryAfter, headers));
  if (asked !== undefined) return bounded(asked);
  const milliseconds = secondsIn(headers['retry-after-ms'] ?? headers['x-ms-retry-after-ms'] ?? '');
  if (milliseconds !== undefined) return bounded(milliseconds / 1_000);
  const reset = secondsIn(
    headers['ratelimit-reset'] ?? headers['x-ratelimit-reset'] ?? headers['x-rate-limit-reset'] ?? '',
  );
  if (reset === undefined) return undefined;
  return bounded(reset < EPOCH_SECONDS ? reset : reset - nowOf(headers) / 1_000);
}

function secondsIn(text: string): number | undefined {
  return /^\s*\d{1,15}(\.\d{1,9})?\s*$/.test(text) ? Number(text) : undefined;
}

function dateIn(text: string, headers: Readonly<Record<string, string>>): number | undefined {
  const atMs = httpDate(text);
  return Number.isNaN(atMs) ? undefined : (atMs - nowOf(headers)) / 1_000;
}

/** NaN for what is no date. Date.parse takes "-5" for a year, and the oldest form, which names no zone, for local time. */
function httpDate(text: string): number {
  const date = text.trim();
  if (!/^[A-Za-z]{3}/.test(date)) return Number.NaN;
  return Date.parse(/^[A-Za-z]{3} [A-Za-z]{3} [ \d]\d \d\d:\d\d:\d\d \d{4}$/.test(date) ? `${date} UTC` : date);
}

/** The remote's idea of now, in milliseconds since the epoch. */
function nowOf(headers: Readonly<Record<string, string>>): number {
  const told = httpDate(headers.date ?? '');
  return Number.isNaN(told) ? Date.now() : told;
}

function bounded(seconds: number): number {
  return Math.min(LONGEST_MS, Math.max(0, Math.ceil(seconds * 1_000)));
}
