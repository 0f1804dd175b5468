import { type ServiceError, status } from '@grpc/grpc-js';
import { messageOf } from '../errors/index.js';
import { decodeRpcStatus, type FieldViolation, type RpcStatus } from '../idl/rpc-status.js';

/** A call that failed, with what the daemon said about it. */
export class PluginHostError extends Error {
  /** A code of docs/errors.md; the name of the gRPC status where the daemon sent none (the transport failed). */
  readonly code: string;
  /** The name of the gRPC status, such as `INVALID_ARGUMENT`. */
  readonly status: string;
  /** How long to wait before a retry, if the daemon knows. */
  readonly retryAfterMs: number | undefined;
  readonly details: Readonly<Record<string, string>>;
  readonly violations: readonly FieldViolation[];

  constructor(message: string, statusName: string, info: Partial<RpcStatus> = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.name = 'PluginHostError';
    this.code = info.errorInfo?.reason || statusName;
    this.status = statusName;
    this.retryAfterMs = info.retryAfterMs;
    this.details = info.errorInfo?.metadata ?? {};
    this.violations = info.violations ?? [];
  }
}

function detailsOf(error: Partial<ServiceError>): RpcStatus | undefined {
  const [bytes] = error.metadata?.get('grpc-status-details-bin') ?? [];
  if (!Buffer.isBuffer(bytes)) return undefined;
  try {
    return decodeRpcStatus(bytes);
  } catch {
    // Details that cannot be read are a lack of details, not another error.
    return undefined;
  }
}

/** Whatever grpc-js threw, as a PluginHostError. */
export function clientError(thrown: unknown): PluginHostError {
  if (thrown instanceof PluginHostError) return thrown;
  const error = thrown as Partial<ServiceError>;
  const name = typeof error?.code === 'number' ? (status[error.code] ?? 'UNKNOWN') : 'UNKNOWN';
  return new PluginHostError(error?.details || messageOf(thrown), name, detailsOf(error), thrown);
}
