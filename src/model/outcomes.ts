import type { ErrorCode } from '../errors/index.js';
import type { Phase } from '../plugin-api/phase.js';
import type { FailureKind } from './plugin-call.js';

/**
 * The outcome table: what a plugin throws (or what befalls its call), and where, decides what the daemon does. It is
 * part of the contract with plugin authors; docs/outcomes.md is made from it and tests walk it. `status` runs within
 * the read it belongs to, so what it throws is what the read throws. `getLogs` stands for `getMetrics` too.
 */
export const OUTCOME_PLACES = ['create', 'get', 'getManyItem', 'status', 'delete', 'do', 'getLogs'] as const;

export type OutcomePlace = (typeof OUTCOME_PLACES)[number];

/** How a task ends by an outcome. `plugin` takes the code that the plugin gave. */
export interface OutcomeEnd {
  readonly phase: Extract<Phase, 'PERMANENT_FAILURE' | 'RETRYABLE_FAILURE'>;
  readonly code: ErrorCode | 'plugin';
}

export interface OutcomeRule {
  /**
   * What whoever waits for the call is answered: an error of the catalogue, or the handle and phase of the task
   * (`phase`), or success (`ok`).
   */
  readonly answer: ErrorCode | 'phase' | 'ok';
  /**
   * Whether it moves the count that ends the task: consecutive failed reads (`maxSystemFailures`), or the create
   * budget. `time` moves no count, but a task for which nothing else happened during the outage grace ends.
   */
  readonly counted: 'yes' | 'no' | 'time';
  /**
   * `pause`: when the pause that the remote asked for is over. `backoff`: after a growing delay of this task alone.
   * `turn`: in its turn, as if it had not been tried. `confirm`: at growing intervals, until it is all that was answered over
   * the minimum time. `caller`: if the caller repeats it. `no`: never.
   */
  readonly retry: 'pause' | 'backoff' | 'turn' | 'confirm' | 'caller' | 'no';
  /** The task's allocation token after the outcome; `none` where the call holds none. */
  readonly token: 'kept' | 'freed' | 'none';
  /** Ends the task at once, or once `endsWhen` holds. */
  readonly ends?: OutcomeEnd;
  /**
   * `confirmed`: the visibility grace after creation is over, and NotFound is all that at least three reads answered over
   * the minimum time, the last of them by `get` alone; the end owes a delete. `meta`: the failure's code is a RESOURCE_META_*, which no
   * repeat would mend.
   */
  readonly endsWhen?: 'confirmed' | 'meta';
  /** Ends the task when the count (or the time) is past its bound; the token is freed then. */
  readonly endsPastBound?: OutcomeEnd;
  /**
   * What a read tells of the remote as a whole, and what a create tells of its taking creates (rule 4). `up` breaks a row of failures; only
   * a read that succeeds ends an outage.
   */
  readonly remote: 'up' | 'down' | 'unknown';
}

type Row = Readonly<Record<FailureKind, OutcomeRule>>;

const READS_FAILING: OutcomeEnd = { phase: 'RETRYABLE_FAILURE', code: 'READS_FAILING' };
const BUDGET_SPENT: OutcomeEnd = { phase: 'RETRYABLE_FAILURE', code: 'CREATE_BUDGET_SPENT' };
const REFUSED: OutcomeEnd = { phase: 'PERMANENT_FAILURE', code: 'plugin' };

const failedRead = { counted: 'yes', retry: 'backoff', token: 'kept', endsPastBound: READS_FAILING } as const;

/** `get`, one item of `getMany`, and `status`. */
const READ: Row = {
  throttled: { answer: 'PLUGIN_THREW_THROTTLED', counted: 'no', retry: 'pause', token: 'kept', remote: 'unknown' },
  transient: { ...failedRead, answer: 'PLUGIN_THREW_TRANSIENT', remote: 'down' },
  permanent: { answer: 'phase', counted: 'no', retry: 'no', token: 'freed', ends: REFUSED, remote: 'up' },
  not_found: {
    answer: 'PLUGIN_THREW_TRANSIENT',
    counted: 'no',
    retry: 'backoff',
    token: 'kept',
    ends: { phase: 'RETRYABLE_FAILURE', code: 'RESOURCE_LOST' },
    endsWhen: 'confirmed',
    remote: 'unknown',
  },
  unknown: { ...failedRead, answer: 'PLUGIN_THREW_UNKNOWN', remote: 'down' },
  deadline: { ...failedRead, answer: 'PLUGIN_DEADLINE', remote: 'down' },
  process_died: { ...failedRead, answer: 'PLUGIN_PROCESS_DIED', counted: 'time', remote: 'unknown' },
  invalid: { ...failedRead, answer: 'PLUGIN_ANSWER_INVALID', remote: 'unknown' },
  not_admitted: { answer: 'ADMISSION_DEADLINE', counted: 'no', retry: 'turn', token: 'kept', remote: 'unknown' },
  cancelled: { answer: 'CALL_CANCELLED', counted: 'no', retry: 'turn', token: 'kept', remote: 'unknown' },
};

