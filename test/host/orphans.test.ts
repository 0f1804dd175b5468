import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { isAlive } from './support.js';

const LONE_DAEMON = fileURLToPath(new URL('./lone-daemon.js', import.meta.url));

for (const [what, argument] of [
  ['idle', 'idle'],
  ['spinning', 'spin'],
] as const) {
  const skip = argument === 'spin' && !hasParentDeathSignal() ? 'needs setpriv of util-linux' : false;
  test(`a plugin process that is ${what} ends when its daemon is killed`, { timeout: 60_000, skip }, async (t) => {
    const daemon = spawn(process.execPath, [LONE_DAEMON, argument], { stdio: ['ignore', 'pipe', 'inherit'] });
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
}

function hasParentDeathSignal(): boolean {
  const args = ['--pdeathsig', 'KILL', process.execPath, '--version'];
  return spawnSync('/usr/bin/setpriv', args, { stdio: 'ignore' }).status === 0;
}
