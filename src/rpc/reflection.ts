import type { Server } from '@grpc/grpc-js';
import { ReflectionService } from '@grpc/reflection';
import type { Idl } from '../idl/idl.js';

interface ReflectionCall {
  end(): void;
  once(event: 'cancelled', listener: () => void): unknown;
}

type Implementation = Parameters<Server['addService']>[1];

/**
 * Server reflection (v1 and v1alpha) over the descriptors of the services served, so that grpcurl and its like need no
 * .proto files. Its streams stay open as long as the client likes, so they are ended when the server drains.
 */
export class Reflection {
  readonly #service: ReflectionService;
  readonly #streams = new Set<ReflectionCall>();
  #ended = false;

  constructor(idls: readonly Idl[], services: readonly string[]) {
    const definitions = idls.map((idl) => idl.packageDefinition());
    this.#service = new ReflectionService(Object.assign({}, ...definitions), { services: [...services] });
  }

  addToServer(server: Pick<Server, 'addService'>): void {
    const adder: Pick<Server, 'addService'> = {
      addService: (definition, implementation) => server.addService(definition, this.#tracked(implementation)),
    };
    this.#service.addToServer(adder as Server);
  }

  end(): void {
    this.#ended = true;
    for (const stream of this.#streams) stream.end();
  }

  #tracked(implementation: Implementation): Implementation {
    const info = implementation.ServerReflectionInfo as unknown as (call: ReflectionCall) => void;
    return {
      ServerReflectionInfo: ((call: ReflectionCall) => {
        this.#streams.add(call);
        call.once('cancelled', () => this.#streams.delete(call));
        info(call);
        if (this.#ended) call.end();
      }) as never,
    };
  }
}
