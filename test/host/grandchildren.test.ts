import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { isAlive, startHost, untilState } from './support.js';

const BOUND = { timeout: 60_000 };

/** Starts a process in its own group and one in a session of its own, and says which. */
const SOURCE = `
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { definePlugin, phases } from 'webapi-plugin-host';
const sleeper = (detached) => spawn('/bin/sleep', ['300'], { detached, stdio: 'ignore' }).pid;
export default definePlugin({
  id: 'p', apiVersion: 1, taskTypes: ['x'],
  load: () => {
    writeFileSync(import.meta.dirname + '/pids', JSON.stringify([sleeper(false), sleeper(true)]));
    return { async create() { return { resourceMeta: {} }; }, async get() { return phases.running(); }, async delete() {} };
  },
});
`;

for (const isolation of ['process', 'worker'] as const) {
  for (const end of isolation === 'process'
    ? (['an orderly stop', 'a crash'] as const)
    : (['an orderly stop'] as const)) {
    const skip = process.platform !== 'linux' || !existsSync('/bin/sleep');
    test(`what a plugin (${isolation}) started ends with ${end}, in a session of its own too`, {
      ...BOUND,
      skip,
    }, async (t) => {
      const dir = mkdtempSync(path.join(os.tmpdir(), 'plugin-'));
      t.after(() => rmSync(dir, { recursive: true, force: true }));
      const file = path.join(dir, 'p.mjs');
      writeFileSync(file, SOURCE);
      const { host, plugin } = await startHost(t, [{ source: file, isolation }]);
      const pids = JSON.parse(readFileSync(path.join(dir, 'pids'), 'utf8')) as number[];
      t.after(() => {
        for (const pid of pids) if (isAlive(pid)) process.kill(pid, 'SIGKILL');
      });
      assert.deepEqual(pids.map(isAlive), [true, true]);
      if (end === 'a crash') {
        const gone = untilState(plugin('p'), 'restarting');
        process.kill(plugin('p').pid!, 'SIGKILL');
        await gone;
      } else await host.stop(0);
      // A kill is carried out a moment after it was sent.
      while (pids.some(isAlive)) await new Promise((resolve) => setTimeout(resolve, 20));
    });
  }
}
