import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { type TestContext, test } from 'node:test';
import type { TaskStatus } from '../../src/client/index.js';
import { BOUND, configOf, FIXTURE_PLUGINS, startServe, statusWhere } from '../daemon/support.js';
import { libfaketime } from '../support/faketime.js';
import { tempFolder } from '../support/temp.js';

/**
 * The wall clock is stepped, as by NTP after a boot or by a virtual machine that resumes, while calls wait. Debian's libfaketime
 * steps it for the daemon and its plugins; the monotonic clock goes on as it did. A deadline that was taken from the wall clock
 * ends a call at once where it is stepped forward, and never where it is stepped back.
 */

const DEADLINE_MS = 20_000;

const seenOf = ({ phaseInfo }: TaskStatus) =>
  JSON.parse(phaseInfo.reason || '{}') as { reads?: number; wallMs?: number };

async function play(t: TestContext, step: string, stepMs: number): Promise<void> {
  const folder = tempFolder(t);
  const offset = path.join(folder, 'offset');
  writeFileSync(offset, '+0');
  const environment = { pass: ['LD_PRELOAD', 'FAKETIME_TIMESTAMP_FILE', 'FAKETIME_NO_CACHE', 'DONT_FAKE_MONOTONIC'] };
  const config = { resourceQuotas: { default: 1 }, caching: { resyncInterval: '5s' } };
  const plugins = {
    unhurried: { source: `${FIXTURE_PLUGINS}/unhurried.mjs`, environment, config },
    'unhurried-sync': { source: `${FIXTURE_PLUGINS}/unhurried-sync.mjs`, environment },
  };
  const { client } = await startServe(t, configOf(plugins), folder, {
    LD_PRELOAD: libfaketime(),
    FAKETIME_TIMESTAMP_FILE: offset,
    FAKETIME_NO_CACHE: '1',
    DONT_FAKE_MONOTONIC: '1',
  });
  let made = 0;
  const create = () =>
    client.create({ generatedName: `task-${++made}`, template: { type: 'unhurried' } }, { deadlineMs: DEADLINE_MS });
  const run = () =>
    client.do({ generatedName: `run-${++made}`, template: { type: 'unhurried_sync' } }, { deadlineMs: DEADLINE_MS });
  const { handle } = await create();
  const before = seenOf(await client.get(handle, { deadlineMs: DEADLINE_MS }));

  // None of them can be over before the step: each takes longer in its plugin, or waits for the only token.
  const under = [client.get(handle, { deadlineMs: DEADLINE_MS }), run(), create()] as const;
  writeFileSync(offset, step);
  const [got, ran, waiting] = await Promise.all(under);
  assert.equal(got.phaseInfo.phase, 'RUNNING');
  assert.equal(ran.phase, 'SUCCESS');
  assert.equal(waiting.status.phaseInfo.phase, 'WAITING_FOR_RESOURCES');

  const after = seenOf(await client.get(handle, { deadlineMs: DEADLINE_MS }));
  const moved = after.wallMs! - Date.now();
  assert.ok(Math.abs(moved - stepMs) < 30_000, `the wall clock was stepped, by ${moved} ms`);
  assert.equal((await run()).phase, 'SUCCESS');
  await statusWhere(client, handle, 'that is read on', (status) => (seenOf(status).reads ?? 0) > after.reads!);
  assert.ok(after.reads! > before.reads!);

  await client.delete(handle, { deadlineMs: DEADLINE_MS });
  await statusWhere(client, waiting.handle, 'that has the token', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
}

for (const [step, stepMs] of [
  ['-60', -60_000],
  ['+3600', 3_600_000],
] as const) {
  test(`calls that wait are answered, and tasks read on, when the wall clock is stepped by ${step} s`, BOUND, (t) =>
    play(t, step, stepMs),
  );
}
