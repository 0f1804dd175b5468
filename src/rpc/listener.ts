import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import { HostError, messageOf } from '../errors/index.js';

export interface ListenerOptions {
  readonly host: string;
  readonly port: number;
  /** Connections beyond this are dropped at once. */
  readonly maxConnections: number;
  /** A connection that has sent nothing for this long after it was opened is closed. */
  readonly handshakeTimeoutMs: number;
}

/**
 * The listening socket, apart from grpc-js, which bounds neither the number of connections nor how long one may stay
 * silent. Every accepted connection is handed on.
 */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(options: ListenerOptions, accept: (socket: Socket) => void) {
    this.#options = options;
    this.#server = createServer({ noDelay: true }, (socket) => {
      this.#track(socket);
      accept(socket);
    });
    this.#server.maxConnections = options.maxConnections;
  }

  get connections(): number {
    return this.#sockets.size;
  }

  /** Throws LISTEN_FAILED with the address and the reason. */
  async listen(): Promise<AddressInfo> {
    const { host, port } = this.#options;
    await new Promise<void>((resolve, reject) => {
      const fail = (error: Error) => {
        const message = `cannot listen on ${host}:${port}: ${messageOf(error)}; choose another address or stop what holds it`;
        reject(new HostError('LISTEN_FAILED', message, { cause: error, details: { address: `${host}:${port}` } }));
      };
      this.#server.once('error', fail);
      this.#server.listen({ host, port }, () => {
        this.#server.off('error', fail);
        // A failing accept (no file descriptors left) must not end the process; the next one may work.
        this.#server.on('error', () => {});
        resolve();
      });
    });
    return this.#server.address() as AddressInfo;
  }

  /** Stops accepting; open connections stay. */
  close(): void {
    this.#server.close();
  }

  /** Resolves when every connection is closed. */
  async closed(): Promise<void> {
    // Not `once` of node:events, which rejects where an error comes before the close.
    const closing = [...this.#sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve)));
    await Promise.all(closing);
  }

  destroyConnections(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #track(socket: Socket): void {
    this.#sockets.add(socket);
    const silent = setTimeout(() => {
      if (socket.bytesRead === 0) socket.destroy();
    }, this.#options.handshakeTimeoutMs);
    silent.unref();
    socket.on('error', () => socket.destroy());
    socket.once('close', () => {
      clearTimeout(silent);
      this.#sockets.delete(socket);
    });
  }
}
