import { test } from 'node:test';
import { sharedServer } from '../postgres/server.js';
import { comparedWithOne } from './comparison.js';

const TASKS = Number(process.env.REPLICA_TASKS ?? 2_000);

const shared = sharedServer('work');

test(`${TASKS} tasks over three replicas each end once within limits and quota, and cost the remote the calls of a single daemon`, {
  timeout: 120_000 + TASKS * 150,
}, async (t) => {
  const { stop } = await comparedWithOne(t, shared, { tasks: TASKS, parts: 1 });
  await stop();
});
