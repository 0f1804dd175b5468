import { HostError } from '../errors/index.js';

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

/** `ownerOf` a part that this replica has; no epoch. */
export const HERE = 'here';

/** The replicas that have the parts of a state, for calls that come to another one. */
export interface Elsewhere {
  /** Into how many parts tasks are divided: a power of two, for good. With one, all calls are about that one. */
  readonly parts: number;
  /** Whether calls about a part are another replica's business now. Asked at each call. */
  away(part: number): boolean;
  /** The epoch of who has a part; `here` for this replica, undefined where nobody is seen. */
  ownerOf(part: number): string | undefined;
  /** Calls back whenever an owner may have changed; answers how to end that. */
  onChange(listener: () => void): () => void;
  /**
   * Answers the bytes that the owner of the part answers, and what `here` does where this replica became that meanwhile. Waits for an owner
   * within the deadline; where the state has several parts, it asks again after an OWNER_AWAY of `here` as well: the part was given up under it.
   * Throws EndedElsewhere with what the owner says, OWNER_AWAY where none was found in time, or the call was passed on before, and what
   * `here` throws. `standIn` answers in the place of an owner that does not; where it throws OWNER_AWAY, one is waited for.
   */
  unary(
    part: number,
    call: PassedCall,
    request: Buffer,
    here: () => Buffer | Promise<Buffer>,
    standIn?: () => Buffer | Promise<Buffer>,
  ): Promise<Buffer>;
  /** The same for a stream, which is not begun again once it was passed on; undefined, before anything is read, where it is this replica's. */
  stream(part: number, call: PassedCall, requests: AsyncIterable<Buffer>): Promise<AsyncIterable<Buffer> | undefined>;
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

/** Whether it says that what was asked for is another replica's, or nobody's for now. */
export function isOwnerAway(error: unknown): boolean {
  return HostError.is(error) && error.code === 'OWNER_AWAY';
}
