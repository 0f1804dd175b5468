import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { Entrance } from '../../access/entrance.js';
import { HostError, messageOf } from '../../errors/index.js';
import type { Connection, Connections } from './connections.js';

export interface ListenerOptions {
  readonly host: string;
  readonly port: number;
}

/** The listening socket, apart from grpc-js, which bounds no connections. Every connection that there is room for, and that has entered, is handed on. */
export class Listener {
  readonly #options: ListenerOptions;
  readonly #server: Server;
  readonly #sockets = new Set<Socket>();

  constructor(
    options: ListenerOptions,
    connections: Connections,
    entrance: Entrance,
    accept: (connection: Connection) => void,
  ) {
    this.#options = options;
    this.#server = createServer({ noDelay: true }, (socket) => {
      this.#track(socket);
      const connection = connections.add(socket);
      if (connection === undefined) return;
      entrance.admit(socket, (within, peer) => {
        // Errors of the socket within come there alone.
        if (within !== socket) within.on('error', () => within.destroy());
        connection.entered(within, peer);
        accept(connection);
      });
    });
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
    socket.on('error', () => socket.destroy());
    socket.once('close', () => this.#sockets.delete(socket));
  }
}
