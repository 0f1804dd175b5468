import net from 'node:net';

/** Calls as bytes, made once: whoever sends them spends next to nothing on each. */

const PREFACE = Buffer.concat([Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n'), frame(4, 0, 0, Buffer.alloc(0))]);
const HEADERS = 1;
const END_HEADERS = 4;

function frame(type: number, flags: number, stream: number, body: Buffer): Buffer {
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

/** The headers of a Status with so much metadata. */
export function statusHeaders(fillerBytes = 0): Buffer {
  const headers = {
    ':method': 'POST',
    ':scheme': 'http',
    ':path': '/pluginhost.v1.PluginHost/Status',
    ':authority': 'x',
    'content-type': 'application/grpc',
    te: 'trailers',
    ...(fillerBytes > 0 && { 'x-filler': 'f'.repeat(fillerBytes) }),
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

/** A connection that has said its preface, and takes whatever it is sent. */
export function rawConnection(address: string, lost: () => void): net.Socket {
  const [host, port] = address.split(':');
  const socket = net.connect(Number(port), host);
  socket.on('error', () => undefined);
  socket.on('close', lost);
  socket.resume();
  socket.write(PREFACE);
  return socket;
}
