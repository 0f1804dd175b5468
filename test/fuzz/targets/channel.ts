import { isDeepStrictEqual } from 'node:util';
import { ChannelError } from '../../../src/channel/channel-error.js';
import { encodeFrame, FrameDecoder } from '../../../src/channel/frame.js';
import { CHILD_BOUNDS } from '../../../src/channel/frame-bounds.js';
import { type ChildMessage, parseChildMessage } from '../../../src/channel/messages.js';
import type { Dice } from '../../support/decisions.js';
import { below, mutateBytes, oneOf } from '../bytes.js';
import { Finding, type Target } from '../target.js';
import { mutateValue } from '../values.js';

const MAX_BYTES = 1024 * 1024;

/** One message of each kind that a plugin's process sends. */
const MESSAGES: readonly ChildMessage[] = [
  { t: 'ready' },
  {
    t: 'imported',
    p: 0,
    facts: { id: 'p', version: '1', taskTypes: [{ name: 'x', versions: [1] }], isDefault: false, environment: ['A_*'] },
  } as unknown as ChildMessage,
  {
    t: 'loaded',
    p: 0,
    facts: { kind: 'async', features: { getMany: { maxBatch: 9, batchKeys: false }, findsByKey: true } },
  } as unknown as ChildMessage,
  { t: 'failed', p: 1, failure: { code: 'PLUGIN_IMPORT_FAILED', message: 'no such file' } } as ChildMessage,
  {
    t: 'answer',
    id: 7,
    v: { meta: Buffer.from('{"job":1}'), list: [{ reason: 'r'.repeat(5_000), bytes: Buffer.alloc(30) }] },
  },
  {
    t: 'error',
    id: 8,
    f: { kind: 'transient', message: 'x', code: 'X', faultKind: 'SYSTEM', retryAfterMs: 5 },
  } as unknown as ChildMessage,
  { t: 'log', p: 0, level: 'info', msg: 'said', fields: { a: [1, null, { b: true }] } },
  { t: 'metric', p: 0, kind: 'observe', name: 'x_seconds', values: [1, 2.5] },
  { t: 'secret', n: 3, value: Buffer.from('told') },
  { t: 'pong', rss: 1_000_000, abandoned: 0 },
  { t: 'closed' },
];
const FRAMES = MESSAGES.map((message) => Buffer.concat(encodeFrame(message, MAX_BYTES, CHILD_BOUNDS).parts));

/** All messages in some bytes that come in pieces. Throws what the decoder throws. */
function readAll(dice: Dice, bytes: Buffer, decoder: FrameDecoder, each: (message: unknown) => void): void {
  for (let at = 0; at < bytes.length; ) {
    const end = at + 1 + below(dice, bytes.length - at);
    // A pipe is read into the same memory again and again.
    const passing = Buffer.from(bytes.subarray(at, end));
    decoder.push(passing);
    at = end;
    for (let next = decoder.next(); next !== undefined; next = decoder.next()) each(next.message);
    decoder.keep();
    passing.fill(0);
  }
  if (decoder.heldBytes > MAX_BYTES + bytes.length) throw new Finding('wrong', `${decoder.heldBytes} bytes are held`);
}

function onlyChannelErrors(run: () => void): void {
  try {
    run();
  } catch (error) {
    if (!(error instanceof ChannelError)) throw error;
  }
}

export const fromPlugin: Target = {
  name: 'channel-in',
  summary: 'frames from a plugin process: messages that pass every check, or a ChannelError',
  open: () => ({
    one(dice) {
      const message = () => Buffer.concat(encodeFrame(mutateValue(dice, oneOf(dice, MESSAGES)), MAX_BYTES).parts);
      onlyChannelErrors(() => {
        const frames = Array.from({ length: 1 + below(dice, 3) }, () =>
          dice.chance(0.5) ? message() : oneOf(dice, FRAMES),
        );
        const sent = Buffer.concat(frames);
        const bytes = dice.chance(0.6) ? mutateBytes(dice, sent, FRAMES) : sent;
        readAll(dice, bytes, new FrameDecoder(MAX_BYTES, CHILD_BOUNDS), (read) => void parseChildMessage(read));
      });
    },
  }),
};

const CALL = {
  t: 'call',
  id: 1,
  p: 0,
  method: 'create',
  args: {
    key: 'k',
    template: Buffer.from('template'),
    inputs: { a: 1, b: ['x', { $b: [0, 1] }] },
    secrets: { token: 's' },
  },
  deadlineMs: 1_000,
};

export const toPlugin: Target = {
  name: 'channel-out',
  summary:
    'messages to a plugin process: they arrive as they were sent, or are refused; changed bytes end in a ChannelError',
  open: () => ({
    one(dice) {
      const message = mutateValue(dice, CALL);
      onlyChannelErrors(() => {
        const bytes = Buffer.concat(encodeFrame(message, MAX_BYTES).parts);
        const arrived: unknown[] = [];
        readAll(dice, bytes, new FrameDecoder(MAX_BYTES), (read) => arrived.push(read));
        if (!isDeepStrictEqual(plain(arrived), plain([message])))
          throw new Finding('wrong', `arrived changed: ${show(message)}`);
        readAll(dice, mutateBytes(dice, bytes, FRAMES), new FrameDecoder(MAX_BYTES), () => undefined);
      });
    },
  }),
};

/** With every array of bytes of one class, -0 as JSON has it, and halves of characters as UTF-8 has them. */
function plain(value: unknown): unknown {
  if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value === 'object' && value !== null) {
    return Object.entries(value).map(([key, inner]) => [plain(key), plain(inner)]);
  }
  if (typeof value === 'string') return Buffer.from(value).toString();
  return value === 0 ? 0 : value;
}

const show = (value: unknown): string => JSON.stringify(value)?.slice(0, 300) ?? String(value);
