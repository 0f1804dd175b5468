import type * as protobuf from 'protobufjs';
import pb from 'protobufjs';
import { HostError } from '../errors/index.js';
import type { Codec, Message } from './codec.js';
import { makeCodec } from './make-codec.js';
import { StrictEncoder } from './strict-encoder.js';
import { asBuffer } from './wire.js';

/** One RPC as grpc-js wants it (structurally its MethodDefinition). */
export interface RpcMethod {
  readonly path: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly originalName: string;
  // biome-ignore lint/suspicious/noExplicitAny: grpc-js types these so; the message types are known to the .proto file only
  readonly requestSerialize: (message: any) => Buffer;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  readonly requestDeserialize: (bytes: Buffer) => any;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  readonly responseSerialize: (message: any) => Buffer;
  // biome-ignore lint/suspicious/noExplicitAny: as above
  readonly responseDeserialize: (bytes: Buffer) => any;
  readonly requestType: string;
  readonly responseType: string;
}

/** Assignable to grpc-js's ServiceDefinition. */
export type RpcService = Readonly<Record<string, RpcMethod>>;

/** A set of loaded descriptors. Names are full names without a leading dot, such as `flyteidl.core.Literal`. */
export interface Idl {
  /** One codec a type, the same object each time. Throws DESCRIPTOR_UNKNOWN. */
  codec<T extends object = Message>(typeName: string): Codec<T>;
  /** A service whose methods take and give decoded messages, encoded strictly. For clients. */
  service(name: string): RpcService;
  /**
   * A service whose methods take and give Buffers, to be decoded in the handler: then bytes that do not decode get a
   * proper answer instead of the transport's INTERNAL, and pass-through costs nothing.
   */
  rawService(name: string): RpcService;
}

const passBytes = (bytes: Uint8Array): Buffer => asBuffer(bytes);

class LoadedIdl implements Idl {
  private readonly encoder = new StrictEncoder();
  private readonly codecs = new Map<string, Codec>();

  constructor(private readonly root: protobuf.Root) {}

  codec<T extends object = Message>(typeName: string): Codec<T> {
    let codec = this.codecs.get(typeName);
    if (codec === undefined) {
      codec = makeCodec<Message>(this.find(typeName, pb.Type, 'message'), this.encoder);
      this.codecs.set(typeName, codec);
    }
    return codec as unknown as Codec<T>;
  }

  service(name: string): RpcService {
    return this.describeService(name, (typeName) => {
      const codec = this.codec(typeName);
      return { serialize: codec.encode, deserialize: (bytes: Buffer) => codec.decode(bytes) };
    });
  }

  rawService(name: string): RpcService {
    return this.describeService(name, () => ({ serialize: passBytes, deserialize: passBytes }));
  }

  private describeService(
    name: string,
    coder: (typeName: string) => {
      serialize: (message: Message & Uint8Array) => Buffer;
      deserialize: (bytes: Buffer) => unknown;
    },
  ): RpcService {
    const methods: Record<string, RpcMethod> = {};
    for (const method of this.find(name, pb.Service, 'service').methodsArray) {
      method.resolve();
      const requestType = method.resolvedRequestType!.fullName.slice(1);
      const responseType = method.resolvedResponseType!.fullName.slice(1);
      const request = coder(requestType);
      const response = coder(responseType);
      methods[method.name] = {
        path: `/${name}/${method.name}`,
        requestStream: method.requestStream === true,
        responseStream: method.responseStream === true,
        originalName: method.name.charAt(0).toLowerCase() + method.name.slice(1),
        requestSerialize: request.serialize,
        requestDeserialize: request.deserialize,
        responseSerialize: response.serialize,
        responseDeserialize: response.deserialize,
        requestType,
        responseType,
      };
    }
    return Object.freeze(methods);
  }

  private find<T extends protobuf.ReflectionObject>(
    name: string,
    // biome-ignore lint/suspicious/noExplicitAny: the constructors of protobufjs differ in their arguments
    kind: new (...args: any[]) => T,
    what: string,
  ): T {
    const found = this.root.lookup(name.startsWith('.') ? name : `.${name}`);
    if (found instanceof kind) return found;
    throw new HostError(
      'DESCRIPTOR_UNKNOWN',
      found === null ? `No ${what} ${name} in the loaded descriptors.` : `${name} is not a ${what}.`,
    );
  }
}

/** Wraps a resolved root; the loaders in `load.ts` call this. */
export function makeIdl(root: protobuf.Root): Idl {
  root.resolveAll();
  return new LoadedIdl(root);
}
