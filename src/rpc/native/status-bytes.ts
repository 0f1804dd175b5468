import { HostError } from '../../errors/index.js';
import type { Codec, Message } from '../../idl/codec.js';
import type { Idl } from '../../idl/idl.js';
import { structFromJson } from '../../idl/struct.js';
import { msToTimestamp } from '../../idl/well-known.js';
import { lenField } from '../../idl/wire.js';
import type { Outputs, PhaseState } from '../../model/phase-state.js';
import type { TaskRecord } from '../../model/task-record.js';
import type { ExternalResource } from '../../plugin-api/phase.js';
import { AnswerCache } from '../answer-cache.js';
import { logMessage } from '../task-log.js';
import { PlainStatus } from './plain-status.js';

const STATUS_FIELD = 1;
/** TaskStatus.remote_down = true, appended to the status. */
const REMOTE_DOWN = Buffer.from([0x30, 0x01]);

function externalResourceMessage(part: ExternalResource): Message {
  return {
    externalId: part.externalId,
    index: part.index ?? 0,
    retryAttempt: part.retryAttempt ?? 0,
    phase: part.phase ?? 'UNDEFINED',
    logs: (part.logs ?? []).map(logMessage),
    customInfo: part.customInfo && structFromJson(part.customInfo),
  };
}

function outputsMessage(outputs: Outputs): Message {
  switch (outputs.kind) {
    case 'none':
      return {};
    case 'inline':
      return { outputValues: outputs.literalMap };
    case 'prefix':
      return { outputsAtPrefix: true };
    default:
      return outputs satisfies never;
  }
}

/** Encodes what the native API says about a task. Strict: what the .proto does not know throws ENCODE_INVALID. */
export class StatusEncoder {
  readonly #phaseInfo: Codec;
  readonly #taskStatus: Codec;
  readonly #answers = new AnswerCache();
  readonly #plain: PlainStatus;

  constructor(idl: Idl) {
    this.#phaseInfo = idl.codec('pluginhost.v1.PhaseInfo');
    this.#plain = new PlainStatus(this.#phaseInfo);
    this.#taskStatus = idl.codec('pluginhost.v1.TaskStatus');
  }

  /** pluginhost.v1.PhaseInfo. UNDEFINED is never answered (rule 7); it throws. */
  phaseInfo(state: PhaseState, version: number): Buffer {
    const { phase, reason, error, logs, customInfo, externalResources, outputs, remotePhase } = state;
    if (phase === 'UNDEFINED') throw new HostError('ENCODE_INVALID', 'the phase UNDEFINED is never answered');
    return this.#phaseInfo.encode({
      phase,
      version,
      reason,
      error,
      logs: logs.map(logMessage),
      customInfo: customInfo && structFromJson(customInfo),
      externalResources: externalResources.map(externalResourceMessage),
      remotePhase,
      ...outputsMessage(outputs),
    });
  }

  /** StatusResponse (and GetResponse, which is the same on the wire), encoded once a visible change. */
  response(task: TaskRecord, remoteDown: boolean): Buffer {
    if (this.#plain.takes(task)) return this.#plain.encode(task, remoteDown, STATUS_FIELD);
    // Not as a second status behind the first: protobuf merges the two, and protobufjs forgets the first.
    const response = this.#answers.of(task, () => lenField(STATUS_FIELD, this.#status(task)));
    if (!remoteDown) return response;
    return lenField(STATUS_FIELD, Buffer.concat([statusOf(response), REMOTE_DOWN]));
  }

  /** TaskStatus for messages that hold it beside other fields, as the field `within` where that is given; what is made for these is not kept. */
  taskStatus(task: TaskRecord, remoteDown: boolean, within?: number): Buffer {
    if (this.#plain.takes(task)) return this.#plain.encode(task, remoteDown, within);
    const response = this.#answers.peek(task);
    const status = response === undefined ? this.#status(task) : statusOf(response);
    const whole = remoteDown ? Buffer.concat([status, REMOTE_DOWN]) : status;
    return within === undefined ? whole : lenField(within, whole);
  }

  #status(task: TaskRecord): Buffer {
    return this.#taskStatus.encode({
      phaseInfo: this.phaseInfo(task.state, task.phaseVersion),
      observedAt: task.observedAtMs === undefined ? undefined : msToTimestamp(task.observedAtMs),
      consecutiveFailures: task.consecutiveFailures,
      lastError: task.lastFailure?.message ?? '',
      lastErrorCode: task.lastFailure?.code ?? '',
    });
  }
}

/** TaskStatus out of the field that holds it. */
function statusOf(response: Buffer): Buffer {
  // Tag, length, status: what follows the length is the status.
  let start = 1;
  while (response[start]! >= 0x80) start += 1;
  return response.subarray(start + 1);
}

/** Offset after the varint at `at`, or -1 where it is not whole. */
function varintEnd(bytes: Buffer, at: number): number {
  for (let offset = at; offset < bytes.length && offset < at + 5; offset++)
    if (bytes[offset]! < 0x80) return offset + 1;
  return -1;
}

function lengthAt(bytes: Buffer, at: number, end: number): number {
  let value = 0;
  for (let offset = at, factor = 1; offset < end; offset++, factor *= 128) value += (bytes[offset]! & 0x7f) * factor;
  return value;
}

/**
 * The handle of a StatusRequest as engines send it: a handle, then an output prefix or nothing. No copy, no decoding;
 * undefined for any other layout, which the codec then reads.
 */
export function peekHandle(request: Buffer): Buffer | undefined {
  if (request[0] !== 0x0a) return undefined;
  const start = varintEnd(request, 1);
  if (start < 0) return undefined;
  const end = start + lengthAt(request, 1, start);
  if (end === request.length) return request.subarray(start, end);
  if (request[end] !== 0x12) return undefined;
  const prefixStart = varintEnd(request, end + 1);
  if (prefixStart < 0 || prefixStart + lengthAt(request, end + 1, prefixStart) !== request.length) return undefined;
  return request.subarray(start, end);
}
