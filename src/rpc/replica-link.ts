import type { RpcService } from '../idl/idl.js';
import { HOP } from '../model/forwarding.js';
import { LINK_TO, type LinkAcceptor, REPLICA_LINK, REPLICA_LINK_PATH } from '../model/replica-link.js';
import type { RpcServiceModule } from './methods.js';
import type { RpcDuplex } from './stream.js';

const same = (bytes: Buffer): Buffer => bytes;

const DEFINITION = {
  [REPLICA_LINK.method]: {
    path: REPLICA_LINK_PATH,
    requestStream: true,
    responseStream: true,
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  },
} as unknown as RpcService;

/** The stream by which replicas talk to each other. It is no part of the API, and shown by nothing. */
export function createReplicaLinkService(acceptor: LinkAcceptor): RpcServiceModule {
  const handle = (stream: RpcDuplex) =>
    acceptor.accept({
      from: stream.call.header(HOP),
      to: stream.call.header(LINK_TO),
      open: () => stream.open(),
      messages: stream.messages(),
      write: (message) => stream.write(message),
      signal: AbortSignal.any([stream.call.abortSignal(), stream.draining]),
    });
  return {
    name: REPLICA_LINK.service,
    internal: true,
    definition: DEFINITION,
    handlers: { [REPLICA_LINK.method]: { kind: 'bidi', bounded: true, handle } },
  };
}
