import { type ChannelOptions, type ClientReadableStream, Client as GrpcClient } from '@grpc/grpc-js';
import { makeLiteralCodec } from '../data/literal-codec.js';
import type { Codec, Message } from '../idl/codec.js';
import type { Idl, RpcMethod } from '../idl/idl.js';
import { loadPluginHost, PLUGIN_HOST_SERVICE } from '../idl/load.js';
import type { LiteralValue } from '../plugin-api/literals.js';
import { type ClosableCredentials, closeSoon } from './close.js';
import { AnswerReader, connectionMessage, reportOf, taskMessage } from './convert.js';
import { type ChangingTls, type ClientTls, callMetadata, channelCredentials, channelName } from './credentials.js';
import { clientError, PluginHostError } from './error.js';
import type {
  CallOptions,
  Client,
  CreateResult,
  HandleOptions,
  PhaseInfo,
  PluginReport,
  TaskInput,
  TaskStatus,
  WaitOptions,
  WatchFilter,
  WatchOptions,
  WatchUpdate,
} from './types.js';
import { waitForEnd } from './wait.js';
import { watchUpdates } from './watch.js';

export interface ClientOptions {
  /** `host:port`, or any target of grpc-js, such as `dns:///plugin-host:8000`. */
  readonly address: string;
  /** Where the daemon speaks TLS; plain text unless given. */
  readonly tls?: ClientTls | ChangingTls | undefined;
  /**
   * Sent with every call, as a daemon with tokens asks for; a function is asked at each call. Visible ASCII characters: a call throws
   * TypeError for any other, such as the line break at the end of a file.
   */
  readonly token?: string | (() => string) | undefined;
  /** Deadline of calls that set none, in milliseconds; 10,000 unless given. */
  readonly deadlineMs?: number;
  /** Largest answer taken, in bytes; 64 MiB unless given. */
  readonly maxReceiveBytes?: number;
  /** Further options of the grpc-js channel. */
  readonly channelOptions?: ChannelOptions;
  /** Descriptors of pluginhost.v1, to share them between clients; loaded anew unless given, which takes some 60 ms. */
  readonly idl?: Idl;
}

const MiB = 1024 * 1024;
const STATUS_FIELD = 1;
const PHASE_INFO_FIELD = 1;

class NativeClient implements Client {
  readonly #grpc: GrpcClient;
  readonly #credentials: ClosableCredentials;
  readonly #idl: Idl;
  readonly #methods: Readonly<Record<string, RpcMethod>>;
  readonly #reader: AnswerReader;
  readonly #deadlineMs: number;
  readonly #token: ClientOptions['token'];

