import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isAlive } from './support.js';

const LONE_DAEMON = fileURLToPath(new URL('./lone-daemon.js', import.meta.url));

test('a plugin process ends by itself when its daemon is killed', { timeout: 60_000 }, async (t) => {
  const daemon = spawn(process.execPath, [LONE_DAEMON], { stdio: ['ignore', 'pipe', 'inherit'] });
  t.after(() => daemon.kill('SIGKILL'));
  const [line] = (await once(daemon.stdout, 'data')) as [Buffer];
  const pid = Number(line.toString());
  t.after(() => {
    if (isAlive(pid)) process.kill(pid, 'SIGKILL');
  });
  assert.ok(pid > 0 && isAlive(pid));
  daemon.kill('SIGKILL');
  await once(daemon, 'exit');
  // Its parent is gone, so nobody tells when it ends; the test's own time limit bounds the wait.
  while (isAlive(pid)) await new Promise((resolve) => setTimeout(resolve, 20));
  assert.equal(isAlive(pid), false);
});
