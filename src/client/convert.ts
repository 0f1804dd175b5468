import { makeLiteralCodec } from '../data/literal-codec.js';
import { readTaskInterface } from '../data/task-interface.js';
import { HostError } from '../errors/index.js';
import type { Codec, Message } from '../idl/codec.js';
import type { Idl } from '../idl/idl.js';
import { readLiteralNames } from '../idl/literal-map.js';
import { structToJson } from '../idl/struct.js';
import { durationToMs, timestampToMs } from '../idl/well-known.js';
import { findMessage } from '../idl/wire.js';
import type { Outputs } from '../model/phase-state.js';
import type { TaskLog } from '../plugin-api/phase.js';
import type {
  Connection,
  ExternalResource,
  MessageInput,
  PhaseInfo,
  PluginLimits,
  PluginReport,
  TaskInput,
  TaskStatus,
} from './types.js';

function encoded(codec: Codec, input: MessageInput | undefined): Uint8Array | undefined {
  if (input === undefined || input instanceof Uint8Array) return input;
  return codec.encodeJson(input);
}

export function connectionMessage(connection: Connection | undefined): Message | undefined {
  return connection && { secrets: connection.secrets ?? {}, configs: connection.configs ?? {} };
}

function encodedInputs(idl: Idl, task: TaskInput, template: Uint8Array): Uint8Array | undefined {
  const { inputs, inputValues } = task;
  if (inputValues === undefined) return encoded(idl.codec('flyteidl.core.LiteralMap'), inputs);
  if (inputs !== undefined) {
    throw new HostError('REQUEST_FIELD_INVALID', 'inputs and inputValues are both set; give one of them');
  }
  const literals = makeLiteralCodec(idl);
  return literals.writeMap(inputValues, readTaskInterface(literals, template).inputs);
}

/** A pluginhost.v1.TaskSpec; template, inputs and metadata go into it as bytes. */
export function taskMessage(idl: Idl, task: TaskInput): Message {
  const template = encoded(idl.codec('flyteidl.core.TaskTemplate'), task.template) ?? Buffer.alloc(0);
  return {
    generatedName: task.generatedName ?? '',
    template,
    inputs: encodedInputs(idl, task, template),
    inputPrefix: task.inputPrefix ?? '',
    outputPrefix: task.outputPrefix ?? '',
    metadata: encoded(idl.codec('flyteidl.admin.TaskExecutionMetadata'), task.metadata),
    maxDatasetSizeBytes: task.maxDatasetSizeBytes ?? 0,
    connection: connectionMessage(task.connection),
  };
}

function logOf(log: Message): TaskLog {
  return {
    uri: log.uri,
    name: log.name,
    messageFormat: log.messageFormat,
    ...(log.ttl === null ? {} : { ttlMs: durationToMs(log.ttl)! }),
    showWhilePending: log.ShowWhilePending,
    hideOnceFinished: log.HideOnceFinished,
  };
}

function partOf(part: Message): ExternalResource {
  return {
    externalId: part.externalId,
    index: part.index,
    retryAttempt: part.retryAttempt,
    phase: part.phase,
    logs: part.logs.map(logOf),
    customInfo: part.customInfo === null ? undefined : structToJson(part.customInfo),
  };
}

function outputsOf(info: Message): Outputs {
  const literalMap = info.outputValues as Buffer | null;
  if (literalMap !== null) return { kind: 'inline', literalMap, names: readLiteralNames(literalMap) };
  return info.outputs === 'outputsAtPrefix' ? { kind: 'prefix' } : { kind: 'none' };
}

/** Reads answers of the native API. */
export class AnswerReader {
  readonly #phaseInfo: Codec;
  readonly #taskStatus: Codec;

  constructor(idl: Idl) {
    this.#phaseInfo = idl.codec('pluginhost.v1.PhaseInfo');
    this.#taskStatus = idl.codec('pluginhost.v1.TaskStatus');
  }

  /** The outputs stay the bytes they came as. */
  phaseInfo(bytes: Uint8Array): PhaseInfo {
    const info = this.#phaseInfo.decode(bytes, { raw: ['outputValues'] });
    const { error } = info;
    return {
      phase: info.phase,
      version: info.version,
      reason: info.reason,
      error: error === null ? undefined : { code: error.code, message: error.message, kind: error.kind },
      logs: info.logs.map(logOf),
      customInfo: info.customInfo === null ? undefined : structToJson(info.customInfo),
      externalResources: info.externalResources.map(partOf),
      outputs: outputsOf(info),
      remotePhase: info.remotePhase,
    };
  }

  taskStatus(bytes: Uint8Array): TaskStatus {
    const status = this.#taskStatus.decode(bytes, { raw: ['phaseInfo'] });
    return {
      phaseInfo: this.phaseInfo(status.phaseInfo ?? Buffer.alloc(0)),
      observedAtMs: timestampToMs(status.observedAt) ?? undefined,
      consecutiveFailures: status.consecutiveFailures,
      lastError: status.lastError,
      lastErrorCode: status.lastErrorCode,
      remoteDown: status.remoteDown,
    };
  }

  /** The embedded message `field` of an answer, as bytes. */
  part(bytes: Uint8Array, field: number): Buffer {
    return findMessage(bytes, field) ?? Buffer.alloc(0);
  }
}

function limitsOf(config: Message): PluginLimits {
  return {
    resourceQuotas: config.resourceQuotas,
    readRateLimiter: config.readRateLimiter,
    writeRateLimiter: config.writeRateLimiter,
    cacheSize: config.cacheSize,
    resyncIntervalMs: durationToMs(config.resyncInterval) ?? 0,
    workers: config.workers,
    maxSystemFailures: config.maxSystemFailures,
  };
}

/** A decoded pluginhost.v1.PluginReport. */
export function reportOf(report: Message): PluginReport {
  const { kind, config, rssBytes, taskTypes, quotas, ...rest } = report;
  return {
    ...(rest as Omit<PluginReport, 'kind' | 'config' | 'rssBytes' | 'taskTypes' | 'quotas'>),
    kind: kind === 'ASYNC' ? 'async' : kind === 'SYNC' ? 'sync' : undefined,
    taskTypes,
    quotas,
    config: config === null ? undefined : limitsOf(config),
    rssBytes: Number(rssBytes),
  };
}
