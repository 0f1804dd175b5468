import { connect, type Socket } from 'node:net';

/**
 * A load generator's HTTP/2 client for unary gRPC calls: frames are written and read by hand, headers are sent as one
 * constant block, answers are told apart by their frames alone. It costs a fraction of what `node:http2` does, so that one
 * core of load can saturate one core of server. Frame layout: RFC 9113, section 4 and 6; header block: RFC 7541.
 */

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const HEAD = 9;
const DATA = 0;
const HEADERS = 1;
const RST_STREAM = 3;
const SETTINGS = 4;
const PING = 6;
const GOAWAY = 7;
const WINDOW_UPDATE = 8;
/** Bytes of one setting, and the one that matters here. */
const SETTING = 6;
const MAX_CONCURRENT_STREAMS = 3;
const END_STREAM = 1;
const ACK = 1;
const END_HEADERS = 4;
/** The connection's receive window: as large as it gets, and given back long before it is used up. */
const WINDOW = 2 ** 31 - 1;
const GIVE_BACK = 2 ** 29;

function frame(type: number, flags: number, streamId: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(HEAD);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(streamId, 5);
  return Buffer.concat([head, payload]);
}

function uint32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(value);
  return bytes;
}

/** What every call gives its server. */
export const DEADLINE_MS = 10_000;

const text = (value: string): Buffer => Buffer.concat([Buffer.from([value.length]), Buffer.from(value, 'latin1')]);
const named = (name: string, value: string): Buffer => Buffer.concat([Buffer.from([0]), text(name), text(value)]);

/** The header block of every call: `:method POST` and `:scheme http` by index, the rest as literals without indexing. */
function headerBlock(path: string, authority: string): Buffer {
  return Buffer.concat([
    Buffer.from([0x83, 0x86, 0x04]),
    text(path),
    Buffer.from([0x01]),
    text(authority),
    named('content-type', 'application/grpc'),
    named('te', 'trailers'),
    named('grpc-timeout', `${DEADLINE_MS}m`),
    named('user-agent', 'plugin-host-bench'),
  ]);
}

/** A call without its stream id: HEADERS and DATA frames, ready to be copied. */
export interface PreparedCall {
  readonly bytes: Buffer;
  readonly dataAt: number;
}

/** `message` is the encoded request; its gRPC frame is put around it. */
export function prepareCall(path: string, authority: string, message: Uint8Array): PreparedCall {
  const headers = frame(HEADERS, END_HEADERS, 0, headerBlock(path, authority));
  const body = Buffer.concat([Buffer.from([0]), uint32(message.length), message]);
  return { bytes: Buffer.concat([headers, frame(DATA, END_STREAM, 0, body)]), dataAt: headers.length };
}

export interface RoundCounts {
  /** Calls answered with a message and trailers. */
  calls: number;
  /** Calls answered without a message, which is how gRPC sends errors, or reset. */
  errors: number;
  /** From the write of a call to the end of its answer, in the order of the ends. */
  latenciesMs: number[];
}

/** Told of every call that ended; `body` is its encoded answer, undefined where it failed. */
export type Answered = (call: PreparedCall, body: Buffer | undefined) => void;

/** What is known of the streams under way, by stream id; ids come back around long after their call is over. */
const SLOTS = 1 << 16;

/** Flag and length before a gRPC message. */
const MESSAGE_HEAD = 5;

export class H2Connection {
  readonly #socket: Socket;
  readonly #streams: number;
  readonly #startedAt = new Float64Array(SLOTS);
  /** Calls under way and what came of their answers, by slot; bodies are kept for who asks for them only. */
  readonly #calls = new Array<PreparedCall | undefined>(SLOTS);
  readonly #bodies = new Array<Buffer | undefined>(SLOTS);
  #rest: Buffer = Buffer.alloc(0);
  #nextId = 1;
  #inFlight = 0;
  /** More streams at a time than the server allows end the connection. */
  #maxStreams = Number.POSITIVE_INFINITY;
  #received = 0;
  #next: (() => PreparedCall | undefined) | undefined;
  #answered: Answered | undefined;
  #counts: RoundCounts = { calls: 0, errors: 0, latenciesMs: [] };
  #idle: (() => void) | undefined;
  #failed: ((error: Error) => void) | undefined;

