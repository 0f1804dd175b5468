/**
 * - `GARBAGE`: what came in is not what the other side may send; the channel is of no use any more.
 * - `TOO_LARGE`: a message is above its bound. Thrown by `send` (nothing was sent), or fatal when received.
 * - `UNSENDABLE`: the data given to `send` is not plain; nothing was sent.
 * - `CLOSED`: the channel is closed.
 */
export type ChannelErrorCode = 'GARBAGE' | 'TOO_LARGE' | 'UNSENDABLE' | 'CLOSED';

/** Stays inside host/: its callers turn it into an outcome or into the end of a process. */
export class ChannelError extends Error {
  override readonly name = 'ChannelError';

  constructor(
    readonly code: ChannelErrorCode,
    message: string,
  ) {
    super(message);
  }
}
