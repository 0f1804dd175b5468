import type { TestContext } from 'node:test';
import { type Client, Metadata, type ServiceError, type status } from '@grpc/grpc-js';
import { HostError } from '../../../src/errors/index.js';
import type { Idl } from '../../../src/idl/idl.js';
import { loadFlyteidl2, loadPluginHost } from '../../../src/idl/load.js';
import { looksLikeHandle } from '../../../src/model/handle.js';
import type { PluginReport } from '../../../src/model/plugin-report.js';
import type { TaskRecord } from '../../../src/model/task-record.js';
import type { LogLine, MetricSeries } from '../../../src/plugin-api/plugin.js';
import { createFlyteServices } from '../../../src/rpc/flyte/services.js';
import type { RpcServer, RpcServerOptions } from '../../../src/rpc/server.js';
import type { CallScope, HandleHints, LogsRequest, MetricsRequest } from '../../../src/tasks/types.js';
import { DEFAULT_FIELD_LIMITS } from '../../support/defaults.js';
import { FakeTasks } from '../fake-tasks.js';
import { type Reply, rawCall, startServer } from '../support.js';

/** Both protocols by what their messages and services are called. */
export interface Protocol {
  readonly version: 1 | 2;
  readonly idl: Idl;
  readonly messages: string;
  readonly core: string;
  readonly asyncService: string;
  readonly metadataService: string;
}

export const FLYTE1: Protocol = {
  version: 1,
  idl: loadPluginHost(),
  messages: 'flyteidl.admin',
  core: 'flyteidl.core',
  asyncService: 'flyteidl.service.AsyncAgentService',
  metadataService: 'flyteidl.service.AgentMetadataService',
};

export const FLYTE2: Protocol = {
  version: 2,
  idl: loadFlyteidl2(),
  messages: 'flyteidl2.connector',
  core: 'flyteidl2.core',
  asyncService: 'flyteidl2.connector.AsyncConnectorService',
  metadataService: 'flyteidl2.connector.ConnectorMetadataService',
};

export const PROTOCOLS = [FLYTE1, FLYTE2] as const;

export function encode(protocol: Protocol, name: string, message: Record<string, unknown>): Buffer {
  return protocol.idl.codec(`${protocol.messages}.${name}`).encode(message);
}

// biome-ignore lint/suspicious/noExplicitAny: the shape is known to the .proto file only
export function decode(protocol: Protocol, name: string, bytes: Buffer): any {
  return protocol.idl.codec(`${protocol.messages}.${name}`).decode(bytes);
}

export function template(protocol: Protocol, parts: Record<string, unknown> = {}): Buffer {
  return protocol.idl.codec(`${protocol.core}.TaskTemplate`).encode({ type: 'demo', taskTypeVersion: 1, ...parts });
}

/** A map as the descriptors of the protocol take it. */
export function mapField(protocol: Protocol, map: Record<string, string>): unknown {
  return protocol.version === 1 ? map : Object.entries(map).map(([key, value]) => ({ key, value }));
}

export function executionMetadata(protocol: Protocol, retryAttempt = 0): Record<string, unknown> {
  return {
    namespace: 'ns',
    k8sServiceAccount: 'robot',
    labels: mapField(protocol, { team: 'ml' }),
    environmentVariables: mapField(protocol, { A: 'b' }),
    taskExecutionId: {
      taskId: { project: 'p', domain: 'd', name: 't', version: 'v' },
      nodeExecutionId: { nodeId: 'n0', executionId: { project: 'p', domain: 'd', name: 'e1' } },
      retryAttempt,
    },
  };
}

export function createRequest(protocol: Protocol, parts: Record<string, unknown> = {}): Buffer {
  return encode(protocol, 'CreateTaskRequest', {
    template: template(protocol),
    outputPrefix: 's3://b/e1/n0/data/0',
    taskExecutionMetadata: executionMetadata(protocol),
    ...parts,
  });
}

/** The fake use cases, with what Flyte's services ask for besides. */
export class FlyteTasks extends FakeTasks {
  /** Foreign metas that a plugin takes over, as text. */
  readonly foreign = new Map<string, TaskRecord>();
  readonly adoptions: { taskType: string; version: number; hints: HandleHints }[] = [];
  readonly logRequests: LogsRequest[] = [];
  readonly metricRequests: MetricsRequest[] = [];
  logPage: { lines: readonly LogLine[]; token: string } = { lines: [], token: '' };
  series: readonly MetricSeries[] = [];
  /** Records that memory holds only after `status` adopted them. */
  readonly adoptable = new Map<string, TaskRecord>();

