import type { Server, ServiceDefinition, UntypedServiceImplementation } from '@grpc/grpc-js';
import { HostError, messageOf } from '../errors/index.js';
import type { Arrival } from './edge/arrival.js';
import type { Edge } from './edge/edge.js';
import { arrivalOf } from './grpc-internals.js';
import { statusOf } from './status.js';

type Method = ServiceDefinition[string];

/** What is needed here of a call of grpc-js, of whatever kind. */
interface ForeignCall {
  readonly request?: unknown;
  once(event: string, listener: () => void): unknown;
  emit(event: 'error', error: unknown): boolean;
  write?(message: unknown): boolean;
}

type Callback = (error: unknown, answer?: unknown) => void;
type Handler = (call: ForeignCall, callback: Callback) => void;

/** What is handed to a handler's guard instead of a request that does not decode: grpc-js would answer INTERNAL to a throw. */
class Undecodable {
  readonly error: HostError;

  constructor(path: string, thrown: unknown) {
    this.error = new HostError('REQUEST_UNDECODABLE', `The bytes are no request of ${path}: ${messageOf(thrown)}.`);
  }
}

/**
 * Where a service that decodes by itself (reflection) is added, so that it behaves like ours: a request that does
 * not decode is the caller's fault, and the edge learns what it has to know.
 */
export function foreignServices(server: Server, edge: Edge): Pick<Server, 'addService'> {
  return {
    addService(definition, implementation) {
      const guarded: UntypedServiceImplementation = {};
      const total: Record<string, Method> = {};
      for (const [name, method] of Object.entries(definition as ServiceDefinition)) {
        total[name] = { ...method, requestDeserialize: totalOf(method) };
        const handler =
          (implementation as UntypedServiceImplementation)[name] ?? byOriginalName(implementation, method);
        if (handler !== undefined) guarded[name] = guard(method, handler as unknown as Handler, edge) as never;
      }
      server.addService(total as ServiceDefinition, guarded);
    },
  };
}

function byOriginalName(implementation: UntypedServiceImplementation, method: Method): unknown {
  return method.originalName === undefined ? undefined : implementation[method.originalName];
}

function totalOf(method: Method): (bytes: Buffer) => unknown {
  return (bytes) => {
    try {
      return method.requestDeserialize(bytes);
    } catch (thrown) {
      return new Undecodable(method.path, thrown);
    }
  };
}

function guard(method: Method, handler: Handler, edge: Edge): Handler {
  return (call, callback) => {
    const arrival = arrivalOf(call);
    edge.take(arrival);
    const { request } = call;
    if (method.responseStream) arrival.onPassed = (early) => call.emit('error', statusOf(early ?? deadlinePassed()));
    if (request instanceof Undecodable) {
      if (method.responseStream) call.emit('error', statusOf(request.error));
      else callback(statusOf(request.error));
      return;
    }
    if (method.requestStream) boundConversation(call, arrival, edge);
    else if (method.responseStream) edge.live(arrival);
    handler(call, callback);
  };
}

function deadlinePassed(): HostError {
  return new HostError('DEADLINE_EXCEEDED', 'the stream went on until its deadline');
}

/**
 * A stream of requests and answers lasts as long as both sides keep it going: it ends where nothing is answered for the longest
 * deadline there is, and where an answer is not taken within the default one.
 */
function boundConversation(call: ForeignCall, arrival: Arrival, edge: Edge): void {
  edge.goesOn(arrival);
  const write = call.write?.bind(call);
  if (write === undefined) return;
  call.write = (message) => {
    const more = write(message);
    if (more) edge.goesOn(arrival);
    else {
      edge.ended(arrival);
      call.once('drain', () => edge.goesOn(arrival));
    }
    return more;
  };
}
