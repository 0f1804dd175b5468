import net from 'node:net';
import tls from 'node:tls';

/** Calls as bytes, made once: whoever sends them spends next to nothing on each. */

export const DATA = 0;
export const HEADERS = 1;
export const SETTINGS = 4;
export const PING = 6;
export const CONTINUATION = 9;
const END_HEADERS = 4;
export const PREFACE = Buffer.concat([
  Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'),
  frame(SETTINGS, 0, 0, Buffer.alloc(0)),
]);

export function frame(type: number, flags: number, stream: number, body: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(body.length, 0, 3);
  head.writeUInt8(type, 3);
  head.writeUInt8(flags, 4);
  head.writeUInt32BE(stream, 5);
  return Buffer.concat([head, body]);
}

/** A text in HPACK, not compressed. */
function text(value: string): Buffer {
  const bytes = [Math.min(127, value.length)];
  if (value.length >= 127) {
    let left = value.length - 127;
    for (; left >= 128; left >>= 7) bytes.push((left & 127) | 128);
    bytes.push(left);
  }
  return Buffer.concat([Buffer.from(bytes), Buffer.from(value)]);
}

/** The headers of a Status with so much metadata, and more of them. */
export function statusHeaders(fillerBytes = 0, more: Readonly<Record<string, string>> = {}): Buffer {
  const headers = {
    ':method': 'POST',
    ':scheme': 'http',
    ':path': '/pluginhost.v1.PluginHost/Status',
    ':authority': 'x',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...(fillerBytes > 0 && { 'x-filler': 'f'.repeat(fillerBytes) }),
    ...more,
  };
  return Buffer.concat(
    Object.entries(headers).map(([name, value]) => Buffer.concat([Buffer.from([0]), text(name), text(value)])),
  );
}

/** So many calls that begin and do not go on. */
export function calls(headers: Buffer, from: number, count: number): Buffer {
  return Buffer.concat(
    Array.from({ length: count }, (_, i) => frame(HEADERS, END_HEADERS, 1 + 2 * (from + i), headers)),
  );
}

/**
 * A block of headers that takes next to nothing to send and a lot to unpack: one long header that goes into the table, and as many
 * references to it as fit.
 */
export function headerBomb(longBytes: number, references: number): Buffer {
  const long = Buffer.concat([Buffer.of(0x40), text('x-bomb'), text('b'.repeat(longBytes))]);
  // The first place of the table after those that everybody has.
  return Buffer.concat([statusHeaders(), long, Buffer.alloc(references, 0x80 | 62)]);
}

/** Where the port is, and the authority that its certificate is from where it speaks TLS. */
export interface Target {
  readonly host: string;
  readonly port: number;
  readonly ca: string | undefined;
}

/** A connection that has said nothing within, and takes whatever it is sent; by TLS where the port speaks it. */
export function silentConnection({ host, port, ca }: Target, lost: () => void): net.Socket {
  const socket =
    ca === undefined ? net.connect(port, host) : tls.connect({ host, port, ca, ALPNProtocols: ['h2'], timeout: 0 });
  socket.on('error', () => undefined);
  socket.on('close', lost);
  socket.resume();
  return socket;
}

/** A connection that has said its preface. */
export function rawConnection(target: Target, lost: () => void): net.Socket {
  const socket = silentConnection(target, lost);
  socket.write(PREFACE);
  return socket;
}
