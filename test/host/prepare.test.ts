import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { completeEntry } from '../../src/host/load/entry.js';
import { createPluginHost } from '../../src/host/plugin-host.js';
import type { PluginHost } from '../../src/host/types.js';
import { systemClock } from '../../src/lib/clock.js';
import { FIXTURES, isAlive, QUICK } from './support.js';

const LINUX = { timeout: 60_000, skip: process.platform !== 'linux' };

/** Says at its import in which process that is. */
const SOURCE = `
import { writeFileSync } from 'node:fs';
import { definePlugin, phases } from 'webapi-plugin-host';
writeFileSync(import.meta.dirname + '/imported', String(process.pid));
export default definePlugin({
  id: 'p', apiVersion: 1, taskTypes: ['x'],
  load: () => ({ async create() { return { resourceMeta: {} }; }, async get() { return phases.running(); }, async delete() {} }),
});
`;

interface Prepared {
  readonly host: PluginHost;
  readonly child: number;
  /** The process that imported the plugin; undefined before. */
  readonly importedIn: () => number | undefined;
}

/** A host whose only process was started ahead. */
async function prepared(t: TestContext): Promise<Prepared> {
  const dir = mkdtempSync(path.join(os.tmpdir(), 'plugin-'));
  t.after(() => rmSync(dir, { recursive: true, force: true }));
  writeFileSync(path.join(dir, 'p.mjs'), SOURCE);
  const host = createPluginHost({
    entries: [completeEntry({ source: path.join(dir, 'p.mjs') })],
    clock: systemClock,
    random: () => 0.5,
    data: {
      dataStore: { localRoots: [], maxObjectBytes: 1024 },
      secrets: { envPrefixes: [] },
      maxOutputBytes: 1024,
    },
    baseDir: FIXTURES,
    env: {},
    limits: QUICK,
    events: { log: () => {}, metric: () => {}, changed: () => {}, lifecycle: () => {} },
  });
  const alive = setInterval(() => undefined, 1_000);
  t.after(async () => {
    await host.stop(0);
    clearInterval(alive);
  });
  const before = new Set(children());
  host.prepare();
  const [child] = children().filter((pid) => !before.has(pid));
  assert.ok(child !== undefined, 'a process was started');
  const imported = path.join(dir, 'imported');
  const importedIn = () => (existsSync(imported) ? Number(readFileSync(imported, 'utf8')) : undefined);
  // Long enough for a process that imported something by itself.
  await sleep(500);
  assert.equal(importedIn(), undefined, 'nothing is imported before the start');
  return { host, child, importedIn };
}

function children(): number[] {
  const told = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8');
  return told.split(' ').filter(Boolean).map(Number);
}

test('a process that was started ahead imports its plugin with the start, and serves it', LINUX, async (t) => {
  const { host, child, importedIn } = await prepared(t);
  await host.start();
  assert.equal(host.plugin('p')?.state, 'serving');
  assert.equal(host.plugin('p')?.pid, child);
  assert.equal(importedIn(), child);
});

test('a process that was started ahead ends with a host that never starts', LINUX, async (t) => {
  const { host, child, importedIn } = await prepared(t);
  await host.stop(0);
  assert.equal(isAlive(child), false);
  assert.equal(importedIn(), undefined);
});

test('a process that was started ahead is among those that a kill of all ends', LINUX, async (t) => {
  const { host, child } = await prepared(t);
  host.killAll();
  while (isAlive(child)) await sleep(10);
});

for (const [when, pause] of [
  ['just before the start', () => undefined],
  // Longer than the last words of a process are awaited.
  ['before the start, by a daemon that hears of it late', () => standStill(1_500)],
] as const) {
  test(`a process that was started ahead and is killed ${when} costs its plugin nothing`, LINUX, async (t) => {
    const { host, child } = await prepared(t);
    process.kill(child, 'SIGKILL');
    const started = host.start();
    await new Promise((resolve) => setImmediate(resolve));
    pause();
    const [result] = (await started).results;
    assert.ok([undefined, 'PLUGIN_START_STARVED'].includes(result?.error?.code), result?.error?.message);
    while (host.plugin('p')?.state !== 'serving') await sleep(10);
    assert.equal(host.route('x', 0).id, 'p');
  });
}

function standStill(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
