import type { HostError } from '../errors/index.js';

/** The method by which replicas keep one stream a pair, for what they say to each other beside calls. */
export const REPLICA_LINK = { service: 'pluginhost.internal.Replicas', method: 'Link' } as const;
export const REPLICA_LINK_PATH = `/${REPLICA_LINK.service}/${REPLICA_LINK.method}`;

/** The metadata key that says for which member a stream is: another one may have come to its address. */
export const LINK_TO = 'plugin-host-link-to';

/** The answering end of a stream that another replica has opened. */
export interface LinkStream {
  /** The member's epoch, as the stream says. */
  readonly from: string | undefined;
  /** The epoch of the member that it is for. */
  readonly to: string | undefined;
  /** Tells the other side that the stream is taken; once, before anything is written. */
  open(): void;
  readonly messages: AsyncIterable<Buffer>;
  /** Resolves when another one may be written; false once the other side is gone. */
  write(message: Buffer): Promise<boolean>;
  /** Aborted when the stream is to end. */
  readonly signal: AbortSignal;
}

/** Who takes the streams of other replicas. */
export interface LinkAcceptor {
  /** Lasts as long as the stream. Throws NOT_A_REPLICA, and REQUEST_UNDECODABLE for what no replica says. */
  accept(stream: LinkStream): Promise<void>;
}

/** What a link says of itself; all optional, none may throw. */
export interface LinkEvents {
  opened?(member: string): void;
  /** Told once until it is open again. */
  broke?(member: string, why: HostError): void;
}
