import { H2Connection, type PreparedCall, prepareCall, type RoundCounts } from './h2-client.js';
import { percentile } from './numbers.js';
import { cpuSeconds, serve } from './processes.js';

/**
 * - `load`: keeps encoded requests to step through for a target.
 * - `steps`: makes `calls` calls of what was loaded, over many tasks, and counts.
 * - `open`: makes `perSecond` of them a second for `seconds`, whether the server keeps up or not.
 * - `each`: makes every one of these calls once, and hands back the answers in their order.
 */
export type GeneratorRequest =
  | { readonly kind: 'load'; readonly port: number; readonly path: string; readonly messages: readonly Uint8Array[] }
  | ({ readonly kind: 'steps'; readonly port: number; readonly calls: number } & Width)
  | ({ readonly kind: 'open'; readonly port: number; readonly perSecond: number; readonly seconds: number } & Width)
  | ({
      readonly kind: 'each';
      readonly port: number;
      readonly path: string;
      readonly messages: readonly Uint8Array[];
    } & Width);

/** Calls are kept under way on all streams of all connections. */
export interface Width {
  readonly connections: number;
  readonly streams: number;
}

export interface RoundResult {
  readonly calls: number;
  readonly errors: number;
  readonly seconds: number;
  /** Of the generator. */
  readonly cpuSeconds: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  /** Of `each`; undefined for a call that failed. */
  readonly answers?: readonly (Uint8Array | undefined)[];
}

/** Steps through the handles so that neighbours in memory are not asked for one after the other. */
const STRIDE = 7919;

const loaded = new Map<number, readonly PreparedCall[]>();
const open = new Map<string, readonly H2Connection[]>();
let index = 0;

async function connectionsTo(port: number, { connections, streams }: Width): Promise<readonly H2Connection[]> {
  const key = `${port} ${connections} ${streams}`;
  let found = open.get(key);
  if (found === undefined) {
    found = await Promise.all(Array.from({ length: connections }, () => H2Connection.open(port, streams)));
    open.set(key, found);
  }
  return found;
}

function round(
  connections: readonly H2Connection[],
  next: () => PreparedCall | undefined,
  answered?: (call: PreparedCall, body: Uint8Array | undefined) => void,
): Promise<RoundResult> {
  return measured(() => connections.map((connection) => connection.run(next, answered)));
}

async function measured(start: () => Promise<RoundCounts>[]): Promise<RoundResult> {
  const cpuBefore = cpuSeconds();
  const startedAt = performance.now();
  const counts = await Promise.all(start());
  const seconds = (performance.now() - startedAt) / 1000;
  const latencies = Float64Array.from(counts.flatMap((one) => one.latenciesMs)).sort();
  return {
    calls: counts.reduce((sum, one) => sum + one.calls, 0),
    errors: counts.reduce((sum, one) => sum + one.errors, 0),
    seconds,
    cpuSeconds: cpuSeconds() - cpuBefore,
    p50Ms: percentile(latencies, 0.5),
    p99Ms: percentile(latencies, 0.99),
    maxMs: percentile(latencies, 1),
  };
}

async function steps(request: GeneratorRequest & { kind: 'steps' }): Promise<RoundResult> {
  const calls = loadedFor(request.port);
  let left = request.calls;
  return round(await connectionsTo(request.port, request), () => {
    if (left === 0) return undefined;
    left -= 1;
    return stepOf(calls);
  });
}

function loadedFor(port: number): readonly PreparedCall[] {
  const calls = loaded.get(port);
  if (calls === undefined) throw new Error(`nothing was loaded for port ${port}`);
  return calls;
}

function stepOf(calls: readonly PreparedCall[]): PreparedCall {
  index = (index + STRIDE) % calls.length;
  return calls[index]!;
}

async function openLoop(request: GeneratorRequest & { kind: 'open' }): Promise<RoundResult> {
  const { port, perSecond, seconds } = request;
  const calls = loadedFor(port);
  const connections = await connectionsTo(port, request);
  let left = Math.round(perSecond * seconds);
  const next = () => (left-- > 0 ? stepOf(calls) : undefined);
  const everyMs = (1000 * connections.length) / perSecond;
  return measured(() => {
    const startMs = performance.now();
    return connections.map((one, at) => one.runOpen(next, startMs + (at * everyMs) / connections.length, everyMs));
  });
}

async function each(request: GeneratorRequest & { kind: 'each' }): Promise<RoundResult> {
  const calls = request.messages.map((message) => prepareCall(request.path, `127.0.0.1:${request.port}`, message));
  const order = new Map(calls.map((call, at) => [call, at]));
  const answers = new Array<Uint8Array | undefined>(calls.length);
  let at = 0;
  const result = await round(
    await connectionsTo(request.port, request),
    () => calls[at++],
    (call, body) => {
      answers[order.get(call)!] = body;
    },
  );
  return { ...result, answers };
}

serve((request: GeneratorRequest): unknown => {
  if (request.kind === 'steps') return steps(request);
  if (request.kind === 'each') return each(request);
  if (request.kind === 'open') return openLoop(request);
  const { port, path, messages } = request;
  loaded.set(
    port,
    messages.map((message) => prepareCall(path, `127.0.0.1:${port}`, message)),
  );
  return undefined;
});
