import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

/**
 * The same ones each time, so that a rare case stops nobody who changes something else. Others, and more, on demand:
 * `node dist/test/tasks/book/run.js 20000`, with the seed and path of a case that failed.
 */
const CASES = 150;
const SEED = 777;

test('over not found, outages, poisoned jobs, lost answers and restarts no job runs unseen, none runs twice, and new work goes on', async () => {
  // In a process of its own: the hooks of node:test cost most of the time where so many promises are made.
  const child = spawn(process.execPath, [
    fileURLToPath(new URL('book/run.js', import.meta.url)),
    String(CASES),
    String(SEED),
  ]);
  let told = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (bytes: Buffer) => (told += bytes.toString()));
  const code = await new Promise((resolve) => child.on('close', resolve));
  assert.equal(code, 0, told);
});
