/**
 * What a plugin throws, and where, decides what the daemon does; the table is docs/outcomes.md. Anything that is not
 * one of these counts as an unknown transient failure.
 */

const BRAND = Symbol.for('webapi-plugin-host.PluginError');

export type PluginErrorKind = 'throttled' | 'transient' | 'permanent' | 'not_found' | 'skip';

/** Whose fault a failure is; engines charge USER failures to the task's retries and SYSTEM failures to the platform. */
export type FaultKind = 'USER' | 'SYSTEM';

export interface PluginErrorOptions {
  readonly cause?: unknown;
  /** A short stable code for ExecutionError.code, such as `OutOfMemory`; at most 128 characters. */
  readonly code?: string;
}

/** Common base of the errors of the plugin contract. Plugins throw the subclasses. */
export abstract class PluginError extends Error {
  abstract readonly kind: PluginErrorKind;
  readonly code: string | undefined;

  constructor(message: string, options: PluginErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = new.target.name;
    this.code = options.code;
    Object.defineProperty(this, BRAND, { value: true });
  }
}

/** True for errors of this contract whichever copy of the package made them. */
export function isPluginError(value: unknown): value is PluginError & {
  readonly retryAfterMs?: number;
  readonly faultKind?: FaultKind;
} {
  if (typeof value !== 'object' || value === null) return false;
  try {
    return BRAND in value;
  } catch {
    // A proxy may throw at whatever is asked of it.
    return false;
  }
}

/** The remote asked for fewer calls (HTTP 429, or 503 with Retry-After). Pauses the bucket; never counts as a failure. */
export class ThrottledError extends PluginError {
  readonly kind = 'throttled';
  /** How long to pause the plugin's bucket, in milliseconds; undefined lets the daemon choose with back-off. */
  readonly retryAfterMs: number | undefined;

  constructor(message: string, options: PluginErrorOptions & { readonly retryAfterMs?: number } = {}) {
    super(message, options);
    this.retryAfterMs = options.retryAfterMs;
  }
}

/** A fault that may pass by itself: connection refused, HTTP 5xx, a time-out of the remote. Counts and is retried. */
export class TransientError extends PluginError {
  readonly kind = 'transient';
  /** True where the remote cannot have made anything: a create that ends so leaves no job of unclear outcome. */
  readonly notCreated: boolean;

  constructor(message: string, options: PluginErrorOptions & { readonly notCreated?: boolean } = {}) {
    super(message, options);
    this.notCreated = options.notCreated === true;
  }
}

/** A refusal that repeating cannot change. `faultKind` USER blames the task, SYSTEM the platform. */
export class PermanentError extends PluginError {
  readonly kind = 'permanent';
  readonly faultKind: FaultKind;

  constructor(message: string, options: PluginErrorOptions & { readonly faultKind?: FaultKind } = {}) {
    super(message, options);
    this.faultKind = options.faultKind ?? 'USER';
  }
}

/** The remote does not know the resource. On delete this is success; on get it is awaited within a grace after create. */
export class NotFoundError extends PluginError {
  readonly kind = 'not_found';
}

/** Thrown by `load`: this plugin has nothing to serve here (no credentials, not this platform). Not a failure. */
export class SkipPluginError extends PluginError {
  readonly kind = 'skip';
}
