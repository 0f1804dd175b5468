import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { compiled, fromRoot } from '../support/paths.js';
import { type Running, start } from '../support/spawn.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { BOUND, childrenOf, configOf, demoEntry, runs, serveHanging, startDemoRemote, until } from './support.js';

/**
 * What a terminal signals goes to every process that it has in the foreground, at once: to a command and to all that it started. A
 * terminal that is closed signals SIGHUP, and takes no byte any more.
 */

const SCRIPT = '/usr/bin/script';
const ON_TERMINAL = { ...BOUND, skip: !existsSync(SCRIPT) && 'there is no script' };

/** What is done to the terminal, and what shells count for a command that it ends. */
const DEEDS = {
  'Ctrl-C': { key: '\x03', code: 130 },
  'Ctrl-\\': { key: '\x1c', code: 131 },
  'closing it': { key: undefined, code: undefined },
} as const;

interface OnTerminal {
  readonly running: Running;
  /** Of the command. */
  readonly pid: () => number;
}

function onTerminal(t: TestContext, cwd: string, ...words: string[]): OnTerminal {
  const command = [process.execPath, ...words].map((word) => `'${word}'`).join(' ');
  const running = start(t, SCRIPT, ['-qec', `exec ${command}`, '/dev/null'], { cwd });
  return { running, pid: () => childrenOf(running.child.pid as number)[0] as number };
}

function tree(pid: number): number[] {
  return [pid, ...childrenOf(pid).flatMap(tree)];
}

for (const [what, { key, code }] of Object.entries(DEEDS)) {
  /** Does it, and awaits the end of all that the command started; answers the command's exit code. */
  const deed = async (t: TestContext, { running, pid }: OnTerminal) => {
    const all = tree(pid());
    t.after(() => {
      for (const one of all) if (runs(one)) process.kill(one, 'SIGKILL');
    });
    if (key === undefined) running.child.kill('SIGKILL');
    else running.child.stdin.write(key);
    await until('all to end', () => !all.some(runs));
    return key === undefined ? undefined : (await running.finished).code;
  };

  test(`on a terminal ${what} stops the daemon in order, and its plugins with it`, ON_TERMINAL, async (t) => {
    const remote = await startDemoRemote(t);
    const cwd = tempFolder(t);
    const config = configOf({ demo: demoEntry(remote.url) }, { log: { level: 'info', format: 'json' } });
    writeTree(cwd, { 'config.json': JSON.stringify(config) });
    const serve = onTerminal(t, cwd, compiled('src/main.ts'), 'serve', '--config', 'config.json');
    await serve.running.waitFor(/"event":"daemon\.ready"/);
    assert.equal(await deed(t, serve), key === undefined ? undefined : 0);
    if (key !== undefined) assert.match(serve.running.output(), /"state":"draining"[\s\S]*"state":"stopped"/);
    // The lock of its state is free, and what it wrote there is whole.
    const words = [compiled('src/main.ts'), 'state', 'check', 'state'];
    const check = start(t, process.execPath, words, { cwd });
    const { code: checked, stdout, stderr } = await check.finished;
    assert.equal(checked, 0, stdout + stderr);
  });

  test(`on a terminal ${what} ends run and follow, and the task goes on`, ON_TERMINAL, async (t) => {
    const { remote, daemon, cwd } = await serveHanging(t);
    const words = (...some: string[]) => [compiled('src/main.ts'), ...some, '--json', '--address', daemon.grpc];
    const run = onTerminal(t, cwd, ...words('run', 'task.json'));
    const [, handle] = await run.running.waitFor(/"handle":"([^"]+)"/);
    await run.running.waitFor(/RUNNING/);
    assert.equal(await deed(t, run), code);
    const follow = onTerminal(t, cwd, ...words('follow', handle as string));
    await follow.running.waitFor(/RUNNING/);
    assert.equal(await deed(t, follow), code);
    assert.equal(remote.callsOf('cancel').length, 0, 'the task was not deleted');
  });

  test(`on a terminal ${what} ends the demo, and its daemon stops in order`, ON_TERMINAL, async (t) => {
    const demo = onTerminal(t, tempFolder(t), fromRoot('scripts', 'demo.mjs'));
    await demo.running.waitFor(/the daemon serves gRPC/);
    assert.equal(await deed(t, demo), code);
    assert.doesNotMatch(demo.running.output(), /forced|killed|still running/i);
  });
}
