// A peer of the gRPC port that does not mean well, in a process of its own: `node peer.js ATTACK HOST:PORT`. Prints one line
// of JSON when it has done what it can, and stays until its standard input ends.
import http2 from 'node:http2';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { calls, rawConnection, statusHeaders } from './raw-calls.js';

const [attack = '', address = ''] = process.argv.slice(2);
const SERVICE = '/pluginhost.v1.PluginHost';
/** In sum over all connections; each takes a hundred streams at a time from one peer. */
const CONNECTIONS = 100;

const seen = { streams: 0, reset: 0, refused: 0, connectionsLost: 0, sentMiB: 0 };

function connect(settings: http2.Settings = {}): http2.ClientHttp2Session {
  const session = http2.connect(`http://${address}`, { settings });
  session.on('error', () => undefined);
  session.on('close', () => seen.connectionsLost++);
  return session;
}

function open(
  session: http2.ClientHttp2Session,
  method: string,
  metadata: http2.OutgoingHttpHeaders = {},
): http2.ClientHttp2Stream | undefined {
  if (session.destroyed || session.closed) return undefined;
  const headers = {
    ':method': 'POST',
    ':path': `${SERVICE}/${method}`,
    'content-type': 'application/grpc',
    te: 'trailers',
  };
  const stream = session.request({ ...headers, ...metadata }, { endStream: false });
  seen.streams++;
  stream.on('error', () => undefined);
  stream.on('response', () => seen.refused++);
  stream.on('close', () => seen.reset++);
  stream.resume();
  return stream;
}

/** The head of a message of so many bytes. */
function head(bytes: number): Buffer {
  const out = Buffer.alloc(5);
  out.writeUInt32BE(bytes, 1);
  return out;
}

const ATTACKS: Readonly<Record<string, () => Promise<void>>> = {
  /** Creates by the thousand, each reset as soon as it is sent. */
  async resets() {
    const sessions = Array.from({ length: 4 }, () => connect());
    for (let i = 0; i < 3_000; i++) {
      for (const session of sessions) {
        const stream = open(session, 'Create');
        stream?.end(Buffer.concat([head(300), Buffer.alloc(300, 10)]));
        stream?.close(http2.constants.NGHTTP2_CANCEL);
      }
      if (i % 100 === 0) await sleep(1);
    }
  },
  /** Streams that begin and never go on, with as much metadata as passes. */
  async headersOnly() {
    const sessions = Array.from({ length: CONNECTIONS }, () => connect());
    for (let i = 0; i < 200; i++) {
      for (const session of sessions) open(session, 'Status', { 'x-filler': 'f'.repeat(15_000) });
      await sleep(10);
    }
  },
  /** As much metadata, from many connections at once. */
  async bursts() {
    const sockets = Array.from({ length: 500 }, () => rawConnection(address, () => seen.connectionsLost++));
    await sleep(1_000);
    for (let round = 0; round < 10; round++) {
      const burst = calls(statusHeaders(15_000), 4 * round, 4);
      for (const socket of sockets) socket.write(burst);
      seen.streams += 4 * sockets.length;
      await sleep(50);
    }
  },
  /** Many calls on each of many connections, which all break at once. */
  async leaving() {
    const sockets = Array.from({ length: 300 }, () => rawConnection(address, () => seen.connectionsLost++));
    await sleep(1_000);
    const burst = calls(statusHeaders(), 0, 100);
    for (const socket of sockets) socket.write(burst);
    seen.streams += 100 * sockets.length;
    await sleep(4_000);
    for (const socket of sockets) socket.destroy();
  },
  /** Large requests that are announced, half sent, and never ended. */
  async half() {
    const session = connect();
    const chunk = Buffer.alloc(256 * 1024, 65);
    await Promise.all(
      Array.from({ length: 40 }, async () => {
        const stream = open(session, 'Status');
        stream?.write(head(63 * 1024 * 1024));
        for (let i = 0; i < 160 && stream !== undefined && !stream.destroyed; i++) {
          await new Promise<void>((resolve) => {
            stream.write(chunk, () => resolve());
            stream.once('close', () => resolve());
          });
          seen.sentMiB += 0.25;
        }
      }),
    );
  },
  /** Answers that nobody takes: no byte of them may be sent. */
  async untaken() {
    const sessions = Array.from({ length: 20 }, () => connect({ initialWindowSize: 0 }));
    for (let i = 0; i < 90; i++) {
      for (const session of sessions) open(session, 'ListPlugins')?.end(head(0));
      await sleep(10);
    }
  },
  /** Connections that say nothing, or one byte. */
  async idle() {
    const [host, port] = address.split(':');
    for (let i = 0; i < 1_500; i++) {
      const socket = net.connect(Number(port), host);
      socket.on('error', () => undefined);
      socket.on('close', () => seen.connectionsLost++);
      if (i % 2 === 0) socket.on('connect', () => socket.write('P'));
      if (i % 50 === 0) await sleep(10);
    }
  },
};

const play = ATTACKS[attack];
if (play === undefined) throw new Error(`no attack ${attack}; there are ${Object.keys(ATTACKS).join(', ')}`);
await play();
console.log(JSON.stringify({ done: attack, ...seen }));
process.stdin.resume().on('end', () => process.exit(0));
