import { HostError } from '../errors/index.js';
import type { DataCallOptions, DataReadOptions, DataStore } from '../plugin-api/data.js';

/** A data store in memory, for any URI. Errors are those of the real one; its objects can be looked at and set. */
export class MemoryStore implements DataStore {
  readonly objects = new Map<string, Uint8Array>();

  async exists(uri: string, options?: DataCallOptions): Promise<boolean> {
    options?.signal?.throwIfAborted();
    return this.objects.has(uri);
  }

  async get(uri: string, options?: DataReadOptions): Promise<Uint8Array> {
    options?.signal?.throwIfAborted();
    const data = this.objects.get(uri);
    if (data === undefined) throw new HostError('DATA_NOT_FOUND', `${uri}: there is no such object.`);
    if (options?.maxBytes !== undefined && data.length > options.maxBytes) {
      throw new HostError('DATA_TOO_LARGE', `${uri}: ${data.length} bytes, ${options.maxBytes} are accepted.`);
    }
    return Uint8Array.from(data);
  }

  async *stream(uri: string, options?: DataReadOptions): AsyncGenerator<Uint8Array> {
    yield await this.get(uri, options);
  }

  async put(uri: string, data: Uint8Array, options?: DataCallOptions): Promise<void> {
    options?.signal?.throwIfAborted();
    this.objects.set(uri, Uint8Array.from(data));
  }

  async list(folder: string, options?: DataCallOptions): Promise<string[]> {
    options?.signal?.throwIfAborted();
    const prefix = folder.endsWith('/') ? folder : `${folder}/`;
    return [...this.objects.keys()].filter((uri) => uri.startsWith(prefix)).sort();
  }

  async delete(uri: string, options?: DataCallOptions): Promise<void> {
    options?.signal?.throwIfAborted();
    this.objects.delete(uri);
  }
}
