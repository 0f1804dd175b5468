import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { METRICS } from '../../src/telemetry/index.js';
import { makeSource, serveAdmin } from '../admin/support.js';
import { everythingOnce, makeTelemetry } from './support.js';

test('promtool, of the Debian package prometheus, has nothing to say against a scrape with every metric in it', async (t) => {
  const telemetry = makeTelemetry(['slurm', 'demo'], true);
  everythingOnce(telemetry);
  for (const kind of ['count', 'gauge', 'observe'] as const) {
    telemetry.hostEvents.metric({ pluginId: 'slurm', kind, name: `things_${kind}ed`, value: 1 });
  }
  const { call } = await serveAdmin(t, { source: { ...makeSource(), metrics: () => telemetry.scrape() } });
  const input = await (await call('/metrics')).text();
  const absent = Object.keys(METRICS).filter((name) => !input.includes(`# TYPE ${name} `));
  assert.deepEqual(absent, [], 'not in the scrape');
  const { status, error, stdout, stderr } = spawnSync('promtool', ['check', 'metrics'], { input, encoding: 'utf8' });
  assert.equal(error, undefined, 'promtool cannot be run');
  assert.equal(status, 0, stdout + stderr);
  assert.equal(stdout + stderr, '');
});
