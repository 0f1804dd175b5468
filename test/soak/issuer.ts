import { parentPort, Worker } from 'node:worker_threads';
import { type Certificate, type CertificateOptions, makeCertificate } from '../support/certificates.js';

/** Makes certificates in a thread of its own: a key takes long, and whoever waits for an answer meanwhile would call it late. */
export class Issuer {
  readonly #worker = new Worker(new URL(import.meta.url));
  readonly #waiting: { resolve: (made: Certificate) => void; reject: (error: Error) => void }[] = [];

  constructor() {
    this.#worker.unref();
    this.#worker.on('message', (made: Certificate) => this.#waiting.shift()?.resolve(made));
    this.#worker.on('error', (error) => {
      for (const { reject } of this.#waiting.splice(0)) reject(error);
    });
  }

  /** They are made one after the other. */
  make(options: CertificateOptions): Promise<Certificate> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ resolve, reject });
      this.#worker.postMessage(options);
    });
  }

  async stop(): Promise<void> {
    await this.#worker.terminate();
  }
}

parentPort?.on('message', (options: CertificateOptions) => parentPort?.postMessage(makeCertificate(options)));
