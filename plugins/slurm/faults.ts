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
  /** Whether a task's own request was sent. A refusal of anything else blames no task. */
  readonly submits: boolean;
  readonly status: number;
  readonly retryAfter: string | null;
  readonly faults: readonly RestFault[];
  /** The start of a body that is not JSON. */
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

/** Retry-After in milliseconds: seconds or a date (RFC 9110 section 10.2.3); undefined where it says nothing usable. */
export function retryAfterMs(header: string | null, nowMs: number): number | undefined {
  if (header === null) return undefined;
  if (/^\s*\d{1,9}\s*$/.test(header)) return Number(header) * 1000;
  const date = Date.parse(header);
  return Number.isNaN(date) ? undefined : Math.max(0, date - nowMs);
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
 * first. Only a submission can be refused for good: one refused list would end every task of the cluster.
 */
export function classify(failure: RestFailure, nowMs: number): PluginError {
  const message = describe(failure);
  const wait = retryAfterMs(failure.retryAfter, nowMs);
  if (failure.status === 429 || (failure.status === 503 && wait !== undefined)) {
    return new ThrottledError(message, wait === undefined ? {} : { retryAfterMs: wait });
  }
  const codes = failure.faults.map((fault) => fault.code).filter((code) => code !== undefined);
  if (codes.includes(INVALID_JOB_ID)) return new NotFoundError(message);
  if (maybeUnauthorized(failure)) return new TransientError(message, { code: 'SlurmUnavailable' });
  const refusal = codes.find((code) => code >= 2000 && code < 3000);
  if (refusal !== undefined) {
    return PASSING.has(refusal) || !failure.submits
      ? new TransientError(message, { code: `Slurm${refusal}` })
      : new PermanentError(message, { code: `Slurm${refusal}`, faultKind: 'USER' });
  }
  if (failure.status === 404) {
    // an unknown job has a number of its own; this is a wrong address, which an operator mends
    return new TransientError(`${message}; is the url and apiVersion of the cluster right?`, { code: 'SlurmAddress' });
  }
  if (failure.submits && failure.status >= 400 && failure.status < 500 && failure.status !== 408) {
    return new PermanentError(message, { code: 'SlurmRefused', faultKind: 'USER' });
  }
  return new TransientError(message, { code: 'SlurmUnavailable' });
}

/** For a list of what may be gone. */
export function noneIfNotFound(error: unknown): [] {
  if (error instanceof NotFoundError) return [];
  throw error;
}
