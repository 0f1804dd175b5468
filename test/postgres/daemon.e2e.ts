import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { startCli } from '../cli/support.js';
import {
  configOf,
  demoEntry,
  logOf,
  spawnServe,
  startDemoRemote,
  startServe,
  statusWhere,
  until,
} from '../daemon/support.js';
import { tempFolder } from '../support/temp.js';
import { sharedServer } from './server.js';

/** Each starts several daemons, one after the other. */
const BOUND = { timeout: 290_000 };
const LEASE_MS = 2_000;

const shared = sharedServer('daemon');

function inPostgres(changes: Record<string, unknown> = {}) {
  const place = { host: '127.0.0.1', port: shared.server.port, database: 'postgres', user: 'tester', lease: LEASE_MS };
  return { engine: 'postgres', postgres: { ...place, schema: shared.newSchema(), ...changes } };
}

const task = (generatedName: string, type: string, custom: Record<string, number> = {}) => ({
  generatedName,
  template: { type, custom },
});

test(
  'a daemon that was killed finds its tasks, ends and owed deletes in the database, and its jobs run once',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const config = configOf({ demo: demoEntry(remote.url) }, { state: inPostgres() });
    const first = await startServe(t, config);
    const hung = await first.client.create(task('hung', 'demo_hang'));
    await statusWhere(first.client, hung.handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    const over = await first.client.create(task('over', 'demo_sleep', { seconds: 0.05 }));
    assert.equal((await first.client.waitForEnd(over.handle, { timeoutMs: 60_000 })).phaseInfo.phase, 'SUCCESS');
    remote.control.down = true;
    const waiting = await first.client.create(task('waiting', 'demo_sleep', { seconds: 0.05 }), { deadlineMs: 6_000 });
    await first.client.delete(hung.handle);
    first.running.child.kill('SIGKILL');
    await first.running.finished;
    remote.control.down = false;

    const second = await startServe(t, config);
    const loaded = logOf(second.running).find(({ event }) => event === 'state.loaded');
    assert.match(String(loaded?.at), /^PostgreSQL at 127\.0\.0\.1:\d+\/postgres, schema daemon_\d+$/);
    assert.equal(loaded?.deletesOwed, 1);
    await until('the owed delete', () => logOf(second.running).some(({ event }) => event === 'delete.done'));
    assert.equal((await second.client.waitForEnd(waiting.handle, { timeoutMs: 100_000 })).phaseInfo.phase, 'SUCCESS');
    const again = await second.client.create(task('over', 'demo_sleep', { seconds: 0.05 }));
    assert.deepEqual(again.handle, over.handle, 'the repeat of an attempt that is over');
  },
);

test(
  'a second daemon on the schema of one that lives ends with 5 and names it; a stop leaves it free at once',
  BOUND,
  async (t) => {
    const config = configOf({}, { state: inPostgres() });
    const first = await startServe(t, config);
    const refused = await spawnServe(t, config).finished;
    assert.equal(refused.code, 5);
    assert.match(
      refused.stderr,
      new RegExp(`STATE_LOCKED: .* belongs to a daemon that lives \\(.*process ${first.pid}\\)`),
    );
    first.running.child.kill('SIGTERM');
    assert.equal((await first.running.finished).code, 0);
    await startServe(t, config);
  },
);

test(
  'a daemon that was frozen for longer than a lease writes nothing once another one has its state',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const config = configOf({ demo: demoEntry(remote.url) }, { state: inPostgres() });
    const first = await startServe(t, config);
    const kept = await first.client.create(task('kept', 'demo_hang'));
    await statusWhere(first.client, kept.handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    first.running.child.kill('SIGSTOP');
    const second = await startServe(t, config);
    assert.equal((await second.client.status(kept.handle)).phaseInfo.phase, 'RUNNING');
    first.running.child.kill('SIGCONT');
    await assert.rejects(first.client.create(task('late', 'demo_hang'), { deadlineMs: 5_000 }));
    await until('the first to say so', () => logOf(first.running).some(({ code }) => code === 'STATE_LOCKED'));
    assert.equal(remote.created, 1, 'no create is sent whose mark is not safe');
    assert.equal((await second.client.status(kept.handle)).phaseInfo.phase, 'RUNNING');
  },
);

