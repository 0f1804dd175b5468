/** Bounds of the transport. */
export interface RpcLimits {
  /** Largest message taken, in bytes; inputs come inline (FIELD 13). */
  readonly maxReceiveBytes: number;
  /** Largest message sent, in bytes. */
  readonly maxSendBytes: number;
  /** Calls at a time on one connection. */
  readonly maxConcurrentStreams: number;
  /**
   * Bytes that all requests together may hold before a handler has them, headers included. A message of
   * `maxReceiveBytes` has to fit.
   */
  readonly maxUnfinishedBytes: number;
  /** Calls that start in one turn of the event loop; the others wait, and connections take turns. */
  readonly callsPerTurn: number;
  /** Connections at a time; the longest idle one gives way to a newcomer, which is dropped when all have calls. */
  readonly maxConnections: number;
  /** Open Watch streams at a time, as many of health, and as many of reflection; further ones get TOO_MANY_STREAMS. */
  readonly maxStreams: number;
  /** A connection silent for so long gets a ping. */
  readonly keepaliveTimeMs: number;
  /** A ping not answered for so long ends its connection. */
  readonly keepaliveTimeoutMs: number;
  /** A connection without calls for so long is closed. */
  readonly maxConnectionIdleMs: number;
  /** A connection that has not sent its preface and SETTINGS within this time after it was opened is closed. */
  readonly handshakeTimeoutMs: number;
  /** Deadline of a call whose caller set none. */
  readonly defaultDeadlineMs: number;
  /** Longest deadline that is kept; longer ones are cut. */
  readonly maxDeadlineMs: number;
}

/** The bounds among them that the operator does not set. */
export const RPC_BOUNDS = {
  callsPerTurn: 64,
  handshakeTimeoutMs: 10_000,
} as const satisfies Partial<RpcLimits>;
