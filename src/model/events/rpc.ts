/** Observes the calls of one method. Made once a method, so that a call costs no lookup. */
export interface RpcMethodObserver {
  started(): void;
  /** `code` is the status name, such as `OK` or `INVALID_ARGUMENT`. */
  handled(code: string, seconds: number): void;
  received(): void;
  sent(): void;
}

/** Which method, in the words of the standard gRPC metrics. */
export interface RpcMethodName {
  readonly service: string;
  readonly method: string;
  readonly type: 'unary' | 'server_stream' | 'bidi_stream';
}

/** Makes the observer of a method. */
export type RpcMetrics = (method: RpcMethodName) => RpcMethodObserver;

/** What a call did that operators want to know the author of. */
export interface RpcAction {
  readonly action: 'delete';
  /** Id of the task. */
  readonly task: string;
}

export interface RpcLog {
  /** A fault of the daemon itself: a throw that is no HostError. */
  fault(event: { readonly method: string; readonly error: unknown }): void;
  /** A caller did what is to be known later. */
  acted?(event: RpcAction & { readonly by: string; readonly remote: string }): void;
  /** What the gRPC library says of its own accord; a caller can make it speak. */
  library(message: string): void;
}
