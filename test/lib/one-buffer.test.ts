import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { test } from 'node:test';
import { pipeInOneBuffer } from '../../src/lib/one-buffer.js';

const BOUND = { timeout: 60_000 };
const LINES = 60_000;

/** A process that prints numbered lines, some 5 MB of them. */
function printing(): Socket {
  const code = `let text = ''; for (let i = 0; i < ${LINES}; i++) text += \`\${i} \${'x'.repeat(80)}\\n\`; process.stdout.write(text);`;
  return spawn(process.execPath, ['-e', code], { stdio: ['ignore', 'pipe', 'ignore'] }).stdout as Socket;
}

test(
  'what a child process prints is read into one piece of memory on every release of Node, and arrives whole',
  BOUND,
  async () => {
    const made = printing();
    const pipe = pipeInOneBuffer(made);
    assert.notEqual(pipe, made, 'this Node calls the handle of a socket otherwise: see one-buffer.ts');
    const memories = new Set<ArrayBufferLike>();
    let text = '';
    let chunks = 0;
    pipe.on('data', (chunk: Buffer) => {
      memories.add(chunk.buffer);
      text += chunk.toString('latin1');
      chunks += 1;
      if (chunks % 7 > 0) return;
      // Whoever is behind lets it wait in the pipe.
      pipe.pause();
      setTimeout(() => pipe.resume(), 1);
    });
    const closed = once(pipe, 'close');
    await once(pipe, 'end');
    await closed;
    const lines = text.split('\n');
    assert.equal(lines.pop(), '');
    assert.equal(lines.length, LINES);
    assert.deepEqual(
      lines.findIndex((line, at) => !line.startsWith(`${at} `)),
      -1,
    );
    assert.ok(chunks > 10, `${chunks} chunks`);
    assert.equal(memories.size, 1);
  },
);

test('nothing comes while it is paused', BOUND, async () => {
  const pipe = pipeInOneBuffer(printing());
  let chunks = 0;
  pipe.on('data', () => {
    chunks += 1;
    pipe.pause();
  });
  for (let resumed = 1; resumed <= 5; resumed++) {
    while (chunks < resumed) await new Promise((resolve) => setTimeout(resolve, 5));
    await new Promise((resolve) => setTimeout(resolve, 20));
    assert.equal(chunks, resumed);
    pipe.resume();
  }
  pipe.destroy();
  await once(pipe, 'close');
});

test('a pipe that Node made otherwise is read as it is', () => {
  const made = { _handle: {} } as unknown as Socket;
  assert.equal(pipeInOneBuffer(made), made);
  const closed = {} as unknown as Socket;
  assert.equal(pipeInOneBuffer(closed), closed);
});
