import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { compiled } from '../support/paths.js';
import { type Running, start } from '../support/spawn.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { BOUND, configOf, runs, until } from './support.js';

const LINUX = { ...BOUND, skip: process.platform !== 'linux' || !existsSync('/bin/sleep') };

/**
 * Starts, and marks by a variable of this test's: a process in its group, one in a session of its own, and one there that
 * goes on starting short ones (for 90 s at most, so that a test that fails leaves no load behind). Its close() does not end.
 */
const source = (id: string, token: string) => `
import { spawn } from 'node:child_process';
import { definePlugin, phases } from 'webapi-plugin-host';
const env = { ...process.env, STARTED_IN: '${token}' };
const leave = (detached, command) => spawn('/bin/sh', ['-c', command], { detached, env, stdio: 'ignore' });
export default definePlugin({
  id: '${id}', apiVersion: 1, taskTypes: ['${id}'],
  load: () => {
    leave(false, 'exec /bin/sleep 90');
    leave(true, 'exec /bin/sleep 90');
    leave(true, 'n=0; while [ $n -lt 900 ]; do n=$((n+1)); /bin/sleep 0.2 & /bin/sleep 0.1; done');
    return {
      async create() { return { resourceMeta: {} }; },
      async get() { return phases.running(); },
      async delete() {},
      close: () => new Promise(() => {}),
    };
  },
});
`;

/** Throws where nobody catches it, at a signal. */
const CRASH = `process.on('SIGWINCH', () => { throw new Error('a fault of the daemon itself'); });`;

/** Processes that a plugin of this test started and that run. */
function startedIn(token: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      if (!Number.isInteger(pid)) return false;
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(`STARTED_IN=${token}`) && runs(pid);
      } catch {
        return false;
      }
    });
}

interface Scene {
  readonly running: Running;
  /** What the plugins started. */
  left(): number[];
}

/** A daemon, or a check, with a plugin in a process and one in a thread, each of which has started others. */
async function begin(t: TestContext, command: string, shutdown: Record<string, string>): Promise<Scene> {
  const folder = tempFolder(t);
  const token = randomUUID();
  // A load() that never ends keeps a check where it is.
  const stuck = `export default { id: 'stuck', apiVersion: 1, taskTypes: ['stuck'], load: () => new Promise(() => {}) };`;
  const plugins = { p: { source: './p.mjs' }, w: { source: './w.mjs', isolation: 'worker' } };
  writeTree(folder, {
    'p.mjs': source('p', token),
    'w.mjs': source('w', token),
    'stuck.mjs': stuck,
    'crash.mjs': CRASH,
    'config.json': JSON.stringify(
      command === 'serve'
        ? configOf(plugins, { shutdown })
        : { plugins: { ...plugins, stuck: { source: './stuck.mjs', loadTimeout: '1h' } } },
    ),
  });
  const args = ['--import', './crash.mjs', compiled('src/main.ts'), command, '--config', 'config.json'];
  const running = start(t, process.execPath, args, { cwd: folder });
  t.after(() => {
    for (const pid of startedIn(token)) process.kill(pid, 'SIGKILL');
  });
  if (command === 'serve') await running.waitFor(/"event":"daemon\.ready"/);
  await until('both plugins to have started others', () => startedIn(token).length >= 8);
  return { running, left: () => startedIn(token) };
}

/** A kill is carried out a moment after it was sent; what starts others would go on doing so. */
async function assertNothingLeft({ left }: Scene): Promise<void> {
  await until('all that plugins started to end', () => left().length === 0);
  await new Promise((resolve) => setTimeout(resolve, 100));
  assert.deepEqual(left(), []);
}

const NEVER = { drainDelay: '1h', grace: '1h', forceAfter: '2h' };

test('a second signal ends what plugins started, too, in sessions of their own as well', LINUX, async (t) => {
  const scene = await begin(t, 'serve', NEVER);
  scene.running.child.kill('SIGTERM');
  await scene.running.waitFor(/"state":"draining"/);
  scene.running.child.kill('SIGINT');
  assert.equal((await scene.running.finished).code, 6);
  await assertNothingLeft(scene);
});

test('a stop that takes longer than forceAfter ends what plugins started, too', LINUX, async (t) => {
  const scene = await begin(t, 'serve', { drainDelay: '0ms', grace: '1ms', forceAfter: '1s' });
  scene.running.child.kill('SIGTERM');
  assert.equal((await scene.running.finished).code, 6);
  await assertNothingLeft(scene);
});

test('a crash of the daemon itself ends what plugins started, too', LINUX, async (t) => {
  const scene = await begin(t, 'serve', NEVER);
  scene.running.child.kill('SIGWINCH');
  const { code, stderr } = await scene.running.finished;
  assert.equal(code, 1);
  assert.match(stderr, /a fault of the daemon itself/);
  await assertNothingLeft(scene);
});

test('an orderly stop leaves nothing that plugins started', LINUX, async (t) => {
  const scene = await begin(t, 'serve', { drainDelay: '0ms', grace: '10s', forceAfter: '100s' });
  scene.running.child.kill('SIGTERM');
  assert.equal((await scene.running.finished).code, 0);
  await assertNothingLeft(scene);
});

for (const signals of [['SIGINT'], ['SIGHUP'], ['SIGTERM', 'SIGTERM'], ['SIGQUIT', 'SIGINT']] as const) {
  test(`a check that ${signals.join(' and ')} ends leaves nothing that plugins started`, LINUX, async (t) => {
    const scene = await begin(t, 'check', {});
    for (const signal of signals) scene.running.child.kill(signal);
    const { code } = await scene.running.finished;
    const codes = { SIGHUP: 129, SIGINT: 130, SIGQUIT: 131, SIGTERM: 143 };
    assert.ok(
      signals.some((signal) => codes[signal] === code),
      `${code}`,
    );
    await assertNothingLeft(scene);
  });
}
