import { Duplex } from 'node:stream';
import type { MessagePort } from 'node:worker_threads';

type PortMessage = { readonly data: Uint8Array } | { readonly taken: true } | { readonly end: true };

/**
 * A byte stream over a message port, for plugins in a worker thread. A port has no back-pressure of its own, so each
 * chunk is acknowledged when the reader has taken it, and the writer sends one chunk at a time.
 *
 * States: open, and with a chunk on its way (until the other side has taken it) or not, and with one of the other side's taken and
 * not acknowledged (until it is read) or not; destroyed, by either side, for good.
 */
export class PortStream extends Duplex {
  readonly #port: MessagePort;
  #written: ((error?: Error | null) => void) | undefined;
  #owed = false;

  constructor(port: MessagePort) {
    super({ allowHalfOpen: false });
    this.#port = port;
    port.on('message', (message: PortMessage) => this.#receive(message));
    port.on('close', () => this.destroy());
  }

  #receive(message: PortMessage): void {
    if ('taken' in message) {
      const done = this.#written;
      this.#written = undefined;
      done?.();
    } else if ('end' in message) {
      this.push(null);
    } else {
      const chunk = Buffer.from(message.data.buffer, message.data.byteOffset, message.data.byteLength);
      if (this.push(chunk)) this.#port.postMessage({ taken: true });
      else this.#owed = true;
    }
  }

  override _read(): void {
    if (!this.#owed) return;
    this.#owed = false;
    this.#port.postMessage({ taken: true });
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: (error?: Error | null) => void): void {
    this.#written = callback;
    this.#port.postMessage({ data: Uint8Array.prototype.slice.call(chunk) });
  }

  override _writev(chunks: readonly { chunk: Buffer }[], callback: (error?: Error | null) => void): void {
    this._write(Buffer.concat(chunks.map((entry) => entry.chunk)), 'utf8', callback);
  }

  override _final(callback: (error?: Error | null) => void): void {
    this.#port.postMessage({ end: true });
    callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.#port.close();
    callback(error);
  }
}
