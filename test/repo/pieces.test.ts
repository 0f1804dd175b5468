import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { ownFiles } from '../support/files.js';
import { fromRoot } from '../support/paths.js';

/** Pieces that are kept one by one, or put together anew with each that comes. */
const KEPT = /\b(push|concat)\([^()]*\b(chunk|piece)\b/;

/** They hold pieces for a reason, and count them by what they cost. */
const HELD: ReadonlySet<string> = new Set([
  // A stream of Node's own, which is paused above its bound.
  'src/rpc/edge/edge.ts',
  'src/channel/port-stream.ts',
  // Gathers by itself, whole frames and what follows them.
  'src/channel/channel.ts',
  'src/channel/frame.ts',
]);

const linesOf = (source: string): number[] =>
  source.split('\n').flatMap((line, at) => (KEPT.test(line) && !line.includes('gathered.') ? [at + 1] : []));

test('what comes in pieces is gathered as it comes: many small pieces would cost many times their bytes', () => {
  const files = ownFiles().filter((file) => /^src\/.*\.ts$/.test(file) && !file.includes('generated'));
  assert.ok(files.length >= 100, `only ${files.length} files looked at`);
  const found = files
    .filter((file) => !HELD.has(file))
    .flatMap((file) => linesOf(readFileSync(fromRoot(file), 'utf8')).map((line) => `${file}:${line}`));
  assert.deepEqual(found, []);
});

test('planted lists of pieces are found, and what gathers is not', () => {
  const source = [
    'for await (const piece of body) chunks.push(piece);',
    "stream.on('data', (chunk: Buffer) => chunks.push(chunk));",
    'at = Buffer.concat([at, chunk]);',
    'gathered.add(chunk);',
    "if (gathered.bytes > 0) stream.emit('data', gathered.all());",
  ].join('\n');
  assert.deepEqual(linesOf(source), [1, 2, 3]);
});
