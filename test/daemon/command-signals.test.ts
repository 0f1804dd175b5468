import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { compiled, fromRoot } from '../support/paths.js';
import { type Running, start } from '../support/spawn.js';
import { BOUND, childrenOf, type DaemonProcess, runs, serveHanging, until } from './support.js';

/** What shells count for a process that a signal ended; the commands end by themselves with the same. */
const ENDS = [
  ['SIGHUP', 129],
  ['SIGINT', 130],
  ['SIGQUIT', 131],
  ['SIGTERM', 143],
] as const;

function command(t: TestContext, daemon: DaemonProcess, cwd: string, ...words: string[]): Running {
  return start(t, process.execPath, [compiled('src/main.ts'), ...words, '--address', daemon.grpc], { cwd });
}

/** Signals that mean nothing, and then one that ends it. */
async function end(running: Running, signal: NodeJS.Signals) {
  for (const nothing of ['SIGUSR1', 'SIGUSR2', 'SIGPIPE'] as const) running.child.kill(nothing);
  running.child.kill(signal);
  const ended = await running.finished;
  assert.doesNotMatch(ended.stderr, /Debugger listening/);
  return ended;
}

for (const [signal, code] of ENDS) {
  test(`run and follow end with ${code} at ${signal}, and the task goes on`, BOUND, async (t) => {
    const { remote, daemon, cwd } = await serveHanging(t);
    const run = command(t, daemon, cwd, 'run', 'task.json', '--json');
    const [, handle] = await run.waitFor(/"handle":"([^"]+)"/);
    await run.waitFor(/RUNNING/);
    assert.equal((await end(run, signal)).code, code);
    const follow = command(t, daemon, cwd, 'follow', handle as string, '--json');
    await follow.waitFor(/RUNNING/);
    assert.equal((await end(follow, signal)).code, code);
    assert.equal(remote.callsOf('cancel').length, 0, 'the task was not deleted');
    daemon.running.child.kill('SIGTERM');
    assert.equal((await daemon.running.finished).code, 0);
  });
}

for (const [signal, code] of ENDS) {
  test(`the demo ends with ${code} at ${signal}, and its daemon and plugins with it`, BOUND, async (t) => {
    const demo = start(t, process.execPath, [fromRoot('scripts', 'demo.mjs')]);
    await demo.waitFor(/the daemon serves gRPC/);
    const [daemon] = childrenOf(demo.child.pid as number);
    const left = [daemon as number, ...childrenOf(daemon as number)];
    assert.ok(left.length >= 2);
    t.after(() => {
      for (const pid of left) if (runs(pid)) process.kill(pid, 'SIGKILL');
    });
    assert.equal((await end(demo, signal)).code, code);
    await until('nothing to be left running', () => !left.some(runs));
  });
}