const failedCreate = {
  answer: 'phase',
  counted: 'yes',
  retry: 'backoff',
  token: 'kept',
  endsPastBound: BUDGET_SPENT,
  remote: 'unknown',
} as const;
/** Failures that look like those of a remote that is away. */
const awayCreate = { ...failedCreate, remote: 'down' } as const;
const waitingCreate = { answer: 'phase', counted: 'no', token: 'kept', remote: 'unknown' } as const;

const CREATE: Row = {
  throttled: { ...waitingCreate, retry: 'pause' },
  transient: awayCreate,
  permanent: { answer: 'phase', counted: 'no', retry: 'no', token: 'freed', ends: REFUSED, remote: 'unknown' },
  not_found: failedCreate,
  unknown: awayCreate,
  deadline: awayCreate,
  process_died: failedCreate,
  invalid: { ...failedCreate, ends: REFUSED, endsWhen: 'meta' },
  not_admitted: { ...waitingCreate, retry: 'turn' },
  cancelled: { ...waitingCreate, retry: 'turn' },
};

const failedDelete = { answer: 'ok', counted: 'no', retry: 'backoff', token: 'kept', remote: 'unknown' } as const;

/**
 * The caller is answered once the intent is safe; nothing but success and a confirmed not_found ends the daemon's repeats.
 * One not_found frees the token, since the job is most likely gone, but the fault that hides a job may hide it for a moment.
 */
const DELETE: Row = {
  throttled: { ...failedDelete, retry: 'pause' },
  transient: failedDelete,
  permanent: failedDelete,
  not_found: { ...failedDelete, retry: 'confirm', token: 'freed' },
  unknown: failedDelete,
  deadline: failedDelete,
  process_died: failedDelete,
  invalid: failedDelete,
  not_admitted: { ...failedDelete, retry: 'turn' },
  cancelled: { ...failedDelete, retry: 'turn' },
};

const passedOn = { counted: 'no', retry: 'caller', token: 'none', remote: 'unknown' } as const;

/** Calls whose outcome is the caller's alone. */
const PASSED_ON: Row = {
  throttled: { ...passedOn, answer: 'PLUGIN_THREW_THROTTLED' },
  transient: { ...passedOn, answer: 'PLUGIN_THREW_TRANSIENT' },
  permanent: { ...passedOn, answer: 'PLUGIN_THREW_PERMANENT', retry: 'no' },
  not_found: { ...passedOn, answer: 'PLUGIN_THREW_NOT_FOUND' },
  unknown: { ...passedOn, answer: 'PLUGIN_THREW_UNKNOWN' },
  deadline: { ...passedOn, answer: 'PLUGIN_DEADLINE' },
  process_died: { ...passedOn, answer: 'PLUGIN_PROCESS_DIED' },
  invalid: { ...passedOn, answer: 'PLUGIN_ANSWER_INVALID' },
  not_admitted: { ...passedOn, answer: 'ADMISSION_DEADLINE' },
  cancelled: { ...passedOn, answer: 'CALL_CANCELLED' },
};

const overDo = { ...passedOn, answer: 'phase', retry: 'no' } as const;
const endedDo = { ...overDo, ends: { phase: 'RETRYABLE_FAILURE', code: 'plugin' } } as const;
const refusedDo = { ...overDo, ends: REFUSED } as const;

/**
 * A run that failed is a phase, so that an engine applies its own retries, which are attempts of their own: a repeat of this one
 * answers the same. A run that never began is an error.
 */
const DO: Row = {
  ...PASSED_ON,
  transient: endedDo,
  permanent: refusedDo,
  not_found: endedDo,
  unknown: endedDo,
  deadline: endedDo,
  process_died: endedDo,
  invalid: refusedDo,
};

export const OUTCOMES: Readonly<Record<OutcomePlace, Row>> = {
  create: CREATE,
  get: READ,
  getManyItem: READ,
  status: READ,
  delete: DELETE,
  do: DO,
  getLogs: PASSED_ON,
};

export function outcomeRule(place: OutcomePlace, kind: FailureKind): OutcomeRule {
  return OUTCOMES[place][kind];
}
