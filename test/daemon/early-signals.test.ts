import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Running } from '../support/spawn.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { configOf, demoEntry, runs, spawnServe, until } from './support.js';

/** EARLY_SIGNALS=120 tries more moments. */
const MOMENTS = Number(process.env.EARLY_SIGNALS ?? 9);
const AT_ONCE = 4;
/** What a command ends with that had nothing to stop yet, and what the kernel ends it with that has not begun. */
const ENDS = {
  SIGTERM: [0, 143, 'SIGTERM'],
  SIGINT: [0, 130, 'SIGINT'],
  SIGKILL: ['SIGKILL'],
} as const;
const SIGNALS = Object.keys(ENDS) as (keyof typeof ENDS)[];

/** Processes with the variable, which the daemon hands on to its plugins' processes; those that start others do. */
function markedBy(token: string): number[] {
  return readdirSync('/proc')
    .map(Number)
    .filter((pid) => {
      if (!Number.isInteger(pid)) return false;
      try {
        return readFileSync(`/proc/${pid}/environ`, 'latin1').split('\0').includes(`no_proxy=${token}`) && runs(pid);
      } catch {
        return false;
      }
    });
}

/** A plugin that starts a process of its own as soon as it is imported. */
const OTHER = `
import { spawn } from 'node:child_process';
import { definePlugin, phases } from 'webapi-plugin-host';
spawn('/bin/sleep', ['60'], { detached: true, stdio: 'ignore' });
export default definePlugin({
  id: 'other', apiVersion: 1, taskTypes: ['other'],
  load: () => ({
    async create() { return { resourceMeta: {} }; },
    async get() { return phases.running(); },
    async delete() {},
  }),
});
`;

function begin(t: TestContext, token: string): Running {
  const folder = tempFolder(t);
  writeTree(folder, { 'other.mjs': OTHER });
  const plugins = { demo: demoEntry('http://127.0.0.1:9'), other: { source: './other.mjs' } };
  return spawnServe(t, configOf(plugins), folder, { no_proxy: token });
}

async function readyAfterMs(t: TestContext): Promise<number> {
  const since = performance.now();
  const running = begin(t, randomUUID());
  await running.waitFor(/"daemon\.ready"/);
  const took = performance.now() - since;
  running.child.kill('SIGTERM');
  assert.equal((await running.finished).code, 0);
  return took;
}

/** How the daemon ended that was sent the signal so long after its start. */
async function endOf(t: TestContext, signal: keyof typeof ENDS, afterMs: number): Promise<string> {
  const token = randomUUID();
  const running = begin(t, token);
  await sleep(afterMs);
  running.child.kill(signal);
  const { code, signal: by, stdout, stderr } = await running.finished;
  const seen = `${signal} after ${Math.round(afterMs)} ms: ${code ?? by}`;
  assert.ok((ENDS[signal] as readonly unknown[]).includes(code ?? by), `${seen}\n${stdout}${stderr}`);
  assert.doesNotMatch(stdout + stderr, /INTERNAL|daemon\.fault|"daemon\.failed"|\n\s+at /, seen);
  await until(`what ${seen} has left to end`, () => markedBy(token).length === 0);
  // Whoever is asked to stop while it starts goes no further with it.
  const [before, after] = stdout.split('"daemon.signal"');
  if (after !== undefined && !before!.includes('"daemon.ready"')) assert.doesNotMatch(after, /"daemon\.ready"/, seen);
  return seen;
}

test('a signal at any moment of a start ends it with the code of the documents, and leaves no process of a plugin', {
  timeout: 280_000,
  skip: !existsSync('/proc/self/environ') || !existsSync('/bin/sleep'),
}, async (t) => {
  const spanMs = await readyAfterMs(t);
  const moments = Array.from({ length: MOMENTS }, (_, i) => ({
    signal: SIGNALS[i % SIGNALS.length]!,
    afterMs: (spanMs * (i + Math.random())) / MOMENTS,
  }));
  const work = async () => {
    for (let next = moments.pop(); next !== undefined; next = moments.pop()) {
      t.diagnostic(await endOf(t, next.signal, next.afterMs));
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, work));
});
