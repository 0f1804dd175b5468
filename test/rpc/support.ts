import http2 from 'node:http2';
import type { TestContext } from 'node:test';
import { type ClientOptions as ChannelOptions, Client, credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { createClient, type Client as NativeClient } from '../../src/client/index.js';
import { rpcLimits } from '../../src/daemon/options.js';
import type { Idl } from '../../src/idl/idl.js';
import { loadPluginHost } from '../../src/idl/load.js';
import { decodeRpcStatus, type RpcStatus } from '../../src/idl/rpc-status.js';
import type { HealthSource } from '../../src/rpc/health.js';
import { createNativeService, NATIVE_BOUNDS, type NativeServiceOptions } from '../../src/rpc/native/service.js';
import { createRpcServer, type RpcServer, type RpcServerOptions } from '../../src/rpc/server.js';
import { DEFAULT_FIELD_LIMITS, DEFAULTS } from '../support/defaults.js';
import { FakeTasks } from './fake-tasks.js';

export const idl: Idl = loadPluginHost();
export const SERVICE = '/pluginhost.v1.PluginHost';

/** A template as its bytes. */
export function template(parts: Record<string, unknown> = {}): Buffer {
  return idl.codec('flyteidl.core.TaskTemplate').encode({ type: 'demo', taskTypeVersion: 1, ...parts });
}

export function createRequest(parts: Record<string, unknown> = {}): Buffer {
  return idl
    .codec('pluginhost.v1.CreateRequest')
    .encode({ task: { generatedName: 'attempt-1', template: template(), ...parts } });
}

export class FakeHealth implements HealthSource {
  isReady = true;
  entries: { id: string; serving: boolean }[] = [{ id: 'demo', serving: true }];
  #listeners = new Set<() => void>();

  ready(): boolean {
    return this.isReady;
  }
  plugins() {
    return this.entries;
  }
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }
  changed(): void {
    for (const listener of this.#listeners) listener();
  }
}

export interface Fixture {
  readonly server: RpcServer;
  readonly tasks: FakeTasks;
  readonly health: FakeHealth;
  readonly faults: unknown[];
  /** What the gRPC library said by itself. */
  readonly said: string[];
  readonly address: string;
  readonly port: number;
  /** A typed client, closed with the test. */
  client(): NativeClient;
  /** Calls a method with these very bytes. */
  call(method: string, request: Buffer, options?: { deadlineMs?: number; channel?: ChannelOptions }): Promise<Reply>;
  raw(options?: ChannelOptions): Client;
}

export interface Reply {
  readonly error: ServiceError | undefined;
  readonly details: RpcStatus | undefined;
  readonly bytes: Buffer;
}

const pass = (bytes: Buffer): Buffer => bytes;

export function rawCall(client: Client, path: string, request: Buffer, deadlineMs = 20_000): Promise<Reply> {
  return new Promise((resolve) => {
    const deadline = deadlineMs === Number.POSITIVE_INFINITY ? {} : { deadline: Date.now() + deadlineMs };
    client.makeUnaryRequest(path, pass, pass, request, new Metadata(), deadline, (error, answer) => {
      const [bin] = error?.metadata.get('grpc-status-details-bin') ?? [];
      const details = Buffer.isBuffer(bin) ? decodeRpcStatus(bin) : undefined;
      resolve({ error: error ?? undefined, details, bytes: answer ?? Buffer.alloc(0) });
    });
  });
}

/** One call over plain HTTP/2, of a native method or a whole path, whose connection a test can break or leave unread. */
export function http2Call(
  t: TestContext,
  port: number,
  method: string,
  request: Buffer,
  settings: http2.Settings = {},
  headers: http2.OutgoingHttpHeaders = {},
): { session: http2.ClientHttp2Session; stream: http2.ClientHttp2Stream } {
  const session = http2.connect(`http://127.0.0.1:${port}`, { settings });
  session.on('error', () => {});
  t.after(() => session.destroy());
  const stream = session.request({
    ':method': 'POST',
    ':path': method.startsWith('/') ? method : `${SERVICE}/${method}`,
    'content-type': 'application/grpc',
    te: 'trailers',
    ...headers,
  });
  stream.on('error', () => {});
  const head = Buffer.alloc(5);
  head.writeUInt32BE(request.length, 1);
  stream.end(Buffer.concat([head, request]));
  return { session, stream };
}

/** A server with a fake below, on a free port; everything ends with the test. */
export async function startServer(
  t: TestContext,
  options: Partial<RpcServerOptions> = {},
  native: Partial<NativeServiceOptions> = {},
): Promise<Fixture> {
  const tasks = new FakeTasks();
  const health = new FakeHealth();
  const faults: unknown[] = [];
  const said: string[] = [];
  const server = createRpcServer({
    host: '127.0.0.1',
    port: 0,
    services: [createNativeService({ tasks, idl, limits: DEFAULT_FIELD_LIMITS, ...NATIVE_BOUNDS, ...native })],
    ...rpcLimits(DEFAULTS),
    health,
    reflection: false,
    log: { fault: (event) => faults.push(event), library: (message) => void said.push(message) },
    ...options,
  });
  const { port } = await server.listen();
  const address = `127.0.0.1:${port}`;
  const closers: (() => void)[] = [];
  t.after(async () => {
    for (const close of closers) close();
    await server.forceStop();
  });
  const raw = (channel: ChannelOptions = {}) => {
    const client = new Client(address, credentials.createInsecure(), {
      'grpc.max_send_message_length': -1,
      'grpc.use_local_subchannel_pool': 1,
      ...channel,
    });
    closers.push(() => client.close());
    return client;
  };
  let shared: Client | undefined;
  return {
    server,
    tasks,
    health,
    faults,
    said,
    address,
    port,
    raw,
    client() {
      const client = createClient({ address, idl, channelOptions: { 'grpc.use_local_subchannel_pool': 1 } });
      closers.push(() => client.close());
      return client;
    },
    call(method, request, { deadlineMs, channel } = {}) {
      if (channel === undefined) shared ??= raw();
      const client = channel === undefined ? shared! : raw(channel);
      return rawCall(client, `${SERVICE}/${method}`, request, deadlineMs);
    },
  };
}