  constructor(options: ClientOptions) {
    this.#idl = options.idl ?? loadPluginHost();
    this.#methods = this.#idl.rawService(PLUGIN_HOST_SERVICE);
    this.#reader = new AnswerReader(this.#idl);
    this.#deadlineMs = options.deadlineMs ?? 10_000;
    this.#token = options.token;
    const { tls } = options;
    this.#credentials = channelCredentials(tls, options.address);
    this.#grpc = new GrpcClient(options.address, this.#credentials, {
      ...(tls === undefined ? {} : channelName(tls, options.address)),
      'grpc.max_receive_message_length': options.maxReceiveBytes ?? 64 * MiB,
      'grpc.max_send_message_length': -1,
      ...options.channelOptions,
    });
  }

  async create(task: TaskInput, options: CallOptions = {}): Promise<CreateResult> {
    const bytes = await this.#call('Create', { task: taskMessage(this.#idl, task) }, options);
    const { handle, status } = this.#codec('CreateResponse').decode(bytes, { raw: ['status'] });
    return { handle, status: this.#reader.taskStatus(status ?? Buffer.alloc(0)) };
  }

  async status(handle: Uint8Array, options: HandleOptions = {}): Promise<TaskStatus> {
    const bytes = await this.#call('Status', handleMessage(handle, options), options);
    return this.#reader.taskStatus(this.#reader.part(bytes, STATUS_FIELD));
  }

  async get(handle: Uint8Array, options: HandleOptions = {}): Promise<TaskStatus> {
    const bytes = await this.#call('Get', handleMessage(handle, options), options);
    return this.#reader.taskStatus(this.#reader.part(bytes, STATUS_FIELD));
  }

  async delete(handle: Uint8Array, options: HandleOptions & { readonly reason?: string } = {}): Promise<void> {
    const { reason = '', connection } = options;
    await this.#call('Delete', { handle, reason, connection: connectionMessage(connection) }, options);
  }

  async do(task: TaskInput, options: CallOptions = {}): Promise<PhaseInfo> {
    const bytes = await this.#call('Do', { task: taskMessage(this.#idl, task) }, options);
    return this.#reader.phaseInfo(this.#reader.part(bytes, PHASE_INFO_FIELD));
  }

  watch(filter: WatchFilter = {}, options: WatchOptions = {}): AsyncIterable<WatchUpdate> {
    return watchUpdates({
      filter,
      signal: options.signal,
      onUnreachable: options.onUnreachable,
      open: (request) => this.#openWatch(request),
      decode: (bytes) => this.#codec('WatchResponse').decode(bytes, { raw: ['change'] }),
      decodeChange: (bytes) => this.#codec('TaskChange').decode(bytes, { raw: ['status'] }),
      taskStatus: (bytes) => this.#reader.taskStatus(bytes),
      random: Math.random,
    });
  }

  async listPlugins(options: CallOptions = {}): Promise<PluginReport[]> {
    const bytes = await this.#call('ListPlugins', {}, options);
    return (this.#codec('ListPluginsResponse').decode(bytes).plugins as Message[]).map(reportOf);
  }

  waitForEnd(handle: Uint8Array, options: WaitOptions = {}): Promise<TaskStatus> {
    return waitForEnd(this, handle, options);
  }

  outputValues({ outputs }: PhaseInfo): Record<string, LiteralValue> | undefined {
    return outputs.kind === 'inline' ? makeLiteralCodec(this.#idl).readMap(outputs.literalMap) : undefined;
  }

  close(): void {
    closeSoon(this.#grpc, this.#credentials);
  }

  #codec(name: string): Codec {
    return this.#idl.codec(`pluginhost.v1.${name}`);
  }

  #method(name: string): RpcMethod {
    return this.#methods[name]!;
  }

  #openWatch(request: Message): ClientReadableStream<Buffer> {
    const { path, requestSerialize, responseDeserialize } = this.#method('Watch');
    const bytes = this.#codec('WatchRequest').encode(request);
    return this.#grpc.makeServerStreamRequest(
      path,
      requestSerialize,
      responseDeserialize,
      bytes,
      callMetadata(this.#token),
    );
  }

  #call(name: string, message: Message, options: CallOptions): Promise<Buffer> {
    const { path, requestType, requestSerialize, responseDeserialize } = this.#method(name);
    const request = this.#idl.codec(requestType).encode(message);
    const deadline = Date.now() + (options.deadlineMs ?? this.#deadlineMs);
    const { signal } = options;
    if (signal?.aborted) {
      return Promise.reject(new PluginHostError('the call was given up before it was sent', 'CANCELLED'));
    }
    return new Promise((resolve, reject) => {
      const cancel = () => call.cancel();
      const call = this.#grpc.makeUnaryRequest(
        path,
        requestSerialize,
        responseDeserialize,
        request,
        callMetadata(this.#token),
        { deadline },
        (error, answer?: Buffer) => {
          signal?.removeEventListener('abort', cancel);
          if (error) reject(clientError(error));
          else resolve(answer ?? Buffer.alloc(0));
        },
      );
      signal?.addEventListener('abort', cancel);
    });
  }
}

function handleMessage(handle: Uint8Array, options: HandleOptions): Message {
  const { outputPrefix = '', connection } = options;
  return { handle, outputPrefix, connection: connectionMessage(connection) };
}

/** Connects at the first call. Close it when done, else it keeps its process alive. */
export function createClient(options: ClientOptions): Client {
  return new NativeClient(options);
}
