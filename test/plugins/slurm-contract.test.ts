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
  // the first job goes on by one state with every read of it
  let read = 0;
  fake.override = (seen) => {
    const [first] = fake.jobs.values();
    if (first !== undefined && seen.method === 'GET' && seen.path === `job/${first.job_id}`) {
      const job_state = STORY[read++] ?? 'COMPLETED';
      Object.assign(first, { job_state, end_time: Math.floor(Date.now() / 1000) });
    }
    return false;
  };
  const keptJobs = (key: string) =>
    [...fake.jobs.values()].filter(({ comment, job_state }) => comment === key && job_state !== 'CANCELLED').length;
  const cluster = { url: fake.url, user: 'jobs', token: { secret: { group: 'slurm', key: 'token' } }, workDir };
  const report = await assertPlugin(slurm, {
    task: { type: 'slurm', custom: { script: 'true\n' }, outputs: { n: 'INTEGER', ratio: 'FLOAT' } },
    settings: { clusters: { main: cluster } },
    secrets: { 'slurm/token': 'token-1' },
    store,
    keptJobs,
  });
  assert.deepEqual(
    [...new Set(report.states.map((state) => state.phase))],
    ['QUEUED', 'INITIALIZING', 'RUNNING', 'SUCCESS'],
  );
  const last = report.states.at(-1)?.outputs;
  assert.ok(last?.kind === 'inline');
  assert.deepEqual(readLiteralMap(last.literalMap), { n: 4, ratio: 2 });
  // One to its end, one whose answer was lost, and two that passed each other.
  assert.equal(fake.submitted.length, 4);
});
