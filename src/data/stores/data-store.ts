import type { DataCallOptions, DataReadOptions, DataStore } from '../../plugin-api/data.js';
import { joinSignals } from './abort.js';
import { FileStore } from './file-store.js';
import { parseLocation, unsupported } from './location.js';
import { type S3Options, S3Store } from './s3-store.js';

export interface DataStoreOptions {
  /** Absolute folders that file:// and plain paths may reach; empty turns local files off. */
  readonly localRoots: readonly string[];
  /** Largest object read or written. */
  readonly maxObjectBytes: number;
  readonly s3?: (S3Options & { readonly enabled: boolean }) | undefined;
}

/** A data store with connections that are closed at the end. */
export interface OwnedDataStore extends DataStore {
  close(): Promise<void>;
}

class RoutedStore implements OwnedDataStore {
  private readonly files: FileStore;
  private readonly s3: S3Store | undefined;

  constructor(options: DataStoreOptions) {
    const { localRoots, maxObjectBytes, s3 } = options;
    this.files = new FileStore({ roots: localRoots, maxObjectBytes });
    this.s3 = s3?.enabled ? new S3Store({ ...s3, maxObjectBytes }) : undefined;
  }

  async exists(uri: string, options?: DataCallOptions): Promise<boolean> {
    return this.storeOf(uri).exists(uri, options);
  }

  async get(uri: string, options?: DataReadOptions): Promise<Uint8Array> {
    return this.storeOf(uri).get(uri, options);
  }

  async *stream(uri: string, options?: DataReadOptions): AsyncGenerator<Uint8Array> {
    yield* this.storeOf(uri).stream(uri, options);
  }

  async put(uri: string, data: Uint8Array, options?: DataCallOptions): Promise<void> {
    return this.storeOf(uri).put(uri, data, options);
  }

  async list(folder: string, options?: DataCallOptions): Promise<string[]> {
    return this.storeOf(folder).list(folder, options);
  }

  async delete(uri: string, options?: DataCallOptions): Promise<void> {
    return this.storeOf(uri).delete(uri, options);
  }

  async close(): Promise<void> {
    await this.s3?.close();
  }

  private storeOf(uri: string): DataStore {
    const { scheme } = parseLocation(uri);
    if (scheme === 'file') return this.files;
    if (this.s3 === undefined) throw unsupported(uri, 'S3 is off; dataStore.s3.enabled turns it on');
    return this.s3;
  }
}

/** One store for all URIs that the options allow. Opens nothing before the first call. */
export function makeDataStore(options: DataStoreOptions): OwnedDataStore {
  return new RoutedStore(options);
}

/** The store with every call also ended by `signal`, for the context of one plugin call. */
export function bindDataStore(store: DataStore, signal: AbortSignal): DataStore {
  const bound = <Options extends DataCallOptions>(options: Options | undefined): Options =>
    ({ ...options, signal: joinSignals(options?.signal, signal) }) as Options;
  return {
    exists: (uri, options) => store.exists(uri, bound(options)),
    get: (uri, options) => store.get(uri, bound(options)),
    stream: (uri, options) => store.stream(uri, bound(options)),
    put: (uri, data, options) => store.put(uri, data, bound(options)),
    list: (folder, options) => store.list(folder, bound(options)),
    delete: (uri, options) => store.delete(uri, bound(options)),
  };
}
