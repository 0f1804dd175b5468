import { writeFileSync } from 'node:fs';
import { type Duplex, Readable } from 'node:stream';
import { isMainThread, type MessagePort, workerData } from 'node:worker_threads';
import { PortStream } from '../channel/port-stream.js';
import { stackOf } from '../errors/index.js';
import { bootMs } from '../lib/boot-clock.js';
import { inOneBuffer } from '../lib/one-buffer.js';
import { takeSecrets } from '../lib/told-secret.js';
import { writeWithin } from '../lib/write-within.js';
import { doLess } from './less.js';
import { makeDataKit } from './make-data-kit.js';
import { Sandbox } from './sandbox.js';
import { resolveSelf } from './self-resolution.js';

/**
 * What runs in a plugin's process, or in its worker thread. Argument 1 (of the process), or workerData, holds the bounds of
 * the channel as JSON. Ends when the channel does: a plugin never outlives its daemon, unless its code spins, cannot
 * see it, and the kernel was not asked to end it either (docs/plugin-processes.md).
 */

const LAST_WORDS_MS = 1_000;

interface Bounds {
  readonly maxInBytes: number;
  readonly maxOutBytes: number;
  readonly highWaterBytes: number;
  readonly plain: readonly string[];
}

/** Of a process. */
interface Place {
  /** Number of the descriptor that is the channel. */
  readonly channelFd: number;
}

function connect(): { stream: Duplex; bounds: Bounds } {
  if (!isMainThread) {
    const { port, bounds } = workerData as { port: MessagePort; bounds: Bounds };
    return { stream: new PortStream(port), bounds };
  }
  const { channelFd, ...bounds } = JSON.parse(process.argv[2] ?? '{}') as Bounds & Place;
  // Let the kernel end this process before the daemon when memory runs out. Not everywhere possible, and no loss.
  try {
    writeFileSync('/proc/self/oom_score_adj', '900');
  } catch {}
  if (channelFd === 0) endStdin();
  return { stream: inOneBuffer({ fd: channelFd }), bounds };
}

/** Where the channel is standard input: a library that asks for it finds it at its end, and takes no byte of the channel. */
function endStdin(): void {
  const stdin = Readable.from([]);
  Object.defineProperty(process, 'stdin', { configurable: true, enumerable: true, get: () => stdin });
}

/** What the plugin prints goes to the daemon's log; its secrets do not. */
function maskOutput(stream: NodeJS.WriteStream, redact: (text: string) => string): void {
  const write = stream.write.bind(stream) as (chunk: unknown, ...rest: unknown[]) => boolean;
  stream.write = ((chunk: unknown, ...rest: unknown[]) =>
    write(maskChunk(chunk, redact), ...rest)) as typeof stream.write;
}

/** Bytes that hold no secret go out as they came. */
function maskChunk(chunk: unknown, redact: (text: string) => string): unknown {
  if (typeof chunk === 'string') return redact(chunk);
  if (!(chunk instanceof Uint8Array)) return chunk;
  const text = Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength).toString('utf8');
  const masked = redact(text);
  return masked === text ? chunk : Buffer.from(masked, 'utf8');
}

const { stream, bounds } = connect();
doLess();
resolveSelf(new URL('../index.js', import.meta.url).href);
const sandbox = new Sandbox(stream, {
  ...bounds,
  makeKit: (data) => makeDataKit(data, { env: process.env }),
  env: process.env,
  bootMs,
  onGone: () => process.exit(0),
});
// The HTTP helper's credentials: known to no secret manager, perhaps.
takeSecrets((secret) => void sandbox.redactor.learn(secret).catch(() => undefined));
for (const output of [process.stdout, process.stderr]) maskOutput(output, (text) => sandbox.redactor.redact(text));

// An error that nothing caught ends the process, as without this handler; but with its secrets masked.
process.on('uncaughtException', (thrown) => {
  const text = `uncaught: ${sandbox.redactor.redactStart(stackOf(thrown))}\n`;
  if (isMainThread) {
    // A daemon that reads no more of what this process prints must not keep it.
    writeWithin(2, Buffer.from(text), performance.now() + LAST_WORDS_MS);
    process.exit(1);
  }
  // A thread's descriptor 2 is the daemon's own; its stream arrives as the plugin's, some turns later.
  process.stderr.write(text, () => process.exit(1));
});
