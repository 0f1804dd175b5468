import type { Server } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import { protoPath as healthProto } from 'grpc-health-check';
import type { Idl } from '../idl/idl.js';
import { loadProtoFiles } from '../idl/load.js';
import { type OpenStream, OpenStreams } from './open-streams.js';

interface ReflectionCall extends OpenStream {
  write(message: unknown): boolean;
  pause(): unknown;
  resume(): unknown;
  once(event: 'cancelled' | 'drain', listener: () => void): unknown;
}

type Definition = ConstructorParameters<typeof ReflectionService>[0];

/**
 * The files behind the definitions, each once. Every entry of a package definition lists all files of its package, and
 * the library would decode each of them for each entry, which takes seconds.
 */
function filesOf(idls: readonly Idl[]): Definition {
  const files = new Set<Buffer>();
  for (const idl of idls) {
    for (const entry of Object.values(idl.packageDefinition())) {
      if (!('fileDescriptorProtos' in entry)) continue;
      for (const file of entry.fileDescriptorProtos as Buffer[]) files.add(file);
    }
  }
  return { files: { fileDescriptorProtos: [...files] } } as unknown as Definition;
}

type Implementation = Parameters<Server['addService']>[1];

/**
 * Server reflection (v1 and v1alpha) over the descriptors of the services served, so that grpcurl and its like need no
 * .proto files. Its streams stay open as long as the client likes, so they are ended when the server drains.
 */
export class Reflection {
  readonly #service: ReflectionService;
  readonly #streams: OpenStreams;

  constructor(idls: readonly Idl[], services: readonly string[], maxStreams: number) {
    const files = filesOf([...idls, loadProtoFiles([healthProto])]);
    this.#service = new ReflectionService(files, { services: [...services] });
    this.#streams = new OpenStreams('reflection', maxStreams);
  }

  addToServer(server: Pick<Server, 'addService'>): void {
    const adder: Pick<Server, 'addService'> = {
      addService: (definition, implementation) => server.addService(definition, this.#bounded(implementation)),
    };
    this.#service.addToServer(adder as Server);
  }

  end(): void {
    this.#streams.end();
  }

  #bounded(implementation: Implementation): Implementation {
    const info = implementation.ServerReflectionInfo as unknown as (call: ReflectionCall) => void;
    return {
      ServerReflectionInfo: ((call: ReflectionCall) =>
        this.#streams.admit(call, () => {
          readOnlyWhatIsTaken(call);
          info(call);
        })) as never,
    };
  }
}

/** The library answers every request at once: who asks and does not read would make the answers pile up. */
function readOnlyWhatIsTaken(call: ReflectionCall): void {
  const write = call.write.bind(call);
  let paused = false;
  call.write = (message) => {
    const more = write(message);
    if (!more && !paused) {
      paused = true;
      call.pause();
      call.once('drain', () => {
        paused = false;
        call.resume();
      });
    }
    return more;
  };
}
