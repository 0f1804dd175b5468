import { existsSync, writeSync } from 'node:fs';
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

/** All of it, however often the pipe is full. */
function writeAll(bytes: Buffer): void {
  for (let at = 0; at < bytes.length; ) {
    try {
      at += writeSync(CHANNEL, bytes, at);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/** Writes the largest log lines that it may, behind the back of its runtime, for as long as the file `flag` is there. */
export default definePlugin<{ readonly flag: string }, Record<string, never>>({
  id: 'flooding',
  apiVersion: 1,
  taskTypes: ['flooding'],
  load({ settings }) {
    setInterval(() => {
      while (existsSync(settings.flag)) writeAll(LINE);
    }, LOOK_MS);
    return {
      create: () => Promise.resolve({ resourceMeta: {} }),
      get: () => Promise.resolve(phases.running()),
      delete: () => Promise.resolve(),
    };
  },
});
