import type * as S3 from '@aws-sdk/client-s3';
import { HostError } from '../../errors/index.js';
import type { DataCallOptions, DataReadOptions, DataStore } from '../../plugin-api/data.js';
import { throwIfAborted } from './abort.js';
import { assertListable, bounded, boundOf, collect, tooLarge } from './limits.js';
import { parseLocation, shown, unsupported } from './location.js';
import { s3ErrorOf } from './s3-errors.js';

export interface S3Options {
  /** URL of a store other than AWS. */
  readonly endpoint?: string | undefined;
  readonly region: string;
  /** Bucket in the path instead of the host name, as most stores other than AWS want it. */
  readonly forcePathStyle?: boolean | undefined;
  /** Without keys the SDK's default chain is asked: environment, profile, container or instance role. */
  readonly accessKeyId?: string | undefined;
  readonly secretAccessKey?: string | undefined;
  readonly sessionToken?: string | undefined;
  /** Attempts per call, the first one included; the SDK backs off between them. */
  readonly maxAttempts: number;
}

/** What nobody sets. */
export const S3_BOUNDS = { maxAttempts: 3 };

export interface S3StoreOptions extends S3Options {
  readonly maxObjectBytes: number;
}

const CONNECT_MS = 5_000;
/** Longest silence of the server, before its answer and between pieces of it. */
const SILENCE_MS = 30_000;

type Sdk = typeof S3;
interface Loaded {
  readonly sdk: Sdk;
  readonly client: S3.S3Client;
}

function credentialsOf(options: S3Options): S3.S3ClientConfig {
  const { accessKeyId, secretAccessKey, sessionToken } = options;
  if (accessKeyId === undefined || secretAccessKey === undefined) return {};
  return {
    credentials: { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) },
  };
}

async function load(options: S3Options): Promise<Loaded> {
  // The SDK takes long to load; most daemons never need it.
  const sdk = await import('@aws-sdk/client-s3');
  const client = new sdk.S3Client({
    region: options.region,
    ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
    forcePathStyle: options.forcePathStyle ?? false,
    maxAttempts: options.maxAttempts,
    ...credentialsOf(options),
    // Checksums beyond what the protocol demands are refused by many stores other than AWS.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    requestHandler: {
      connectionTimeout: CONNECT_MS,
      requestTimeout: SILENCE_MS,
      socketTimeout: SILENCE_MS,
      throwOnRequestTimeout: true,
    },
  });
  return { sdk, client };
}

interface Target {
  readonly Bucket: string;
  readonly Key: string;
}

function targetOf(uri: string): Target {
  const location = parseLocation(uri);
  if (location.scheme !== 's3') throw unsupported(uri, 'not an S3 URI');
  return { Bucket: location.bucket, Key: location.key };
}

function objectOf(uri: string): Target {
  const target = targetOf(uri);
  if (target.Key === '' || target.Key.endsWith('/')) throw unsupported(uri, 'it names a folder, not an object');
  return target;
}

/**
 * Objects in S3 or a store that speaks its protocol. The SDK is loaded, and the client made, at the first call.
 *
 * States: not loaded → loaded, by a call, unless that fails → `close` → not loaded.
 */
export class S3Store implements DataStore {
  private loaded: Promise<Loaded> | undefined;

  constructor(private readonly options: S3StoreOptions) {}

  async exists(uri: string, options: DataCallOptions = {}): Promise<boolean> {
    const target = objectOf(uri);
    try {
      await this.call(uri, options.signal, ({ sdk, client }, abort) =>
        client.send(new sdk.HeadObjectCommand(target), abort),
      );
      return true;
    } catch (thrown) {
      if (HostError.is(thrown) && thrown.code === 'DATA_NOT_FOUND') return false;
      throw thrown;
    }
  }

  async get(uri: string, options: DataReadOptions = {}): Promise<Uint8Array> {
    return collect(uri, this.stream(uri, options), boundOf(this.options.maxObjectBytes, options.maxBytes));
  }

  async *stream(uri: string, options: DataReadOptions = {}): AsyncGenerator<Uint8Array> {
    const target = objectOf(uri);
    const limit = boundOf(this.options.maxObjectBytes, options.maxBytes);
    const answer = await this.call(uri, options.signal, ({ sdk, client }, abort) =>
      client.send(new sdk.GetObjectCommand(target), abort),
    );
    // In Node the body is a Readable, which the iteration also closes when it is left early.
    const body = answer.Body as (AsyncIterable<Uint8Array> & { destroy(): void }) | undefined;
    if (body === undefined) return;
    if ((answer.ContentLength ?? 0) > limit) {
      body.destroy();
      throw tooLarge(uri, `the object has ${answer.ContentLength} bytes`, limit);
    }
    try {
      yield* bounded(uri, body, limit);
    } catch (thrown) {
      throw s3ErrorOf(thrown, uri, options.signal);
    }
  }

  async put(uri: string, data: Uint8Array, options: DataCallOptions = {}): Promise<void> {
    const target = objectOf(uri);
    const limit = this.options.maxObjectBytes;
    if (data.length > limit) throw tooLarge(uri, `there are ${data.length} bytes to write`, limit);
    await this.call(uri, options.signal, ({ sdk, client }, abort) =>
      client.send(new sdk.PutObjectCommand({ ...target, Body: data, ContentLength: data.length }), abort),
    );
  }

  async list(folder: string, options: DataCallOptions = {}): Promise<string[]> {
    const { Bucket, Key } = targetOf(folder);
    const Prefix = Key === '' || Key.endsWith('/') ? Key : `${Key}/`;
    const uris: string[] = [];
    let ContinuationToken: string | undefined;
    do {
      const request = { Bucket, Prefix, ...(ContinuationToken === undefined ? {} : { ContinuationToken }) };
      const page = await this.call(folder, options.signal, ({ sdk, client }, abort) =>
        client.send(new sdk.ListObjectsV2Command(request), abort),
      );
      for (const { Key: key } of page.Contents ?? []) {
        // Consoles make empty objects that stand for folders.
        if (key !== undefined && !key.endsWith('/')) uris.push(`s3://${Bucket}/${key}`);
      }
      assertListable(folder, uris.length);
      ContinuationToken = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (ContinuationToken !== undefined);
    return uris.sort();
  }

  async delete(uri: string, options: DataCallOptions = {}): Promise<void> {
    const target = objectOf(uri);
    await this.call(uri, options.signal, ({ sdk, client }, abort) =>
      client.send(new sdk.DeleteObjectCommand(target), abort),
    );
  }

  /** Closes idle connections. A later call connects anew. */
  async close(): Promise<void> {
    const loaded = this.loaded;
    this.loaded = undefined;
    (await loaded?.catch(() => undefined))?.client.destroy();
  }

  private async call<T>(
    uri: string,
    signal: AbortSignal | undefined,
    send: (loaded: Loaded, abort: { abortSignal?: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    throwIfAborted(signal, shown(uri));
    this.loaded ??= load(this.options).catch((thrown: unknown) => {
      // Asked again at the next call rather than failing for ever.
      this.loaded = undefined;
      throw thrown;
    });
    try {
      return await send(await this.loaded, signal === undefined ? {} : { abortSignal: signal });
    } catch (thrown) {
      throw s3ErrorOf(thrown, uri, signal);
    }
  }
}
