import type {
  CreateArgs,
  DeleteArgs,
  LogsArgs,
  MetricsArgs,
  RequirementsArgs,
  ResourceArgs,
} from '../model/plugin-call.js';
import type {
  CallContext,
  ConnectionInfo,
  CreateContext,
  DeleteContext,
  LogsContext,
  MetricsContext,
  RequirementsContext,
  ResourceContext,
} from '../plugin-api/contexts.js';
import type { SecretManager } from '../plugin-api/data.js';
import type { DataKit } from './data-kit.js';
import type { Redactor } from './redactor.js';

/** What is the same for every context of one call. */
export interface CallParts extends CallContext {
  readonly kit: DataKit;
  readonly redactor: Redactor;
}

export function requirementsContext(args: RequirementsArgs, parts: CallParts): RequirementsContext {
  return {
    ...callContext(parts),
    taskReader: parts.kit.taskReader(args.template),
    taskExecutionMetadata: args.metadata,
  };
}

export function createContext(args: CreateArgs, parts: CallParts): { context: CreateContext; written: () => boolean } {
  const { writer, used } = parts.kit.outputWriter({
    outputPrefix: args.outputPrefix,
    maxBytes: args.maxDatasetSizeBytes,
    declaredBy: args.template,
    declaredNames: undefined,
    signal: parts.signal,
  });
  const context: CreateContext = {
    ...callContext(parts),
    taskReader: parts.kit.taskReader(args.template),
    inputReader: parts.kit.inputReader(args, parts.signal),
    outputWriter: writer,
    dataStore: parts.kit.dataStore(parts.signal),
    secretManager: secretsOf(args.connection, parts),
    connection: args.connection,
    taskExecutionMetadata: args.metadata,
    outputPrefix: args.outputPrefix,
    maxDatasetSizeBytes: args.maxDatasetSizeBytes,
    idempotencyKey: args.idempotencyKey,
  };
  return { context, written: used };
}

export function resourceContext(
  args: ResourceArgs,
  meta: unknown,
  parts: CallParts,
): { context: ResourceContext<unknown>; written: () => boolean } {
  const { writer, used } = parts.kit.outputWriter({
    outputPrefix: args.outputPrefix,
    maxBytes: 0,
    declaredBy: undefined,
    declaredNames: args.outputNames,
    signal: parts.signal,
  });
  const context: ResourceContext<unknown> = {
    ...callContext(parts),
    resourceMeta: meta,
    outputPrefix: args.outputPrefix,
    outputNames: args.outputNames,
    outputWriter: writer,
    dataStore: parts.kit.dataStore(parts.signal),
    secretManager: secretsOf(args.connection, parts),
    connection: args.connection,
    idempotencyKey: args.idempotencyKey,
  };
  return { context, written: used };
}

export function deleteContext(args: DeleteArgs, meta: unknown, parts: CallParts): DeleteContext<unknown> {
  return { ...resourceContext(args, meta, parts).context, reason: args.reason };
}

export function logsContext(args: LogsArgs, meta: unknown, parts: CallParts): LogsContext<unknown> {
  return { ...resourceContext(args, meta, parts).context, lines: args.lines, token: args.token };
}

export function metricsContext(args: MetricsArgs, meta: unknown, parts: CallParts): MetricsContext<unknown> {
  const { queries, startTimeMs, endTimeMs, stepMs } = args;
  return { ...resourceContext(args, meta, parts).context, queries, startTimeMs, endTimeMs, stepMs };
}

function callContext(parts: CallParts): CallContext {
  const { signal, deadlineMs, sentAtMs, logger, metrics } = parts;
  return { signal, deadlineMs, sentAtMs, logger, metrics };
}

/** Every secret that a plugin reads is masked from then on in what leaves the process. */
function secretsOf(connection: ConnectionInfo | undefined, parts: CallParts): SecretManager {
  for (const value of Object.values(connection?.secrets ?? {})) parts.redactor.add(value);
  return watchSecrets(parts.kit.secretManager(connection), parts.redactor, connection);
}

export function watchSecrets(manager: SecretManager, redactor: Redactor, connection?: ConnectionInfo): SecretManager {
  return {
    async get(group, key, options) {
      const value = await manager.get(group, key, options);
      // One that came with a call is known already, and stays one that passes.
      if (!Object.values(connection?.secrets ?? {}).includes(value)) await redactor.learn(value);
      return value;
    },
  };
}
