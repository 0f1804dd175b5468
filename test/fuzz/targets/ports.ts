import { connect } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { prepareCall } from '../../../bench/lib/h2-client.js';
import { createClient } from '../../../src/client/index.js';
import type { Dice } from '../../support/decisions.js';
import { below, mutateBytes, oneOf } from '../bytes.js';
import { requests } from '../corpus.js';
import { LoneDaemon } from '../lone-daemon.js';
import { Finding, type Subject, type Target } from '../target.js';
import { hostileText } from '../values.js';

/** What is sent is answered, or refused by closing; who waits for more bytes may wait for longer than this. */
const PATIENCE_MS = 150;
/** An honest caller, every so many inputs. */
const HONEST_EVERY = 200;
const HONEST_MS = 20_000;

/** Sends bytes in one to three pieces, takes what comes, and leaves. */
function send(port: number, dice: Dice, bytes: Buffer): Promise<Buffer> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1');
    const came: Buffer[] = [];
    const leave = () => socket.destroy();
    const patience = setTimeout(leave, PATIENCE_MS);
    socket.on('data', (chunk) => came.push(chunk));
    socket.on('error', () => undefined);
    socket.on('end', leave);
    socket.on('close', () => {
      clearTimeout(patience);
      resolve(Buffer.concat(came));
    });
    socket.on('connect', () => {
      const cut = dice.chance(0.3) ? below(dice, bytes.length + 1) : bytes.length;
      socket.write(bytes.subarray(0, cut));
      if (cut < bytes.length) setImmediate(() => socket.writable && socket.write(bytes.subarray(cut)));
      if (dice.chance(0.3)) socket.end();
    });
  });
}

/** The inputs, with an honest call between them that has to be answered. */
function besideHonest(daemon: LoneDaemon, honest: () => Promise<void>, one: (dice: Dice) => Promise<void>): Subject {
  let count = 0;
  return {
    width: 24,
    async one(dice) {
      const isTurn = count++ % HONEST_EVERY === 0;
      await one(dice);
      if (!daemon.runs) throw new Finding('crash', await daemon.ended());
      if (!isTurn) return;
      for (const end = performance.now() + HONEST_MS; ; await sleep(50)) {
        try {
          return await honest();
        } catch (error) {
          // A connection may give way to newcomers, and an engine tries again.
          if (performance.now() > end)
            throw new Finding('hang', `an honest caller is not served any more: ${String(error)}`);
        }
      }
    },
    held: () => daemon.held(),
  };
}

const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n');
const SETTINGS = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);

/** Of each call what a client sends, with frames of other kinds between. */
function framesOf(): Buffer[] {
  const frame = (type: number, flags: number, stream: number, body: Buffer = Buffer.alloc(0)) => {
    const head = Buffer.alloc(9);
    head.writeUIntBE(body.length, 0, 3);
    head[3] = type;
    head[4] = flags;
    head.writeUInt32BE(stream, 5);
    return Buffer.concat([head, body]);
  };
  const whole = requests().map(({ path, bytes }) => {
    const { bytes: sent, dataAt } = prepareCall(path, 'localhost', bytes);
    const copy = Buffer.from(sent);
    copy.writeUInt32BE(1, 5);
    copy.writeUInt32BE(1, dataAt + 5);
    return copy;
  });
  const others = [
    frame(2, 0, 1, Buffer.from([0, 0, 0, 0, 16])),
    frame(3, 0, 1, Buffer.alloc(4)),
    frame(4, 0, 0, Buffer.from([0, 4, 0, 0, 0, 0])),
    frame(4, 0, 0, Buffer.from([0, 1, 0xff, 0xff, 0xff, 0xff])),
    frame(6, 0, 0, Buffer.alloc(8)),
    frame(7, 0, 0, Buffer.alloc(8)),
    frame(8, 0, 0, Buffer.from([0x7f, 0xff, 0xff, 0xff])),
    frame(8, 0, 1, Buffer.alloc(4)),
    frame(9, 4, 1, Buffer.from([0x82])),
    frame(10, 0, 0, Buffer.alloc(20)),
    frame(0, 1, 3, Buffer.from('no call')),
  ];
  return [...whole, ...others];
}