  override async adoptForeign(
    handle?: Buffer,
    taskType = '',
    version = 0,
    hints: HandleHints = { outputPrefix: '', connection: undefined },
  ): Promise<never> {
    if (looksLikeHandle(handle!)) return undefined as never;
    this.adoptions.push({ taskType, version, hints });
    const known = this.foreign.get(handle!.toString('latin1'));
    if (known === undefined) throw new HostError('HANDLE_MALFORMED', 'no plugin takes over this resource meta');
    this.records.set(handle!.toString('latin1'), known as never);
    return known.id as never;
  }

  override async status(handle: Buffer, hints: HandleHints, scope: CallScope, bears = 0): Promise<TaskRecord> {
    if (bears > 0) this.bears.push(['status', bears]);
    const key = handle.toString('latin1');
    const task = this.peek(handle) ?? this.adoptable.get(key);
    if (task === undefined) return super.status(handle, hints, scope);
    this.hints.push(hints);
    return task;
  }

  override async getLogs(
    _handle?: Buffer,
    request?: LogsRequest,
    _hints?: HandleHints,
    scope?: CallScope,
  ): Promise<never> {
    this.logRequests.push(request!);
    if (scope !== undefined) await this.before('getLogs', scope);
    return this.logPage as never;
  }

  override async getMetrics(_handle?: Buffer, request?: MetricsRequest): Promise<never> {
    this.metricRequests.push(request!);
    return this.series as never;
  }
}

export interface FlyteFixture {
  readonly tasks: FlyteTasks;
  readonly faults: unknown[];
  call(path: string, request: Buffer, deadlineMs?: number): Promise<Reply>;
  /** Calls a method of the async service. */
  async(protocol: Protocol, method: string, request: Buffer, deadlineMs?: number): Promise<Reply>;
  /** Creates a task and answers its resource meta. */
  created(protocol: Protocol, parts?: Record<string, unknown>): Promise<Buffer>;
  raw(): Client;
  readonly server: RpcServer;
  readonly port: number;
}

export async function startFlyte(
  t: TestContext,
  maxStalenessMs = 0,
  options: Partial<RpcServerOptions> = {},
): Promise<FlyteFixture> {
  const tasks = new FlyteTasks();
  const faults: unknown[] = [];
  const { raw, server, port } = await startServer(t, {
    ...options,
    services: createFlyteServices({
      tasks,
      limits: DEFAULT_FIELD_LIMITS,
      flyteidl: FLYTE1.idl,
      flyteidl2: FLYTE2.idl,
      maxStalenessMs,
    }),
    log: { fault: (event) => faults.push(event), library: () => {} },
  });
  const client = raw();
  const call = (path: string, request: Buffer, deadlineMs?: number) => rawCall(client, path, request, deadlineMs);
  const inService = (protocol: Protocol, method: string, request: Buffer, deadlineMs?: number) =>
    call(`/${protocol.asyncService}/${method}`, request, deadlineMs);
  return {
    tasks,
    faults,
    call,
    raw,
    server,
    port,
    async: inService,
    async created(protocol, parts) {
      const { error, bytes } = await inService(protocol, 'CreateTask', createRequest(protocol, parts));
      if (error !== undefined) throw error;
      return decode(protocol, 'CreateTaskResponse', bytes).resourceMeta as Buffer;
    },
  };
}

const pass = (bytes: Buffer): Buffer => bytes;

export interface StreamReply {
  readonly messages: Buffer[];
  readonly code: status | undefined;
  readonly details: string;
}

/** A call with a stream of answers. */
export function serverStream(client: Client, path: string, request: Buffer, deadlineMs = 20_000): Promise<StreamReply> {
  const deadline = { deadline: Date.now() + deadlineMs };
  return collect(client.makeServerStreamRequest(path, pass, pass, request, new Metadata(), deadline));
}

/** A call with streams both ways; `end` false leaves the sending side open. */
export function duplex(client: Client, path: string, requests: readonly Buffer[], end = true): Promise<StreamReply> {
  const stream = client.makeBidiStreamRequest(path, pass, pass, new Metadata(), { deadline: Date.now() + 20_000 });
  for (const request of requests) stream.write(request);
  if (end) stream.end();
  return collect(stream);
}

function collect(stream: NodeJS.ReadableStream): Promise<StreamReply> {
  const messages: Buffer[] = [];
  return new Promise((resolve) => {
    stream.on('data', (message: Buffer) => messages.push(message));
    stream.on('end', () => resolve({ messages, code: undefined, details: '' }));
    stream.on('error', (error: ServiceError) => resolve({ messages, code: error.code, details: error.details }));
  });
}

export function report(parts: Partial<PluginReport> & { id: string }): PluginReport {
  return {
    version: '1',
    kind: 'async',
    taskTypes: [],
    isDefault: false,
    state: 'SERVING',
    stateReason: '',
    stateCode: '',
    source: '',
    config: undefined,
    quotas: [],
    liveTasks: 0,
    waitingTasks: 0,
    pid: 1,
    restarts: 0,
    rssBytes: 0,
    environment: [],
    ...parts,
  };
}
