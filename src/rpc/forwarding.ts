import { HostError } from '../errors/index.js';
import type { Elsewhere, PassedCall } from '../model/forwarding.js';
import type { RpcCall } from './call.js';
import type { RpcMethodHandler, RpcServiceModule } from './methods.js';
import type { RpcDuplex, RpcStream } from './stream.js';

type Of<K extends RpcMethodHandler['kind']> = Extract<RpcMethodHandler, { kind: K }>;

/**
 * The same service where another replica may have the tasks: calls go on to it as the bytes they came in. What is in memory here answers
 * nothing meanwhile.
 */
export function passedOn(service: RpcServiceModule, elsewhere: Elsewhere): RpcServiceModule {
  const handlers = Object.entries(service.handlers).map(([name, handler]) => {
    const path = service.definition[name]?.path ?? '';
    return [name, passing(handler, path, elsewhere)] as const;
  });
  return { ...service, handlers: Object.fromEntries(handlers) };
}

function passing(handler: RpcMethodHandler, path: string, elsewhere: Elsewhere): RpcMethodHandler {
  if (handler.kind === 'unary') return unary(handler, path, elsewhere);
  if (handler.kind === 'serverStream') {
    return {
      ...handler,
      handle: async (request: Buffer, stream: RpcStream) => {
        if (await passStream(path, stream, elsewhere, one(request))) return;
        await handler.handle(request, stream);
      },
    };
  }
  return {
    ...handler,
    handle: async (stream: RpcDuplex) => {
      if (!(await passStream(path, stream, elsewhere, stream.messages()))) await handler.handle(stream);
    },
  };
}

function unary(handler: Of<'unary'>, path: string, elsewhere: Elsewhere): Of<'unary'> {
  const { ready } = handler;
  return {
    kind: 'unary',
    ...(ready && { ready: (request) => (elsewhere.away() ? undefined : ready(request)) }),
    handle: (request, call) => {
      if (!elsewhere.away()) return handler.handle(request, call);
      return elsewhere.unary(callOf(path, call), request).then((answer) => answer ?? handler.handle(request, call));
    },
  };
}

/** False where the stream is this replica's own. */
async function passStream(
  path: string,
  stream: RpcStream,
  elsewhere: Elsewhere,
  requests: AsyncIterable<Buffer>,
): Promise<boolean> {
  if (!elsewhere.away()) return false;
  const { call, draining } = stream;
  const signal = AbortSignal.any([call.signal, draining]);
  try {
    const answers = await elsewhere.stream({ ...callOf(path, call), signal }, requests);
    if (answers === undefined) return false;
    for await (const answer of answers) if (!(await stream.write(answer))) return true;
    return true;
  } catch (error) {
    if (!draining.aborted || call.signal.aborted) throw error;
    throw new HostError(
      'DAEMON_DRAINING',
      'the daemon that passed the stream on is stopping; open it elsewhere, or again',
    );
  }
}

function callOf(path: string, call: RpcCall): PassedCall {
  return { path, deadlineMs: call.deadlineMs, signal: call.signal, header: (name) => call.header(name) };
}

async function* one(request: Buffer): AsyncIterable<Buffer> {
  yield request;
}