test(
  'without its database a daemon answers reads, is ready, says that it is degraded, and loses nothing',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const state = inPostgres({ connectTimeout: '2s', statementTimeout: '3s', lockTimeout: '1s' });
    const first = await startServe(t, configOf({ demo: demoEntry(remote.url) }, { state }));
    const before = await first.client.create(task('before', 'demo_hang'));
    await statusWhere(first.client, before.handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    await shared.server.kill();
    const during = first.client.create(task('during', 'demo_hang'), { deadlineMs: 120_000 });
    await until('the trouble', () => logOf(first.running).some(({ code }) => code === 'STATE_UNREACHABLE'));
    assert.equal((await first.client.status(before.handle)).phaseInfo.phase, 'RUNNING');
    assert.equal((await first.http('/readyz')).status, 200);
    await assert.rejects(first.client.create(task('impatient', 'demo_hang'), { deadlineMs: 1_500 }));
    await shared.server.run();
    const { handle } = await during;
    await until('the end of the trouble', () => logOf(first.running).some(({ event }) => event === 'state.mended'));
    first.running.child.kill('SIGKILL');
    await first.running.finished;
    const second = await startServe(t, configOf({ demo: demoEntry(remote.url) }, { state }));
    for (const one of [before.handle, handle]) {
      await statusWhere(second.client, one, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    }
  },
);

test(
  'a task costs its database a handful of rows over its life, and nothing for a poll that tells nothing new',
  BOUND,
  async (t) => {
    const remote = await startDemoRemote(t);
    const state = inPostgres();
    const { schema } = state.postgres;
    const { client } = await startServe(t, configOf({ demo: demoEntry(remote.url) }, { state }));
    const rows = () => {
      shared.server.sql('SELECT pg_stat_force_next_flush()');
      return Number(
        shared.server.sql(`SELECT sum(n_tup_ins + n_tup_upd + n_tup_del) FROM pg_stat_all_tables
        WHERE schemaname = '${schema}' AND relname IN ('facts', 'payloads')`),
      );
    };
    const handles: Uint8Array[] = [];
    for (let i = 0; i < 20; i++) handles.push((await client.create(task(`t${i}`, 'demo_hang'))).handle);
    for (const handle of handles)
      await statusWhere(client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
    await sleep(1_500);
    assert.ok(rows() <= 20 * 8, `${rows()} rows for 20 tasks that run`);
    // Once a task it is noted that its job was seen, and that its answer arrived: what a slow machine writes late is no row
    // for a poll, which would stand in every stretch.
    const stretches: number[] = [];
    while (stretches.length < 4 && (stretches.at(-1) ?? Infinity) > 20) {
      const before = rows();
      const polls = remote.callsFor('t7');
      await until('twenty polls of each', () => remote.callsFor('t7') > polls + 20);
      await sleep(1_500);
      stretches.push(rows() - before);
    }
    assert.ok((stretches.at(-1) ?? Infinity) <= 20, `${stretches.join(', ')} rows for 400 polls and more each`);
  },
);

test('a state is copied from a folder to the database and back, and no running task is lost', BOUND, async (t) => {
  const remote = await startDemoRemote(t);
  const dir = path.join(tempFolder(t), 'state');
  const plugins = { demo: demoEntry(remote.url) };
  const inFolder = configOf(plugins, { state: { dir } });
  const first = await startServe(t, inFolder);
  const { handle } = await first.client.create(task('mine', 'demo_hang'));
  await statusWhere(first.client, handle, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
  const folder = tempFolder(t);
  const config = (name: string, state: unknown): string => {
    const file = path.join(folder, name);
    writeFileSync(file, JSON.stringify(configOf(plugins, { state })));
    return file;
  };
  const state = inPostgres();
  const toPostgres = config('postgres.json', state);
  const cli = async (...args: string[]) => {
    const run = startCli(['state', ...args]);
    return { code: await run.exitCode, out: run.stdout(), err: run.stderr() };
  };
  const early = await cli('copy', dir, '--config', toPostgres);
  assert.equal(early.code, 5, early.err);
  assert.match(early.err, /STATE_LOCKED/);
  first.running.child.kill('SIGTERM');
  await first.running.finished;
  const copied = await cli('copy', dir, '--config', toPostgres);
  assert.equal(copied.code, 0, copied.err);
  assert.match(copied.out, /Copied \d+ facts to PostgreSQL at/);
  assert.match((await cli('copy', dir, '--config', toPostgres)).err, /holds a state already/);
  const [there, here] = await Promise.all([
    cli('check', '--json', '--config', toPostgres),
    cli('check', '--json', dir),
  ]);
  assert.deepEqual(JSON.parse(there.out).facts, JSON.parse(here.out).facts);
  assert.match((await cli('export', '--config', toPostgres)).out, /"kind":"task"/);

  const second = await startServe(t, configOf(plugins, { state }));
  assert.equal((await second.client.status(handle)).phaseInfo.phase, 'RUNNING');
  const { handle: later } = await second.client.create(task('later', 'demo_hang'));
  second.running.child.kill('SIGTERM');
  await second.running.finished;
  const back = path.join(folder, 'back');
  const toFolder = config('folder.json', { engine: 'embedded', dir: back, postgres: state.postgres });
  const inbox = `${state.postgres.schema}.inbox`;
  shared.server.sql(`INSERT INTO ${inbox} (part, kind, key, name, epoch, body) VALUES (0, 'do', 'k', '', 'e', 'end')`);
  const waiting = await cli('copy', 'postgres', '--config', toFolder);
  assert.equal(waiting.code, 5, waiting.err);
  assert.match(waiting.err, /1 promises wait in the inbox/);
  assert.match((await cli('check', '--config', toPostgres)).out, /1 promises wait in the inbox/);
  assert.match((await cli('export', '--config', toPostgres)).err, /1 promises wait in the inbox/);
  shared.server.sql(`DELETE FROM ${inbox}`);
  const returned = await cli('copy', 'postgres', '--config', toFolder);
  assert.equal(returned.code, 0, returned.err);
  const third = await startServe(t, configOf(plugins, { state: { dir: back } }));
  for (const one of [handle, later]) {
    await statusWhere(third.client, one, 'RUNNING', ({ phaseInfo }) => phaseInfo.phase === 'RUNNING');
  }
  assert.equal(remote.jobs().length, 2);
});

test('a state that was copied in part is not started on', BOUND, async (t) => {
  const state = inPostgres();
  const first = await startServe(t, configOf({}, { state }));
  first.running.child.kill('SIGTERM');
  await first.running.finished;
  shared.server.sql(`INSERT INTO ${state.postgres.schema}.facts VALUES ('copying', '')`);
  const refused = await spawnServe(t, configOf({}, { state })).finished;
  assert.equal(refused.code, 5);
  assert.match(refused.stderr, /STATE_DAMAGED: .*copied into this one in part/);
});
