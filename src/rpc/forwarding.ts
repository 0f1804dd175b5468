import { HostError } from '../errors/index.js';
import { type Elsewhere, HOP, isOwnerAway, type PassedCall } from '../model/forwarding.js';
import { partOf } from '../model/handle.js';
import type { RpcCall } from './call.js';
import type { PartitionOf, RpcMethodHandler, RpcServiceModule } from './methods.js';
import type { RpcDuplex, RpcStream } from './stream.js';

type Of<K extends RpcMethodHandler['kind']> = Extract<RpcMethodHandler, { kind: K }>;

/** The part that a request is about; undefined for one that is refused here as well as anywhere. */
type PartOf = (request: Buffer) => number | undefined;

/** How a call about a part goes to who has it. */
type Passed = (part: number, request: Buffer, call: RpcCall, here: () => Buffer | Promise<Buffer>) => Promise<Buffer>;

/**
 * The same service where other replicas may have the tasks: calls go on to who has them as the bytes they came in. What is in memory here
 * answers nothing of theirs meanwhile. What is about no single task is any replica's where the tasks are divided. `standIn`: the service as it answers in the place of
 * owners that are away.
 */
export function passedOn(
  service: RpcServiceModule,
  elsewhere: Elsewhere,
  standIn?: RpcServiceModule,
): RpcServiceModule {
  const handlers = Object.entries(service.handlers).map(([name, handler]) => {
    const path = service.definition[name]?.path ?? '';
    return [name, passing(handler, path, elsewhere, standIn?.handlers[name])] as const;
  });
  return { ...service, handlers: Object.fromEntries(handlers) };
}

function passing(
  handler: RpcMethodHandler,
  path: string,
  elsewhere: Elsewhere,
  standIn: RpcMethodHandler | undefined,
): RpcMethodHandler {
  const parted = handler.kind === 'serverStream' && elsewhere.parts > 1 ? handler.parted : undefined;
  if (handler.kind === 'serverStream' && parted !== undefined) {
    return {
      ...handler,
      handle: (request: Buffer, stream: RpcStream) => parted(request, stream, elsewhere, path),
    };
  }
  const part = partsOf(handler.partition, elsewhere.parts);
  if (part === undefined) return handler;
  if (handler.kind === 'unary') {
    const instead = standIn?.kind === 'unary' ? standIn.handle : undefined;
    const passed = (at: number, request: Buffer, call: RpcCall, here: () => Buffer | Promise<Buffer>) =>
      elsewhere.unary(at, callOf(path, call), request, here, instead && (() => instead(request, call)));
    return elsewhere.parts === 1 ? unary(handler, elsewhere, passed) : partedUnary(handler, elsewhere, passed, part);
  }
  if (handler.kind === 'serverStream') {
    return {
      ...handler,
      handle: async (request: Buffer, stream: RpcStream) => {
        if (await passStream(path, stream, elsewhere, part(request), one(request))) return;
        await handler.handle(request, stream);
      },
    };
  }
  return {
    ...handler,
    handle: async (stream: RpcDuplex) => {
      const at = elsewhere.parts === 1 ? 0 : await partOfStream(stream, part);
      if (!(await passStream(path, stream, elsewhere, at, stream.messages()))) await handler.handle(stream);
    },
  };
}

/** Undefined where any replica answers. With one part nothing is asked of a request. */
function partsOf(partition: PartitionOf | undefined, parts: number): PartOf | undefined {
  if (parts === 1) return () => 0;
  if (partition === undefined) return undefined;
  return (request) => {
    try {
      const of = partition(request);
      return of === undefined ? undefined : partOf(of, parts);
    } catch {
      // Its handler says what is wrong with it.
      return undefined;
    }
  };
}

function unary(handler: Of<'unary'>, elsewhere: Elsewhere, passed: Passed): Of<'unary'> {
  const { ready } = handler;
  return {
    kind: 'unary',
    ...(ready && { ready: (request) => (elsewhere.away(0) ? undefined : ready(request)) }),
    handle: (request, call) => {
      const here = () => handler.handle(request, call);
      return elsewhere.away(0) ? passed(0, request, call, here) : here();
    },
  };
}

function partedUnary(handler: Of<'unary'>, elsewhere: Elsewhere, passed: Passed, part: PartOf): Of<'unary'> {
  const { ready } = handler;
  const isHere = (at: number | undefined): boolean => at !== undefined && !elsewhere.away(at);
  return {
    kind: 'unary',
    ...(ready && { ready: (request) => (isHere(part(request)) ? ready(request) : undefined) }),
    handle: async (request, call) => {
      const here = () => handler.handle(request, call);
      const at = part(request);
      if (at === undefined) return here();
      if (isHere(at)) {
        try {
          return await here();
        } catch (error) {
          // Who passed it on looks again by itself.
          if (!isOwnerAway(error) || call.header(HOP) !== undefined) throw error;
        }
      }
      return passed(at, request, call, here);
    },
  };
}

/** Of a stream with requests to iterate over: the first says it. */
async function partOfStream(stream: RpcDuplex, part: PartOf): Promise<number | undefined> {
  const first = await stream.first();
  return first && part(first);
}

/** False where the stream is this replica's own. */
async function passStream(
  path: string,
  stream: RpcStream,
  elsewhere: Elsewhere,
  part: number | undefined,
  requests: AsyncIterable<Buffer>,
): Promise<boolean> {
  if (part === undefined || !elsewhere.away(part)) return false;
  const { call, draining } = stream;
  const passed = callOf(path, call);
  const signal = AbortSignal.any([passed.signal, draining]);
  try {
    const answers = await elsewhere.stream(part, { ...passed, signal }, requests);
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

export function callOf(path: string, call: RpcCall): PassedCall {
  return { path, deadlineMs: call.deadlineMs, signal: call.abortSignal(), header: (name) => call.header(name) };
}

async function* one(request: Buffer): AsyncIterable<Buffer> {
  yield request;
}
