import { type OnReadOpts, Socket, type SocketConstructorOpts } from 'node:net';

/** What one read brings at most. */
const READ_BYTES = 64 * 1024;

type Place = { readonly fd: number } | { readonly handle: object };

/**
 * A socket that reads into the same memory again and again. Its `data` is to be taken, or copied, before the listener returns: the next
 * read is written over it. Whoever takes the socket listens to it in the same turn of the event loop.
 *
 * By itself Node makes memory for every read, up to 64 KiB. It lies outside of V8's heap, young or not, and counts against the limit of
 * the old objects; once a daemon was idle for a while that limit is some 10 MB above what it holds. So whoever sends that much makes it
 * collect all of its heap, twice a second beside a flood, and all others wait for that (docs/performance.md, `hog`).
 */
export function inOneBuffer(place: Place): Socket {
  const onread: OnReadOpts = {
    buffer: Buffer.allocUnsafeSlow(READ_BYTES),
    callback: (bytes, memory) => {
      socket.emit('data', (memory as Buffer).subarray(0, bytes));
      // Whether it goes on: a listener that paused it has stopped it already.
      return true;
    },
  };
  const options: SocketConstructorOpts & Place & { readonly onread: OnReadOpts } = {
    ...place,
    readable: true,
    writable: true,
    onread,
  };
  const socket = new Socket(options);
  return socket;
}

/**
 * The same for the pipe of a child process, of which `made` is the socket that Node made. Node has an option for it (`onread`) for sockets alone that
 * one makes oneself, so that what `made` stands on goes over to a new one; `made` is of no use any more. That it is called `_handle` is
 * not documented: where it is not, `made` is returned, and all works as it does with memory for every read.
 */
export function pipeInOneBuffer(made: Socket): Socket {
  const holder = made as unknown as { _handle?: object | null };
  const handle = holder._handle;
  if (handle === undefined || handle === null || !('useUserBuffer' in handle)) return made;
  holder._handle = null;
  return inOneBuffer({ handle });
}
