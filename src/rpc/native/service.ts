import type { Idl } from '../../idl/idl.js';
import { PLUGIN_HOST_SERVICE } from '../../idl/load.js';
import { lenField } from '../../idl/wire.js';
import type { HandleHints, Tasks } from '../../tasks/types.js';
import type { RpcCall } from '../call.js';
import { deleted } from '../deleted.js';
import { assertHandle, assertText, type FieldLimits } from '../fields.js';
import type { PartitionOf, RpcServiceModule } from '../methods.js';
import { partitionByHandle } from '../partition-by-handle.js';
import { peekFields, wiresOf } from '../peek-fields.js';
import { servePartedWatch } from './parted-watch.js';
import { encodeReports } from './plugin-reports.js';
import { peekHandle, StatusEncoder } from './status-bytes.js';
import { connectionOf, TaskSpecReader } from './task-spec.js';
import { serveWatch } from './watch.js';

export interface NativeServiceOptions {
  readonly tasks: Tasks;
  /** With the descriptors of pluginhost.v1 (`loadPluginHost`). */
  readonly idl: Idl;
  readonly limits: FieldLimits;
  /** A Watch stream on which nothing was sent for so long gets a bookmark. */
  readonly bookmarkIntervalMs: number;
}

/** What nobody sets. */
export const NATIVE_BOUNDS = { bookmarkIntervalMs: 30_000 };

const HANDLE = 1;
const TASK = 1;
const STATUS = 2;
const PHASE_INFO = 1;
const EMPTY = Buffer.alloc(0);

/** Of requests about a task: its handle and two more. */
const ABOUT_TASK = wiresOf('-LLL');
/** Of those to begin one. */
const TO_BEGIN = wiresOf('-L');

/** What Status and Get send besides each other's answers. */
interface HandleRequest {
  readonly handle: Buffer;
  readonly hints: HandleHints;
}

/** The native API: a translation to the use cases and back, with no rule of its own. */
class NativeService {
  readonly #tasks: Tasks;
  readonly #idl: Idl;
  readonly #limits: FieldLimits;
  readonly #specs: TaskSpecReader;
  readonly #encoder: StatusEncoder;
  readonly #bookmarkIntervalMs: number;

  constructor(options: NativeServiceOptions) {
    this.#tasks = options.tasks;
    this.#idl = options.idl;
    this.#limits = options.limits;
    this.#specs = new TaskSpecReader(options.idl, this.#limits);
    this.#encoder = new StatusEncoder(options.idl);
    this.#bookmarkIntervalMs = options.bookmarkIntervalMs;
  }

