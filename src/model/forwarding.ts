/** The metadata key that names the replica which passed a call on: whoever has it passes it on to nobody else. */
export const HOP = 'plugin-host-hop';

/** A call on its way to another replica: what of it goes along with its bytes. */
export interface PassedCall {
  /** Of the method. */
  readonly path: string;
  /** On the daemon's clock; Infinity for a stream that has none. */
  readonly deadlineMs: number;
  /** Aborted when the caller goes, or the deadline has passed. */
  readonly signal: AbortSignal;
  /** The text of a metadata key. */
  header(name: string): string | undefined;
}

/** The replica that has the state, for calls that come to another one. */
export interface Elsewhere {
  /** Whether calls are another replica's business now. Asked at each call. */
  away(): boolean;
  /**
   * Answers the bytes that the owner answers; undefined where this replica became the owner meanwhile. Waits for an owner within the
   * deadline. Throws EndedElsewhere with what the owner says, and OWNER_AWAY where none was found in time, or the call was passed on before.
   */
  unary(call: PassedCall, request: Buffer): Promise<Buffer | undefined>;
  /** The same for a stream, which is not begun again once it was passed on; undefined as above, before anything is read. */
  stream(call: PassedCall, requests: AsyncIterable<Buffer>): Promise<AsyncIterable<Buffer> | undefined>;
}

/** How a call ended that another replica has answered, as its caller is to see it. */
export class EndedElsewhere extends Error {
  /** The number of the gRPC status. */
  readonly status: number;
  /** The encoded google.rpc.Status, where there was one. */
  readonly trailer: Buffer | undefined;

  constructor(status: number, message: string, trailer: Buffer | undefined) {
    super(message);
    this.name = 'EndedElsewhere';
    this.status = status;
    this.trailer = trailer;
  }
}
