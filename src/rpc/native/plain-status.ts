import { BackWriter } from '../../idl/back-writer.js';
import type { Codec } from '../../idl/codec.js';
import { msToTimestamp } from '../../idl/well-known.js';
import { getOrMake } from '../../lib/get-or-make.js';
import { isPlainState } from '../../model/phase-state.js';
import type { TaskRecord } from '../../model/task-record.js';
import type { Phase } from '../../plugin-api/phase.js';

/** Fields of PhaseInfo, TaskStatus and Timestamp. */
const PHASE_INFO_VERSION = 2;
const PHASE_INFO_REASON = 3;
const PHASE_INFO_REMOTE_PHASE = 10;
const STATUS_PHASE_INFO = 1;
const STATUS_OBSERVED_AT = 2;
const STATUS_FAILURES = 3;
const STATUS_LAST_ERROR = 4;
const STATUS_LAST_ERROR_CODE = 5;
const STATUS_REMOTE_DOWN = 6;
const SECONDS = 1;
const NANOS = 2;

const UINT32_MAX = 0xffff_ffff;

/**
 * TaskStatus of tasks whose state says no more than its phase, its reason and the remote's own word: most of all answers. Written
 * anew each time, which takes no longer than to find what was kept: half a million tasks have as many answers, and no cache
 * keeps these.
 */
export class PlainStatus {
  readonly #phaseInfo: Codec;
  readonly #phases = new Map<Phase, Buffer>();
  readonly #writer = new BackWriter();

  /** The codec of PhaseInfo knows the numbers of phases. */
  constructor(phaseInfo: Codec) {
    this.#phaseInfo = phaseInfo;
  }

  /** Whether the task is one of these; a codec has what is none, and what it would not encode. */
  takes(task: TaskRecord): boolean {
    const { state, phaseVersion, observedAtMs, consecutiveFailures } = task;
    if (!isPlainState(state) || state.phase === 'UNDEFINED') return false;
    if (!isUint32(phaseVersion) || !isUint32(consecutiveFailures)) return false;
    return observedAtMs === undefined || (observedAtMs >= 0 && Number.isFinite(observedAtMs));
  }

  /** TaskStatus, as the field `within` of a message where that is given. */
  encode(task: TaskRecord, remoteDown: boolean, within?: number): Buffer {
    const { state, observedAtMs, lastFailure } = task;
    const writer = this.#writer;
    writer.begin();
    writer.number(STATUS_REMOTE_DOWN, remoteDown ? 1 : 0);
    if (lastFailure !== undefined) {
      writer.text(STATUS_LAST_ERROR_CODE, lastFailure.code);
      writer.text(STATUS_LAST_ERROR, lastFailure.message);
    }
    writer.number(STATUS_FAILURES, task.consecutiveFailures);
    if (observedAtMs !== undefined) this.#time(STATUS_OBSERVED_AT, observedAtMs);
    const before = writer.size;
    writer.text(PHASE_INFO_REMOTE_PHASE, state.remotePhase);
    writer.text(PHASE_INFO_REASON, state.reason);
    writer.number(PHASE_INFO_VERSION, task.phaseVersion);
    writer.fields(getOrMake(this.#phases, state.phase, () => this.#phaseInfo.encode({ phase: state.phase })));
    writer.embed(STATUS_PHASE_INFO, before);
    if (within !== undefined) writer.embed(within, 0);
    return writer.finish();
  }

  #time(field: number, epochMs: number): void {
    const { seconds, nanos } = msToTimestamp(epochMs);
    const writer = this.#writer;
    const before = writer.size;
    writer.number(NANOS, nanos);
    writer.number(SECONDS, seconds);
    writer.embed(field, before);
  }
}

function isUint32(value: number): boolean {
  return Number.isInteger(value) && value >= 0 && value <= UINT32_MAX;
}