  module(): RpcServiceModule {
    const watch = {
      tasks: this.#tasks,
      request: this.#idl.codec('pluginhost.v1.WatchRequest'),
      response: this.#idl.codec('pluginhost.v1.WatchResponse'),
      encoder: this.#encoder,
      limits: this.#limits,
      bookmarkIntervalMs: this.#bookmarkIntervalMs,
    };
    const about = (type: string) =>
      partitionByHandle(this.#idl.codec(`pluginhost.v1.${type}`), 'handle', HANDLE, ABOUT_TASK);
    return {
      name: PLUGIN_HOST_SERVICE,
      definition: this.#idl.rawService(PLUGIN_HOST_SERVICE),
      handlers: {
        Create: {
          kind: 'unary',
          partition: this.#partition('CreateRequest'),
          handle: (request, call) => this.#create(request, call),
        },
        Status: {
          kind: 'unary',
          partition: about('StatusRequest'),
          ready: (request) => this.#known(request),
          handle: (request, call) => this.#status(request, call),
        },
        Get: { kind: 'unary', partition: about('GetRequest'), handle: (request, call) => this.#get(request, call) },
        Delete: {
          kind: 'unary',
          partition: about('DeleteRequest'),
          handle: (request, call) => this.#delete(request, call),
        },
        Do: {
          kind: 'unary',
          partition: this.#partition('DoRequest'),
          handle: (request, call) => this.#do(request, call),
        },
        Watch: {
          kind: 'serverStream',
          bounded: true,
          handle: (request, stream) => serveWatch(watch, request, stream),
          parted: (request, stream, elsewhere, path) => servePartedWatch(watch, request, stream, elsewhere, path),
        },
        ListPlugins: { kind: 'unary', handle: (request) => this.#listPlugins(request) },
      },
    };
  }

  /** Of a request to begin a task. */
  #partition(type: string): PartitionOf {
    return (request) => {
      const task = this.#task(type, request);
      return task === null ? undefined : this.#specs.partition(task);
    };
  }

  /** The encoded task of a request to begin one; null where it is not set. */
  #task(type: string, request: Buffer): Buffer | null {
    const peeked = peekFields(request, TO_BEGIN, [TASK]);
    if (peeked !== undefined) return peeked[0] ?? null;
    return this.#idl.codec(`pluginhost.v1.${type}`).decode(request, { raw: ['task'] }).task as Buffer | null;
  }

  async #create(request: Buffer, call: RpcCall): Promise<Buffer> {
    const spec = this.#specs.read(this.#task('CreateRequest', request));
    const answer = await this.#tasks.create(spec, call);
    call.onUndelivered(() => answer.undelivered());
    const remoteDown = this.#tasks.remoteDown(answer.task.scope.plugin);
    return Buffer.concat([lenField(HANDLE, answer.handle), this.#encoder.taskStatus(answer.task, remoteDown, STATUS)]);
  }

  /** The hot path: a task in memory is answered from its encoded bytes, without decoding. */
  #known(request: Buffer): Buffer | undefined {
    const handle = peekHandle(request);
    const task = handle && this.#tasks.peek(handle);
    return task && this.#encoder.response(task, this.#tasks.remoteDown(task.scope.plugin));
  }

  /** What memory does not hold is adopted; a connection that came along is kept with the task. */
  async #status(request: Buffer, call: RpcCall): Promise<Buffer> {
    const { handle, hints } = this.#handleRequest('pluginhost.v1.StatusRequest', request);
    const task = await this.#tasks.status(handle, hints, call);
    return this.#encoder.response(task, this.#tasks.remoteDown(task.scope.plugin));
  }

  async #get(request: Buffer, call: RpcCall): Promise<Buffer> {
    const { handle, hints } = this.#handleRequest('pluginhost.v1.GetRequest', request);
    const task = await this.#tasks.get(handle, hints, call);
    return this.#encoder.response(task, this.#tasks.remoteDown(task.scope.plugin));
  }

  async #delete(request: Buffer, call: RpcCall): Promise<Buffer> {
    const message = this.#idl.codec('pluginhost.v1.DeleteRequest').decode(request);
    const handle = assertHandle('handle', message.handle, this.#limits);
    const reason = assertText('reason', message.reason, this.#limits.reasonBytes);
    const connection = connectionOf('connection', message.connection, this.#limits);
    await this.#tasks.delete(handle, reason, { outputPrefix: '', connection }, call);
    call.action = deleted(handle);
    return EMPTY;
  }

  async #do(request: Buffer, call: RpcCall): Promise<Buffer> {
    const state = await this.#tasks.do(this.#specs.read(this.#task('DoRequest', request)), call);
    return lenField(PHASE_INFO, this.#encoder.phaseInfo(state, state.version));
  }

  #listPlugins(request: Buffer): Buffer {
    this.#idl.codec('pluginhost.v1.ListPluginsRequest').decode(request);
    return encodeReports(this.#idl.codec('pluginhost.v1.ListPluginsResponse'), this.#tasks.listPlugins());
  }

  #handleRequest(typeName: string, request: Buffer): HandleRequest {
    const message = this.#idl.codec(typeName).decode(request);
    const outputPrefix = assertText('output_prefix', message.outputPrefix, this.#limits.uriBytes);
    return {
      handle: assertHandle('handle', message.handle, this.#limits),
      hints: { outputPrefix, connection: connectionOf('connection', message.connection, this.#limits) },
    };
  }
}

/** The service module of pluginhost.v1.PluginHost, for `createRpcServer`. */
export function createNativeService(options: NativeServiceOptions): RpcServiceModule {
  return new NativeService(options).module();
}
