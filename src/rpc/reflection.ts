import type { Server, ServerDuplexStream, ServiceDefinition } from '@grpc/grpc-js';
import { status } from '@grpc/grpc-js';
import { HostError } from '../errors/index.js';
import type { Codec } from '../idl/codec.js';
import type { DescribedFile, DescriptorPool } from '../idl/descriptor-pool.js';
import { loadPluginHost } from '../idl/load.js';
import { type OpenStream, OpenStreams } from './open-streams.js';
import { statusOf } from './status.js';
import { drained } from './stream.js';

/** Both have the same messages, field for field, under another package. */
const VERSIONS = ['v1', 'v1alpha'] as const;

const packageOf = (version: string): string => `grpc.reflection.${version}`;
const serviceOf = (version: string): string => `${packageOf(version)}.ServerReflection`;

/** A question names a file or a symbol; what is larger is none, and is sent back as part of the answer. */
const MAX_REQUEST_BYTES = 8 * 1024;

const MAX_SHOWN = 200;

interface Question {
  readonly host: string;
  /** Name of the member that is set; unset where the peer asked nothing that is known here. */
  readonly messageRequest?: string;
  readonly fileByFilename: string;
  readonly fileContainingSymbol: string;
  readonly fileContainingExtension: { readonly containingType: string; readonly extensionNumber: number } | null;
  readonly allExtensionNumbersOfType: string;
}

/** The set member of the answer; its codec takes nothing else. */
type Answer = Readonly<Record<string, unknown>>;

type Call = ServerDuplexStream<Buffer, Buffer>;

type Adder = Pick<Server, 'addService'>;

/**
 * Server reflection (v1 and v1alpha) over the compiler's own descriptors of the services served, so that grpcurl and its
 * like need no .proto files. A question that cannot be answered gets an error in its answer, and the stream goes on; bytes
 * that are no question end it. Streams stay open as long as the client likes, so they are bounded, and ended when the
 * server drains.
 *
 * States: nobody has asked → the descriptors load, for the first who asks → loaded; `end` closes the streams at any time.
 */
export class Reflection {
  static readonly SERVICES: readonly string[] = VERSIONS.map(serviceOf);
  readonly #loadPool: () => Promise<DescriptorPool>;
  readonly #services: readonly string[];
  readonly #streams: OpenStreams;
  readonly #definitions: readonly ServiceDefinition[];
  readonly #question: Codec<Question>;
  readonly #answer: Codec;

  #pool: Promise<DescriptorPool> | undefined;

  /** `services` are the full names of what else is served. The descriptors are loaded for the first who asks. */
  constructor(services: readonly string[], maxStreams: number, loadPool = servedPool) {
    this.#loadPool = loadPool;
    this.#services = [...services, ...Reflection.SERVICES].sort();
    this.#streams = new OpenStreams('reflection', maxStreams);
    const idl = loadPluginHost();
    this.#definitions = VERSIONS.map((version) => idl.rawService(serviceOf(version)));
    this.#question = idl.codec(`${packageOf('v1')}.ServerReflectionRequest`);
    this.#answer = idl.codec(`${packageOf('v1')}.ServerReflectionResponse`);
  }

  addToServer(server: Adder): void {
    const ServerReflectionInfo = (call: Call) =>
      this.#streams.admit(call as unknown as OpenStream, () => void this.#serve(call));
    for (const definition of this.#definitions) server.addService(definition, { ServerReflectionInfo });
  }

  end(): void {
    this.#streams.end();
  }

  /** One question is read when the answer to the last one was taken: who asks and does not read piles up nothing. */
  async #serve(call: Call): Promise<void> {
    try {
      this.#pool ??= this.#loadPool();
      const pool = await this.#pool;
      // The default iterator destroys the stream at the caller's end, and with it the side that is yet to answer.
      for await (const bytes of call.iterator({ destroyOnReturn: false })) {
        const answer = this.#answerOf(bytes as Buffer, pool);
        if (call.cancelled || call.writableEnded) return;
        if (!call.write(answer) && !(await drained(call))) return;
      }
      call.end();
    } catch (thrown) {
      if (!call.cancelled && !call.writableEnded) call.emit('error', statusOf(thrown));
    }
  }

  /** ServerReflectionRequest → ServerReflectionResponse. Throws REQUEST_UNDECODABLE and REQUEST_TOO_LARGE. */
  #answerOf(bytes: Buffer, pool: DescriptorPool): Buffer {
    if (bytes.length > MAX_REQUEST_BYTES) {
      throw new HostError(
        'REQUEST_TOO_LARGE',
        `a reflection request of ${bytes.length} bytes; at most ${MAX_REQUEST_BYTES} are taken`,
      );
    }
    const question = this.#question.decode(bytes);
    return this.#answer.encode({ validHost: question.host, originalRequest: bytes, ...this.#answerTo(question, pool) });
  }

  #answerTo(question: Question, pool: DescriptorPool): Answer {
    switch (question.messageRequest) {
      case 'listServices':
        return { listServicesResponse: { service: this.#services.map((name) => ({ name })) } };
      case 'fileByFilename':
        return filesOf(pool, pool.file(question.fileByFilename), 'file', question.fileByFilename);
      case 'fileContainingSymbol': {
        const symbol = question.fileContainingSymbol;
        return filesOf(pool, pool.fileOfSymbol(symbol), 'symbol', symbol);
      }
      case 'fileContainingExtension': {
        const { containingType, extensionNumber } = question.fileContainingExtension!;
        const file = pool.fileOfExtension(containingType, extensionNumber);
        return filesOf(pool, file, 'extension', `${containingType} ${extensionNumber}`);
      }
      case 'allExtensionNumbersOfType': {
        const type = question.allExtensionNumbersOfType;
        const extensionNumber = pool.extensionNumbers(type);
        if (extensionNumber === undefined) return unknown('message', type);
        return { allExtensionNumbersResponse: { baseTypeName: type, extensionNumber } };
      }
      default:
        return failed(status.INVALID_ARGUMENT, 'the request asks nothing that is known; expected a message_request');
    }
  }
}

/** Most daemons are never asked, and what decodes descriptors is slow to load. */
async function servedPool(): Promise<DescriptorPool> {
  const { servedDescriptors } = await import('../idl/descriptor-pool.js');
  return servedDescriptors();
}

function filesOf(pool: DescriptorPool, file: DescribedFile | undefined, kind: string, name: string): Answer {
  if (file === undefined) return unknown(kind, name);
  return { fileDescriptorResponse: { fileDescriptorProto: pool.closure(file).map(({ bytes }) => bytes) } };
}

function unknown(kind: string, name: string): Answer {
  const shown = name.length > MAX_SHOWN ? `${name.slice(0, MAX_SHOWN)}…` : name;
  return failed(status.NOT_FOUND, `there is no ${kind} ${JSON.stringify(shown)}`);
}

function failed(errorCode: status, errorMessage: string): Answer {
  return { errorResponse: { errorCode, errorMessage } };
}
