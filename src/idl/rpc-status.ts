import { encodeVarint, lenField, readFields, WIRE_LEN, WIRE_VARINT } from './wire.js';

/**
 * google.rpc.Status with the details that this daemon sends: ErrorInfo, RetryInfo and BadRequest
 * (https://github.com/googleapis/googleapis, google/rpc/status.proto and error_details.proto). Small and frozen messages,
 * so they are written field by field instead of shipping their .proto files.
 */
export interface RpcStatus {
  /** The gRPC status code. */
  readonly code: number;
  readonly message: string;
  readonly errorInfo: ErrorInfo | undefined;
  /** RetryInfo.retry_delay, in milliseconds. */
  readonly retryAfterMs: number | undefined;
  /** BadRequest.field_violations. */
  readonly violations: readonly FieldViolation[];
}

export interface ErrorInfo {
  readonly reason: string;
  readonly domain: string;
  readonly metadata: Readonly<Record<string, string>>;
}

export interface FieldViolation {
  readonly field: string;
  readonly description: string;
}

const TYPE_PREFIX = 'type.googleapis.com/google.rpc.';

const varintField = (number: number, value: number): Buffer =>
  Buffer.concat([encodeVarint(number * 8 + WIRE_VARINT), encodeVarint(value)]);

const any = (type: string, value: Buffer): Buffer =>
  lenField(3, Buffer.concat([lenField(1, TYPE_PREFIX + type), lenField(2, value)]));

function encodeErrorInfo(info: ErrorInfo): Buffer {
  const entries = Object.entries(info.metadata).map(([key, value]) =>
    lenField(3, Buffer.concat([lenField(1, key), lenField(2, value)])),
  );
  return Buffer.concat([lenField(1, info.reason), lenField(2, info.domain), ...entries]);
}

function encodeRetryInfo(retryAfterMs: number): Buffer {
  const ms = Math.max(0, Math.round(retryAfterMs));
  const seconds = Math.floor(ms / 1000);
  return lenField(1, Buffer.concat([varintField(1, seconds), varintField(2, (ms - seconds * 1000) * 1_000_000)]));
}

/** The bytes of the trailer `grpc-status-details-bin`. */
export function encodeRpcStatus(status: RpcStatus): Buffer {
  const parts = [varintField(1, status.code), lenField(2, status.message)];
  if (status.errorInfo !== undefined) parts.push(any('ErrorInfo', encodeErrorInfo(status.errorInfo)));
  if (status.retryAfterMs !== undefined) parts.push(any('RetryInfo', encodeRetryInfo(status.retryAfterMs)));
  if (status.violations.length > 0) {
    const violations = status.violations.map(({ field, description }) =>
      lenField(1, Buffer.concat([lenField(1, field), lenField(2, description)])),
    );
    parts.push(any('BadRequest', Buffer.concat(violations)));
  }
  return Buffer.concat(parts);
}

function readVarint(bytes: Buffer): number {
  let value = 0;
  for (let i = 0, factor = 1; i < bytes.length; i++, factor *= 128) value += (bytes[i]! & 0x7f) * factor;
  return value;
}

/** Texts and embedded messages by field number, of repeated ones all, in order; and the varints. */
function fieldsOf(message: Uint8Array): { lens: Map<number, Buffer[]>; ints: Map<number, number> } {
  const lens = new Map<number, Buffer[]>();
  const ints = new Map<number, number>();
  for (const field of readFields(message)) {
    if (field.wireType === WIRE_VARINT) ints.set(field.number, readVarint(field.value));
    if (field.wireType !== WIRE_LEN) continue;
    const earlier = lens.get(field.number);
    if (earlier === undefined) lens.set(field.number, [field.value]);
    else earlier.push(field.value);
  }
  return { lens, ints };
}

const textOf = (lens: Map<number, Buffer[]>, number: number): string =>
  lens.get(number)?.at(-1)?.toString('utf8') ?? '';

function decodeErrorInfo(value: Buffer): ErrorInfo {
  const { lens } = fieldsOf(value);
  const metadata: Record<string, string> = {};
  for (const entry of lens.get(3) ?? []) {
    const pair = fieldsOf(entry).lens;
    Object.defineProperty(metadata, textOf(pair, 1), { value: textOf(pair, 2), enumerable: true, configurable: true });
  }
  return { reason: textOf(lens, 1), domain: textOf(lens, 2), metadata };
}

function decodeRetryInfo(value: Buffer): number {
  const delay = fieldsOf(value).lens.get(1)?.at(-1);
  if (delay === undefined) return 0;
  const { ints } = fieldsOf(delay);
  return (ints.get(1) ?? 0) * 1000 + (ints.get(2) ?? 0) / 1_000_000;
}

/** Reads the trailer of any server; details of other types are passed over. Throws REQUEST_UNDECODABLE. */
export function decodeRpcStatus(bytes: Uint8Array): RpcStatus {
  const { lens, ints } = fieldsOf(bytes);
  let errorInfo: ErrorInfo | undefined;
  let retryAfterMs: number | undefined;
  const violations: FieldViolation[] = [];
  for (const detail of lens.get(3) ?? []) {
    const parts = fieldsOf(detail).lens;
    const value = parts.get(2)?.at(-1) ?? Buffer.alloc(0);
    const type = textOf(parts, 1).replace(TYPE_PREFIX, '');
    if (type === 'ErrorInfo') errorInfo = decodeErrorInfo(value);
    else if (type === 'RetryInfo') retryAfterMs = decodeRetryInfo(value);
    else if (type === 'BadRequest') {
      for (const violation of fieldsOf(value).lens.get(1) ?? []) {
        const fields = fieldsOf(violation).lens;
        violations.push({ field: textOf(fields, 1), description: textOf(fields, 2) });
      }
    }
  }
  return { code: ints.get(1) ?? 0, message: textOf(lens, 2), errorInfo, retryAfterMs, violations };
}
