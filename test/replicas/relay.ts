import { once } from 'node:events';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Cleanup } from '../support/temp.js';

/** Stands between one replica and a server, passes bytes on, and can be told to be slow, to carry nothing, or to break. */
export class Relay {
  /** Bytes wait this long, each way. Milliseconds. */
  delayMs = 0;
  /** When bytes of the replica were passed on last, by `performance.now`. */
  lastSentMs = 0;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();
  readonly #target: number;
  #cut = false;
  #breaks = false;

  private constructor(target: number) {
    this.#target = target;
    this.#server = net.createServer((socket) => this.#connected(socket));
  }

  /** In front of a port of this machine. */
  static async start(t: Cleanup, target: number): Promise<Relay> {
    const relay = new Relay(target);
    relay.#server.listen(0, '127.0.0.1');
    await once(relay.#server, 'listening');
    t.after(() => relay.close());
    return relay;
  }

  get port(): number {
    return (this.#server.address() as net.AddressInfo).port;
  }

  /** As a network that takes everything and carries nothing: nobody is told. */
  cut(): void {
    this.#cut = true;
  }

  /** As a network that breaks every connection, whoever listens behind it: both sides find out at once. */
  breakOff(): void {
    this.#breaks = true;
    this.#breakAll();
  }

  /** Nobody listens any more, as behind it. */
  close(): void {
    this.#server.close();
    this.#breakAll();
  }

  /** Connections of before are broken, as both sides find out. */
  mend(): void {
    this.#cut = false;
    this.#breaks = false;
    this.#breakAll();
  }

  #breakAll(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  #connected(socket: net.Socket): void {
    if (this.#breaks) {
      socket.destroy();
      return;
    }
    this.#keep(socket);
    if (this.#cut) return;
    const far = this.#keep(net.connect(this.#target, '127.0.0.1'));
    this.#carry(socket, far, () => {
      this.lastSentMs = performance.now();
    });
    this.#carry(far, socket, () => undefined);
  }

  #keep(socket: net.Socket): net.Socket {
    this.#sockets.add(socket);
    socket.setNoDelay(true);
    socket.on('error', () => undefined);
    socket.once('close', () => this.#sockets.delete(socket));
    return socket;
  }

  #carry(from: net.Socket, to: net.Socket, passed: () => void): void {
    let before: Promise<void> = Promise.resolve();
    from.on('data', (bytes: Buffer) => {
      const dueMs = performance.now() + this.delayMs;
      before = before.then(async () => {
        const waitMs = dueMs - performance.now();
        if (waitMs > 0) await sleep(waitMs);
        if (this.#cut || to.destroyed) return;
        passed();
        to.write(bytes);
      });
    });
    from.once('close', () => {
      if (!this.#cut) void before.then(() => to.destroy());
    });
  }
}
