import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { Hosting } from '../../src/daemon/hosting.js';
import { createDaemon } from '../../src/daemon.js';
import { systemClock } from '../../src/lib/clock.js';
import { SecretMasks } from '../../src/lib/secrets.js';
import { createLog } from '../../src/telemetry/index.js';
import { load } from '../config/support.js';
import { FIXTURE_PLUGINS } from './support.js';

const LINUX = { timeout: 60_000, skip: process.platform !== 'linux' };

function children(): number[] {
  const told = readFileSync(`/proc/${process.pid}/task/${process.pid}/children`, 'utf8');
  return told.split(' ').filter(Boolean).map(Number);
}

/** What a daemon is made of, with one plugin. */
function optionsOf(t: TestContext) {
  const source = path.join(FIXTURE_PLUGINS, 'steady.mjs');
  const text = JSON.stringify({
    grpc: { host: '127.0.0.1', port: 0 },
    admin: { host: '127.0.0.1', port: 0 },
    state: { engine: 'none' },
    shutdown: { drainDelay: '0ms' },
    plugins: { steady: { source } },
  });
  const alive = setInterval(() => undefined, 1_000);
  t.after(() => clearInterval(alive));
  return {
    config: load({ 'a.json': text }),
    version: '1',
    log: createLog({ level: 'silent' }),
    masks: new SecretMasks(),
    clock: systemClock,
    baseDir: '/',
    env: {},
    processMetrics: false,
  };
}

test(
  'processes that came up before the daemon was made are those that serve it, and no others are started',
  LINUX,
  async (t) => {
    const options = optionsOf(t);
    const hosting = new Hosting(options);
    hosting.prepare();
    const early = children();
    assert.equal(early.length, 1);
    hosting.prepare();
    assert.deepEqual(children(), early);
    const daemon = createDaemon({ ...options, hosting });
    await daemon.start();
    t.after(() => daemon.stop());
    assert.deepEqual(children(), early);
    assert.equal(hosting.host().plugin('steady')?.pid, early[0]);
  },
);

test(
  'what came up for a daemon that is never made is ended, and where nothing did there is nothing to end',
  LINUX,
  async (t) => {
    const hosting = new Hosting(optionsOf(t));
    hosting.killAll();
    assert.deepEqual(children(), []);
    hosting.prepare();
    assert.equal(children().length, 1);
    hosting.killAll();
    while (children().length > 0) await sleep(10);
  },
);
