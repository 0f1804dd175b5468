import type { Message } from '../../idl/codec.js';
import { lenField } from '../../idl/wire.js';
import type { CallScope, HandleHints, Tasks } from '../../tasks/types.js';
import type { RpcCall } from '../call.js';
import { deleted } from '../deleted.js';
import { assertHandle, assertText, type FieldLimits } from '../fields.js';
import type { PartitionOf, RpcServiceModule } from '../methods.js';
import { partitionByHandle } from '../partition-by-handle.js';
import { wiresOf } from '../peek-fields.js';
import type { RpcStream } from '../stream.js';
import type { Dialect } from './dialect.js';
import { encodeMetrics, LOG_LINES_MAX, logMessages, metricsRequest } from './logs-metrics.js';
import { ABOUT_TASK, peekResourceMeta, REQUEST_RESOURCE_META } from './request-fields.js';
import type { ResourceEncoder } from './resource.js';
import { type CreateFields, CreateReader, connectionOf, peekNaming, RAW_CREATE_FIELDS } from './task-spec.js';

export interface AsyncServiceOptions {
  readonly tasks: Tasks;
  readonly dialect: Dialect;
  readonly encoder: ResourceEncoder;
  readonly limits: FieldLimits;
  /** A live task not read for longer is read for the GetTask that asks for it, where the limit has room. 0 never. */
  readonly maxStalenessMs: number;
}

const RESOURCE_META = 1;
/** CreateTaskRequest. */
const TO_BEGIN = wiresOf('-LLLLL');
const NAMING = { outputPrefix: 3, metadata: 4 };
const EMPTY = Buffer.alloc(0);

interface CreateTaskFields extends CreateFields {
  readonly inputs: Buffer | null;
}

/** What an engine sends about an existing task. */
interface AboutTask {
  readonly handle: Buffer;
  readonly hints: HandleHints;
  readonly message: Message;
  /** Of a task that another service has begun. */
  readonly adopted: string | undefined;
}

/**
 * AsyncAgentService of Flyte 1 and AsyncConnectorService of Flyte 2: a translation to the use cases and back, with no
 * rule of its own. The resource meta that engines keep is our handle.
 */
class AsyncService {
  readonly #options: AsyncServiceOptions;
  readonly #tasks: Tasks;
  readonly #dialect: Dialect;
  readonly #specs: CreateReader;

  constructor(options: AsyncServiceOptions) {
    this.#options = options;
    this.#tasks = options.tasks;
    this.#dialect = options.dialect;
    this.#specs = new CreateReader(options.dialect, options.limits);
  }

  module(): RpcServiceModule {
    const { asyncService, idl } = this.#dialect;
    return {
      name: asyncService,
      definition: idl.rawService(asyncService),
      handlers: {
        CreateTask: {
          kind: 'unary',
          partition: (request) => this.#specs.partition(peekNaming(request, TO_BEGIN, NAMING) ?? this.#fields(request)),
          handle: (request, call) => this.#create(request, call),
        },
        GetTask: {
          kind: 'unary',
          partition: this.#partition('GetTaskRequest'),
          ready: (request) => this.#known(request),
          handle: (request, call) => this.#get(request, call),
        },
        DeleteTask: {
          kind: 'unary',
          partition: this.#partition('DeleteTaskRequest'),
          handle: (request, call) => this.#delete(request, call),
        },
        GetTaskMetrics: {
          kind: 'unary',
          partition: this.#partition('GetTaskMetricsRequest'),
          handle: (request, call) => this.#metrics(request, call),
        },
        GetTaskLogs: {
          kind: 'serverStream',
          bounded: false,
          partition: this.#partition('GetTaskLogsRequest'),
          handle: (request, stream) => this.#logs(request, stream),
        },
      },
    };
  }

  #partition(type: keyof typeof ABOUT_TASK): PartitionOf {
    return partitionByHandle(this.#dialect.codec(type), 'resourceMeta', REQUEST_RESOURCE_META, ABOUT_TASK[type]);
  }

  #fields(request: Buffer): CreateTaskFields {
    return this.#dialect.codec('CreateTaskRequest').decode(request, { raw: [...RAW_CREATE_FIELDS, 'inputs'] }) as never;
  }

  async #create(request: Buffer, call: RpcCall): Promise<Buffer> {
    const fields = this.#fields(request);
    const spec = this.#specs.read(fields, fields.inputs ?? undefined);
    const answer = await this.#tasks.create(spec, call);
    call.onUndelivered(() => answer.undelivered());
    return lenField(RESOURCE_META, answer.handle);
  }

  /** The hot path: a task in memory is answered from its encoded bytes, without decoding. */
  #known(request: Buffer): Buffer | undefined {
    const handle = peekResourceMeta(request);
    const task = handle && this.#tasks.peek(handle, this.#options.maxStalenessMs);
    return task && this.#options.encoder.getTask(task);
  }

  async #get(request: Buffer, call: RpcCall): Promise<Buffer> {
    const { handle, hints } = await this.#about('GetTaskRequest', request, call);
    return this.#options.encoder.getTask(await this.#tasks.status(handle, hints, call, this.#options.maxStalenessMs));
  }

  async #delete(request: Buffer, call: RpcCall): Promise<Buffer> {
    const { handle, hints, adopted } = await this.#about('DeleteTaskRequest', request, call);
    await this.#tasks.delete(handle, 'the engine deleted the task', hints, call);
    call.action = deleted(handle, adopted);
    return EMPTY;
  }

  async #metrics(request: Buffer, call: RpcCall): Promise<Buffer> {
    const { handle, hints, message } = await this.#about('GetTaskMetricsRequest', request, call);
    const series = await this.#tasks.getMetrics(handle, metricsRequest(message), hints, call);
    return encodeMetrics(this.#dialect, series);
  }

  async #logs(request: Buffer, stream: RpcStream): Promise<void> {
    const { handle, hints, message } = await this.#about('GetTaskLogsRequest', request, stream.call);
    const wanted = {
      lines: Math.min(Number(message.lines), LOG_LINES_MAX),
      token: assertText('token', message.token, this.#options.limits.nameBytes),
    };
    const page = await this.#tasks.getLogs(handle, wanted, hints, stream.call);
    for (const part of logMessages(this.#dialect, page)) if (!(await stream.write(part))) return;
  }

  /** Decodes a request about a task; a foreign resource meta is taken over where its plugin knows how. */
  async #about(name: string, request: Buffer, call: CallScope): Promise<AboutTask> {
    const { limits } = this.#options;
    const message = this.#dialect.codec(name).decode(request);
    const handle = assertHandle('resource_meta', message.resourceMeta, limits);
    const outputPrefix = assertText('output_prefix', message.outputPrefix ?? '', limits.uriBytes);
    const hints = { outputPrefix, connection: connectionOf(message.connection, limits) };
    const taskType = assertText(
      'task_category.name',
      message.taskCategory?.name || message.taskType || '',
      limits.nameBytes,
    );
    const taskTypeVersion = Number(message.taskCategory?.version ?? 0);
    const adopted = await this.#tasks.adoptForeign(handle, taskType, taskTypeVersion, hints, call);
    return { handle, hints, message, adopted };
  }
}

export function createAsyncService(options: AsyncServiceOptions): RpcServiceModule {
  return new AsyncService(options).module();
}
