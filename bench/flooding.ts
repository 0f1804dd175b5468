import { readFileSync, writeSync } from 'node:fs';
import { definePlugin, phases } from 'webapi-plugin-host';

const LOOK_MS = 20;
/** The descriptor on which a plugin's process talks with the daemon. */
const CHANNEL = 3;
/** Just below what a frame with a log line may have of text. */
const LINE_BYTES = 65_000;

function frame(text: string): Buffer {
  const json = Buffer.from(text);
  const head = Buffer.alloc(8);
  head.writeUInt32BE(4 + json.length, 0);
  head.writeUInt32BE(json.length, 4);
  return Buffer.concat([head, json]);
}

const LINE = frame(
  JSON.stringify({ t: 'log', p: 0, level: 'info', msg: 'x', fields: { k: 'x'.repeat(LINE_BYTES - 100) } }),
);

const OUTPUTS = [1, 2];
/** What a pipe takes in one go, of each kind that costs whoever reads lines something else. */
const PRINTED = ['x', 'x\n', '\n', `${'x'.repeat(8_000)}\n`].map((text) =>
  Buffer.from(text.repeat(Math.ceil(LINE_BYTES / text.length))),
);

/** All of it, however often the pipe is full. */
function writeAll(fd: number, bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(fd, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

const FLOODS: Readonly<Record<string, () => void>> = {
  channel: () => writeAll(CHANNEL, LINE),
  output: () => {
    for (const bytes of PRINTED) for (const fd of OUTPUTS) writeAll(fd, bytes);
  },
};

/** What it is to flood; undefined where it is not to. */
function floodOf(flag: string): (() => void) | undefined {
  try {
    return FLOODS[readFileSync(flag, 'utf8')];
  } catch {
    return undefined;
  }
}

/**
 * For as long as the file `flag` is there, writes what that says: `channel`, the largest log lines that it may, behind the back of its
 * runtime; `output`, text without an end, short lines, empty and long ones, to both its outputs.
 */
export default definePlugin<{ readonly flag: string }, Record<string, never>>({
  id: 'flooding',
  apiVersion: 1,
  taskTypes: ['flooding'],
  load({ settings }) {
    setInterval(() => {
      for (let flood = floodOf(settings.flag); flood !== undefined; flood = floodOf(settings.flag)) flood();
    }, LOOK_MS);
    return {
      create: () => Promise.resolve({ resourceMeta: {} }),
      get: () => Promise.resolve(phases.running()),
      delete: () => Promise.resolve(),
    };
  },
});
