/** Longest pause that a remote may ask for, in milliseconds; what asks for more is asked again then. */
const LONGEST_MS = 3_600_000;

/** Above this a reset is a time since 1970 in seconds and not a number of seconds from now. */
const EPOCH_SECONDS = 1_000_000_000;
/** And above this in milliseconds. */
const EPOCH_MS = 1_000_000_000_000;

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
  for (const name of RESETS) {
    const reset = resetIn(headers[name] ?? '', headers);
    if (reset !== undefined) return bounded(reset);
  }
  return undefined;
}

/** Headers that tell when the window of calls begins anew, in the dialects of many remotes. */
const RESETS = [
  'ratelimit-reset',
  'ratelimit',
  'x-ratelimit-reset-after',
  'x-ratelimit-reset',
  'x-rate-limit-reset',
  'x-ratelimit-reset-requests',
];

/** Seconds from now that one of these means: a number of them, a time since 1970, a date, or a span such as `6m0s`. */
function resetIn(text: string, headers: Readonly<Record<string, string>>): number | undefined {
  // The drafts of one header for all: `limit=10, remaining=0, reset=30` and `"default";r=0;t=30`.
  const part = /(?:^|[,;\s])(?:reset|t)=(\d{1,15})\b/.exec(text)?.[1];
  const told = secondsIn(part ?? text);
  if (told !== undefined) {
    if (told < EPOCH_SECONDS) return told;
    return (told < EPOCH_MS ? told : told / 1_000) - nowOf(headers) / 1_000;
  }
  return spanIn(text) ?? dateIn(text, headers);
}

/** `1h2m3.5s`, `120ms`; undefined for what is none. */
function spanIn(text: string): number | undefined {
  const found =
    /^\s*(?:(\d{1,6})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,6}(?:\.\d{1,9})?)s)?(?:(\d{1,9}(?:\.\d{1,9})?)ms)?\s*$/.exec(text);
  const parts = found?.slice(1) ?? [];
  if (parts.every((part) => part === undefined)) return undefined;
  const [hours = 0, minutes = 0, seconds = 0, milliseconds = 0] = parts.map((part) => Number(part ?? 0));
  return hours * 3_600 + minutes * 60 + seconds + milliseconds / 1_000;
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
  if (/^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$/.test(date)) return Date.parse(date);
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