  private constructor(socket: Socket, streams: number) {
    this.#socket = socket;
    this.#streams = streams;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('close', () => this.#failed?.(new Error('the server closed the connection in the middle of a round')));
    socket.on('error', (error) => this.#failed?.(error));
    socket.write(
      Buffer.concat([
        PREFACE,
        frame(SETTINGS, 0, 0, Buffer.alloc(0)),
        frame(WINDOW_UPDATE, 0, 0, uint32(WINDOW - 65535)),
      ]),
    );
  }

  /** `streams` calls are kept under way at a time. */
  static open(port: number, streams: number): Promise<H2Connection> {
    return new Promise((resolve, reject) => {
      const socket = connect({ port, host: '127.0.0.1', noDelay: true });
      socket.once('error', reject);
      socket.once('connect', () => resolve(new H2Connection(socket, streams)));
    });
  }

  /** Makes calls until `next` answers undefined, and resolves when the last one is answered. */
  run(next: () => PreparedCall | undefined, answered?: Answered): Promise<RoundCounts> {
    this.#counts = { calls: 0, errors: 0, latenciesMs: [] };
    this.#answered = answered;
    this.#next = next;
    return new Promise((resolve, reject) => {
      this.#failed = reject;
      this.#idle = () => {
        this.#failed = undefined;
        this.#idle = undefined;
        resolve(this.#counts);
      };
      this.#fill();
    });
  }

  /**
   * Makes a call every `everyMs` from `startMs` on (`performance.now`), whatever is under way, until `next` answers undefined,
   * and resolves when the last one is answered. Latencies count from the time that a call was due: a server that stands still
   * is seen by all calls of that time, and one that allows too few streams as well.
   */
  async runOpen(next: () => PreparedCall | undefined, startMs: number, everyMs: number): Promise<RoundCounts> {
    this.#counts = { calls: 0, errors: 0, latenciesMs: [] };
    this.#answered = undefined;
    const failure = new Promise<never>((_, reject) => {
      this.#failed = reject;
    });
    failure.catch(() => undefined);
    for (let dueMs = startMs, over = false; !over || this.#inFlight > 0; ) {
      const calls: PreparedCall[] = [];
      const dues: number[] = [];
      const room = () => this.#inFlight + calls.length < this.#maxStreams;
      for (; !over && dueMs <= performance.now() && room(); dueMs += everyMs) {
        const call = next();
        over = call === undefined;
        if (call === undefined) break;
        calls.push(call);
        dues.push(dueMs);
      }
      if (calls.length > 0) this.#send(calls, dues);
      await Promise.race([failure, new Promise((resolve) => setTimeout(resolve, 1))]);
    }
    this.#failed = undefined;
    return this.#counts;
  }

  close(): void {
    this.#failed = undefined;
    this.#socket.destroy();
  }

  #fill(): void {
    const calls: PreparedCall[] = [];
    while (this.#inFlight + calls.length < Math.min(this.#streams, this.#maxStreams)) {
      const call = this.#next?.();
      if (call === undefined) {
        this.#next = undefined;
        break;
      }
      calls.push(call);
    }
    if (calls.length > 0) this.#send(calls);
    else if (this.#inFlight === 0) this.#idle?.();
  }

  /** `dues`: since when each of them is due; now unless given. */
  #send(calls: readonly PreparedCall[], dues?: readonly number[]): void {
    const out = Buffer.allocUnsafe(calls.reduce((sum, { bytes }) => sum + bytes.length, 0));
    let at = 0;
    const now = performance.now();
    for (const [index, call] of calls.entries()) {
      const { bytes, dataAt } = call;
      bytes.copy(out, at);
      out.writeUInt32BE(this.#nextId, at + 5);
      out.writeUInt32BE(this.#nextId, at + dataAt + 5);
      const slot = (this.#nextId >>> 1) % SLOTS;
      this.#startedAt[slot] = dues?.[index] ?? now;
      this.#calls[slot] = call;
      this.#bodies[slot] = undefined;
      this.#nextId += 2;
      at += bytes.length;
    }
    this.#inFlight += calls.length;
    this.#socket.write(out);
  }

  #read(chunk: Buffer): void {
    const buffer = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    let at = 0;
    while (at + HEAD <= buffer.length) {
      const length = buffer.readUIntBE(at, 3);
      if (at + HEAD + length > buffer.length) break;
      this.#frame(buffer, at, length);
      at += HEAD + length;
    }
    this.#rest = at === buffer.length ? Buffer.alloc(0) : buffer.subarray(at);
    if (this.#next !== undefined || this.#idle !== undefined) this.#fill();
  }

  #frame(buffer: Buffer, at: number, length: number): void {
    const flags = buffer[at + 4]!;
    const slot = (buffer.readUInt32BE(at + 5) >>> 1) % SLOTS;
    switch (buffer[at + 3]) {
      case DATA:
        this.#data(slot, buffer.subarray(at + HEAD, at + HEAD + length));
        this.#giveBack(length);
        break;
      case HEADERS:
        if ((flags & END_STREAM) !== 0) this.#ended(slot, this.#bodies[slot]);
        break;
      case RST_STREAM:
        this.#ended(slot, undefined);
        break;
      case SETTINGS:
        if ((flags & ACK) === 0) this.#settings(buffer.subarray(at + HEAD, at + HEAD + length));
        break;
      case PING:
        if ((flags & ACK) === 0) {
          const echo = Buffer.from(buffer.subarray(at + HEAD, at + HEAD + length));
          this.#socket.write(frame(PING, ACK, 0, echo));
        }
        break;
      case GOAWAY:
        this.#failed?.(new Error('the server sent GOAWAY'));
        break;
      default:
    }
  }

  #settings(entries: Buffer): void {
    for (let at = 0; at + SETTING <= entries.length; at += SETTING) {
      if (entries.readUInt16BE(at) === MAX_CONCURRENT_STREAMS) this.#maxStreams = entries.readUInt32BE(at + 2);
    }
    this.#socket.write(frame(SETTINGS, ACK, 0, Buffer.alloc(0)));
  }

  #data(slot: number, part: Buffer): void {
    const before = this.#bodies[slot];
    if (this.#answered === undefined) this.#bodies[slot] = part;
    else this.#bodies[slot] = before === undefined ? Buffer.from(part) : Buffer.concat([before, part]);
  }

  #ended(slot: number, body: Buffer | undefined): void {
    this.#inFlight -= 1;
    if (body !== undefined) this.#counts.calls += 1;
    else this.#counts.errors += 1;
    this.#counts.latenciesMs.push(performance.now() - this.#startedAt[slot]!);
    this.#answered?.(this.#calls[slot]!, body?.subarray(MESSAGE_HEAD));
    this.#calls[slot] = undefined;
    this.#bodies[slot] = undefined;
  }

  #giveBack(bytes: number): void {
    this.#received += bytes;
    if (this.#received < GIVE_BACK) return;
    this.#socket.write(frame(WINDOW_UPDATE, 0, 0, uint32(this.#received)));
    this.#received = 0;
  }
}
