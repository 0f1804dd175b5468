import { NotFoundError, PermanentError, type PluginError, ThrottledError, TransientError } from 'webapi-plugin-host';

/** One entry of the `errors` list in an answer of slurmrestd; its versions spell the number differently. */
export interface RestFault {
  readonly code: number | undefined;
  readonly text: string;
}

/** An answer that is not a success, as far as the classification needs it. */
export interface RestFailure {
  /** What was asked, such as `submit job`. */
  readonly what: string;
  /** What the request was about. Only a submission can be refused for good, only a single job be unknown. */
  readonly about: 'submission' | 'job' | 'list';
  readonly status: number;
  readonly retryAfter: string | null;
  /** The answer's own `Date`: a date in Retry-After is by that clock. */
  readonly date: string | null;
  readonly faults: readonly RestFault[];
  /** The start of the body. */
  readonly text: string;
}

const INVALID_JOB_ID = 2017;
/** Slurm says the job is over already: nothing is left to cancel. */
export const ALREADY_DONE: ReadonlySet<number> = new Set([2021, 2084]);

/**
 * Refusals (slurm_errno.h, 2000 to 2999) that pass by themselves: nodes busy or not available, state in transition,
 * standby controller, partition down, reservation busy or not begun, submissions disabled, account limits in use,
 * ports busy, prolog running, a restart or reboot going on, an internal error. The others blame what was submitted.
 */
const PASSING: ReadonlySet<number> = new Set([
  2013, 2016, 2019, 2020, 2022, 2027, 2037, 2049, 2050, 2055, 2056, 2059, 2061, 2068, 2070, 2078, 2079, 2090, 2100,
  2101, 2103, 2105, 2118, 2120, 2125, 2131,
]);

/**
 * Codes that slurmrestd of 22.05 answers when the controller does not take the token, and also when the controller is
 * not there: it does not tell these apart. A newer token may help, waiting may help.
 */
const MAYBE_AUTH: ReadonlySet<number> = new Set([-1, 1007, 5004, 5005, 6000, 6006, 6007]);

/** Whether the answer may mean that the token is not taken. */
export function maybeUnauthorized(failure: RestFailure): boolean {
  if (failure.status === 401 || failure.status === 403 || failure.status === 511) return true;
  return (
    failure.status >= 500 && failure.faults.some((fault) => fault.code !== undefined && MAYBE_AUTH.has(fault.code))
  );
}

const DATE_FORMS = [
  // Sun, 06 Nov 1994 08:49:37 GMT
  /^[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4} \d{2}:\d{2}:\d{2} GMT$/,
  // Sunday, 06-Nov-94 08:49:37 GMT
  /^[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2} \d{2}:\d{2}:\d{2} GMT$/,
  // Sun Nov  6 08:49:37 1994, which is GMT as well
  /^[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{2}:\d{2}:\d{2} \d{4}$/,
] as const;

/** A date in one of the three forms of HTTP (RFC 9110 section 5.6.7); Date.parse alone takes nearly anything for one. */
function httpDateMs(text: string): number | undefined {
  if (!DATE_FORMS.some((form) => form.test(text))) return undefined;
  const ms = Date.parse(text.endsWith('GMT') ? text : `${text} GMT`);
  return Number.isNaN(ms) ? undefined : ms;
}

/**
 * Retry-After in milliseconds: seconds or a date (RFC 9110 section 10.2.3); undefined where it says nothing usable. A date
 * is the server's, so it is set against the `date` of the same answer where there is one.
 */
export function retryAfterMs(header: string | null, nowMs: number, date: string | null = null): number | undefined {
  const text = header?.trim() ?? '';
  if (/^\d{1,9}(\.\d{1,9})?$/.test(text)) return Math.ceil(Number(text) * 1000);
  const at = httpDateMs(text);
  if (at === undefined) return undefined;
  return Math.max(0, at - ((date === null ? undefined : httpDateMs(date.trim())) ?? nowMs));
}

function describe(failure: RestFailure): string {
  const faults = failure.faults.map((fault) =>
    fault.code === undefined ? fault.text : `${fault.text} (${fault.code})`,
  );
  const detail = faults.length > 0 ? faults.join('; ') : failure.text.trim().slice(0, 200);
  return `${failure.what}: HTTP ${failure.status}${detail === '' ? '' : `, ${detail}`}`;
}

/**
 * The error of the plugin contract for an answer of slurmrestd. The HTTP status says little (22.05 answers 500 for an
 * unknown job, an unknown partition, a refused token and an absent controller alike), so Slurm's own number decides
 * first. Only a submission can be refused for good: one refused list would end every task of the cluster. And only Slurm
 * refuses: an answer without its numbers is of something in between (a proxy, a login page), which blames no task.
 */
export function classify(failure: RestFailure, nowMs: number): PluginError {
  const message = describe(failure);
  const codes = failure.faults.map((fault) => fault.code).filter((code) => code !== undefined);
  const wait = retryAfterMs(failure.retryAfter, nowMs, failure.date);
  const asksToWait = wait !== undefined && (failure.status === 503 || (failure.status === 403 && codes.length === 0));
  if (failure.status === 429 || asksToWait) {
    return new ThrottledError(message, wait === undefined ? {} : { retryAfterMs: wait });
  }
  if (failure.about === 'job' && codes.includes(INVALID_JOB_ID)) return new NotFoundError(message);
  if (maybeUnauthorized(failure)) return new TransientError(message, { code: 'SlurmUnavailable' });
  const submits = failure.about === 'submission';
  const refusal = codes.find((code) => code >= 2000 && code < 3000);
  if (refusal !== undefined) {
    return PASSING.has(refusal) || !submits
      ? new TransientError(message, { code: `Slurm${refusal}` })
      : new PermanentError(message, { code: `Slurm${refusal}`, faultKind: 'USER' });
  }
  if (failure.status === 404) {
    // an unknown job has a number of its own; this is a wrong address, which an operator mends
    return new TransientError(`${message}; is the url and apiVersion of the cluster right?`, { code: 'SlurmAddress' });
  }
  const isOfSlurm = codes.some((code) => code > 0);
  if (submits && isOfSlurm && failure.status >= 400 && failure.status < 500 && failure.status !== 408) {
    return new PermanentError(message, { code: 'SlurmRefused', faultKind: 'USER' });
  }
  return new TransientError(message, { code: 'SlurmUnavailable' });
}

/** For a read of what may be gone. */
export function noneIfNotFound(error: unknown): { readonly jobs: readonly []; readonly unread: readonly [] } {
  if (error instanceof NotFoundError) return { jobs: [], unread: [] };
  throw error;
}