export const http2: Target = {
  name: 'http2',
  summary: 'the gRPC port as bytes: frames in any order, altered and cut; the daemon goes on and serves others',
  async open(undo) {
    const daemon = await LoneDaemon.start(undo, 'text');
    const client = createClient({ address: `127.0.0.1:${daemon.grpcPort}` });
    undo.after(() => client.close());
    const frames = framesOf();
    return besideHonest(
      daemon,
      async () => void (await client.listPlugins({ deadlineMs: HONEST_MS })),
      async (dice) => {
        const parts = Array.from({ length: 1 + below(dice, 5) }, () => oneOf(dice, frames));
        const sent = Buffer.concat([PREFACE, SETTINGS, ...parts]);
        await send(daemon.grpcPort, dice, dice.chance(0.8) ? mutateBytes(dice, sent, frames) : sent);
      },
    );
  },
};

const PATHS = [
  'metrics',
  'healthz',
  'readyz',
  'v1/plugins',
  'v1/tasks',
  'v1/deletes',
  'v1/unclear',
  'v1/orphans',
  'v1/config',
];

function httpRequest(dice: Dice): Buffer {
  const query = dice.chance(0.5)
    ? `?${oneOf(dice, ['limit', 'after', 'plugin', 'phase', 'stage', hostileText(dice)])}=${hostileText(dice)}`
    : '';
  const acting = `v1/plugins/${dice.chance(0.5) ? 'fuzz' : hostileText(dice)}/${oneOf(dice, ['pause', 'resume', hostileText(dice)])}`;
  const path = dice.chance(0.7) ? oneOf(dice, PATHS) : dice.chance(0.7) ? acting : hostileText(dice);
  const lines = [
    `${oneOf(dice, ['GET', 'GET', 'POST', 'HEAD', 'PUT', 'OPTIONS', 'CONNECT'])} /${path}${query} HTTP/1.${oneOf(dice, ['0', '1', '2'])}`,
    'Host: localhost',
    ...(dice.chance(0.3) ? [`Content-Length: ${oneOf(dice, ['0', '5', '-1', '99999999999', 'x'])}`] : []),
    ...(dice.chance(0.2) ? ['Transfer-Encoding: chunked'] : []),
    ...(dice.chance(0.3) ? [`Authorization: Bearer ${hostileText(dice)}`] : []),
    ...(dice.chance(0.1) ? ['Upgrade: h2c', 'Connection: upgrade'] : []),
    ...(dice.chance(0.5) ? ['Connection: close'] : []),
  ];
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${dice.chance(0.2) ? hostileText(dice) : ''}`);
}

export const http: Target = {
  name: 'http',
  summary: 'the admin port as bytes: an answer below 500 or a closed connection; the daemon goes on and serves others',
  async open(undo) {
    const daemon = await LoneDaemon.start(undo);
    const honest = async () => {
      const signal = AbortSignal.timeout(HONEST_MS);
      await (await fetch(`http://127.0.0.1:${daemon.adminPort}/healthz`, { signal })).text();
    };
    return besideHonest(daemon, honest, async (dice) => {
      const sent = Buffer.concat(Array.from({ length: dice.chance(0.2) ? 3 : 1 }, () => httpRequest(dice)));
      const bytes = dice.chance(0.3) ? mutateBytes(dice, sent) : sent;
      const answer = (await send(daemon.adminPort, dice, bytes)).toString('latin1');
      const fault = /^HTTP\/1\.1 (5\d\d)[^\r]*/.exec(answer);
      // 501 and 505 say that the caller asked for what there is not; 503 that it asks for too much.
      if (fault !== null && !['501', '503', '505'].includes(fault[1] as string)) {
        throw new Finding('wrong', `${answer.slice(0, 300)} to ${bytes.toString('latin1').slice(0, 300)}`);
      }
    });
  },
};
