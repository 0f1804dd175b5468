import assert from 'node:assert/strict';
import { test } from 'node:test';
import { assertPlugin, MemoryStore, readLiteralMap } from 'webapi-plugin-host/testing';
import slurm from '../../plugins/slurm/index.js';
import { FakeSlurm } from './slurm-fake.js';
import { scratch } from './slurm-support.js';

const STORY = ['PENDING', 'CONFIGURING', 'RUNNING', 'COMPLETING'];

test("the plugin keeps the host's contract, from create to the outputs in its outputs.json", async (t) => {
  const fake = await FakeSlurm.start();
  t.after(() => fake.stop());
  const workDir = scratch(t);
  const store = new MemoryStore();
  await store.put('s3://test/outputs/outputs.json', Buffer.from('{"n": 4, "ratio": 2}'));
  // the job goes on by one state with every read
  let read = 0;
  fake.override = (seen) => {
    if (seen.method === 'GET' && seen.path.startsWith('job/')) {
      const job_state = STORY[read++] ?? 'COMPLETED';
      for (const job of fake.jobs.values()) Object.assign(job, { job_state, end_time: Math.floor(Date.now() / 1000) });
    }
    return false;
  };
  const cluster = { url: fake.url, user: 'jobs', token: { secret: { group: 'slurm', key: 'token' } }, workDir };
  const report = await assertPlugin(slurm, {
    task: { type: 'slurm', custom: { script: 'true\n' }, outputs: { n: 'INTEGER', ratio: 'FLOAT' } },
    settings: { clusters: { main: cluster } },
    secrets: { 'slurm/token': 'token-1' },
    store,
  });
  assert.deepEqual(
    [...new Set(report.states.map((state) => state.phase))],
    ['QUEUED', 'INITIALIZING', 'RUNNING', 'SUCCESS'],
  );
  const last = report.states.at(-1)?.outputs;
  assert.ok(last?.kind === 'inline');
  assert.deepEqual(readLiteralMap(last.literalMap), { n: 4, ratio: 2 });
  assert.equal(fake.submitted.length, 1);
});
