import assert from 'node:assert/strict';
import { mkdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { test } from 'node:test';
import { NotFoundError, PermanentError } from 'webapi-plugin-host';
import type { SlurmMeta } from '../../plugins/slurm/meta.js';
import { FakeSlurm } from './slurm-fake.js';
import { benchFor, scratch, settingsFor, templateFor } from './slurm-support.js';

const SCRIPT = templateFor({ script: 'echo hello\n' });

async function setUp(t: Parameters<typeof scratch>[0], more: Record<string, unknown> = {}, now?: () => number) {
  const fake = await FakeSlurm.start();
  t.after(() => fake.stop());
  const dir = scratch(t);
  mkdirSync(`${dir}/jobs`);
  return { fake, dir, ...benchFor(settingsFor(fake.url, `${dir}/jobs`, more), dir, now) };
}

test('create submits once; a repeat finds the job by its key and submits nothing', async (t) => {
  const { fake, plugin, createContext } = await setUp(t);
  const first = await plugin.create(createContext('key-a', SCRIPT));
  const second = await plugin.create(createContext('key-a', SCRIPT));
  assert.equal(fake.submitted.length, 1);
  assert.equal(first.resource, undefined);
  assert.equal(first.existing ?? false, false);
  assert.equal(second.existing, true, 'so that the host can tell an earlier life of the key');
  assert.deepEqual(second.resourceMeta, first.resourceMeta);
  assert.equal(second.resourceMeta.jobId, 100);
  assert.ok(second.resource !== undefined, 'the state of a job that is found is known at once');
  const other = await plugin.create(createContext('key-b', SCRIPT));
  assert.equal(other.resourceMeta.jobId, 101);
});

test('the resource meta survives JSON and is small', async (t) => {
  const { plugin, createContext } = await setUp(t);
  const template = templateFor({ script: 'true\n', array: '0-9%2' }, { outputNames: ['x', 'y'] });
  const { resourceMeta } = await plugin.create(createContext('k'.repeat(48), template));
  assert.deepEqual(JSON.parse(JSON.stringify(resourceMeta)), resourceMeta);
  assert.ok(JSON.stringify(resourceMeta).length < 400);
});

test('a task whose meta could not be kept is refused before its job is submitted', async (t) => {
  const { fake, plugin, createContext } = await setUp(t);
  const outputNames = Array.from({ length: 40 }, (_, i) => `${i}`.padEnd(500, 'x'));
  const template = templateFor({ script: 'true\n' }, { outputNames });
  await assert.rejects(plugin.create(createContext('key-a', template)), {
    name: 'PermanentError',
    message: /names of 40 outputs.* takes \d+ bytes, at most 16384 are kept/,
  });
  assert.equal(fake.submitted.length, 0);
});

test('a create whose submission was cut off finds the job that Slurm made all the same', async (t) => {
  const { fake, plugin, createContext } = await setUp(t);
  fake.override = (seen, response) => {
    if (seen.method !== 'POST') return false;
    const { job } = seen.body as { job: { comment: string } };
    fake.add({ job_id: 7, comment: job.comment, job_state: 'RUNNING' });
    response.destroy();
    return true;
  };
  await assert.rejects(plugin.create(createContext('key-a', SCRIPT)), { name: 'TransientError' });
  fake.override = undefined;
  const { resourceMeta } = await plugin.create(createContext('key-a', SCRIPT));
  assert.equal(resourceMeta.jobId, 7);
  assert.equal(fake.submitted.length, 0, 'the second create submitted nothing');
});

test('the job of a submission that was given up and arrives late is cancelled by whoever sees it first', async (t) => {
  for (const by of ['create', 'get', 'getMany'] as const) {
    const { fake, log, plugin, createContext, resourceContext } = await setUp(t);
    let lost: Record<string, unknown> = {};
    fake.override = (seen, response) => {
      if (seen.method !== 'POST') return false;
      lost = (seen.body as { job: Record<string, unknown> }).job;
      response.destroy();
      return true;
    };
    await assert.rejects(plugin.create(createContext('key-a', SCRIPT)), { name: 'TransientError' });
    fake.override = undefined;
    const { resourceMeta } = await plugin.create(createContext('key-a', SCRIPT));
    const other = (await plugin.create(createContext('key-b', SCRIPT))).resourceMeta;
    const arrive = (job_id: number, fields: object = {}) =>
      fake.add({ job_id, comment: 'key-a', standard_output: String(lost.standard_output), ...fields });
    arrive(500);
    arrive(501, { job_state: 'COMPLETED' });
    arrive(502, { comment: 'key-a', standard_output: '/somewhere/else' });
    if (by === 'create')
      assert.deepEqual((await plugin.create(createContext('key-a', SCRIPT))).resourceMeta, resourceMeta);
    else if (by === 'get') await plugin.get(resourceContext('key-a', resourceMeta));
    else await plugin.getMany.read([resourceContext('key-a', resourceMeta), resourceContext('key-b', other)]);
    const states = [resourceMeta.jobId, other.jobId, 500, 501, 502].map((id) => fake.jobs.get(id)?.job_state);
    assert.deepEqual(states, ['PENDING', 'PENDING', 'CANCELLED', 'COMPLETED', 'PENDING'], by);
    assert.equal(fake.count('DELETE'), 1);
    assert.deepEqual(log.find((entry) => entry.level === 'warn')?.fields, {
      cluster: 'main',
      jobId: 500,
      kept: resourceMeta.jobId,
    });
  }
});

test('a cancel of a late job that is not answered fails no read', async (t) => {
  const { fake, dir, plugin: patient, createContext, resourceContext } = await setUp(t);
  const { plugin } = benchFor(settingsFor(fake.url, `${dir}/jobs`), dir, undefined, 50);
  const { resourceMeta } = await plugin.create(createContext('key-a', SCRIPT));
  fake.add({ job_id: 500, comment: 'key-a', standard_output: `${resourceMeta.stem}.out` });
  fake.override = (seen) => seen.method === 'DELETE';
  const [outcome] = await plugin.getMany.read([resourceContext('key-a', resourceMeta)]);
  assert.equal(outcome?.status, 'fulfilled');
  fake.override = undefined;
  await patient.getMany.read([resourceContext('key-a', resourceMeta)]);
  assert.equal(fake.jobs.get(500)?.job_state, 'CANCELLED', 'the next read tries again');
});

test('a delete takes the job of a submission that was given up with it, and fails while it cannot', async (t) => {
  for (const own of ['running', 'over', 'forgotten'] as const) {
    const { fake, plugin, createContext, resourceContext } = await setUp(t);
    const plain = (await plugin.create(createContext('key-b', SCRIPT))).resourceMeta;
    fake.override = (seen, response) => {
      if (seen.method === 'POST') response.destroy();
      return seen.method === 'POST';
    };
    await assert.rejects(plugin.create(createContext('key-a', SCRIPT)));
    fake.override = undefined;
    const { resourceMeta } = await plugin.create(createContext('key-a', SCRIPT));
    fake.add({ job_id: 500, comment: 'key-a', standard_output: `${resourceMeta.stem}.out` });
    const { jobId } = resourceMeta;
    if (own === 'over') fake.add({ job_id: jobId, comment: 'key-a', job_state: 'COMPLETED' });
    if (own === 'forgotten') fake.jobs.delete(jobId);
    fake.override = (seen, response) => {
      if (seen.path === 'job/500') response.destroy();
      return seen.path === 'job/500';
    };
    const doDelete = () => plugin.delete(resourceContext('key-a', resourceMeta));
    await assert.rejects(doDelete(), { name: 'TransientError' });
    fake.override = undefined;
    if (own === 'forgotten') await assert.rejects(doDelete(), NotFoundError);
    else await doDelete();
    assert.equal(fake.jobs.get(500)?.job_state, 'CANCELLED', own);
    if (own === 'running') assert.equal(fake.jobs.get(jobId)?.job_state, 'CANCELLED');
    assert.equal(fake.jobs.get(plain.jobId)?.job_state, 'PENDING');
  }
});

test('a read looks for late jobs only where a submission ended without an answer, and for a time', async (t) => {
  let now = Date.now();
  const { fake, plugin, createContext, resourceContext } = await setUp(t, {}, () => now);
  const plain = (await plugin.create(createContext('key-a', SCRIPT))).resourceMeta;
  fake.override = (seen, response) => {
    if (seen.method === 'POST') response.destroy();
    return seen.method === 'POST';
  };
  await assert.rejects(plugin.create(createContext('key-b', SCRIPT)));
  fake.override = undefined;
  const doubtful = (await plugin.create(createContext('key-b', SCRIPT))).resourceMeta;
  const lists = async (key: string, meta: SlurmMeta) => {
    const before = fake.count('GET', /^jobs$/);
    await plugin.get(resourceContext(key, meta));
    return fake.count('GET', /^jobs$/) - before;
  };
  assert.deepEqual([await lists('key-a', plain), await lists('key-b', doubtful)], [0, 1]);
  now += 16 * 60_000;
  assert.equal(await lists('key-b', doubtful), 0);
});

test('creates that arrive together share a job list, but never one that began before they came', async (t) => {
  const { fake, plugin, createContext } = await setUp(t);
  let release: () => void = () => undefined;
  const gate = new Promise<void>((resolve) => {
    release = resolve;
  });
  let listed: () => void = () => undefined;
  const firstList = new Promise<void>((resolve) => {
    listed = resolve;
  });
  let lists = 0;
  fake.override = async (seen, response) => {
    if (seen.path !== 'jobs' || ++lists > 1) return false;
    listed();
    await gate;
    // what the controller knew when this list was asked for: nothing
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ errors: [], jobs: [] }));
    return true;
  };
  const early = Array.from({ length: 10 }, (_, i) => plugin.create(createContext(`early-${i}`, SCRIPT)));
  await firstList;
  fake.add({ job_id: 5, comment: 'late-0' });
  const late = Array.from({ length: 10 }, (_, i) => plugin.create(createContext(`late-${i}`, SCRIPT)));
  release();
  await Promise.all(early);
  const [found] = await Promise.all(late);
  assert.equal(found?.resourceMeta.jobId, 5, 'seen by a list that was asked for after the create came');
  assert.equal(fake.count('GET', /^jobs$/), 2);
  assert.equal(fake.submitted.length, 19);
});

test('getMany reads all jobs of a batch with one call, and asks for one that the list lacks before it is lost', async (t) => {
  const { fake, plugin, createContext, resourceContext } = await setUp(t);
  const keys = ['a', 'b', 'c'];
  const metas: SlurmMeta[] = [];
  for (const key of keys) metas.push((await plugin.create(createContext(key, SCRIPT))).resourceMeta);
  Object.assign(fake.jobs.get(100) as object, { job_state: 'RUNNING', nodes: 'n1' });
  fake.jobs.delete(101);
  for (let i = 1000; i < 1200; i++) fake.add({ job_id: i, comment: 'somebody else' });
  const before = fake.requests.length;
  const outcomes = await plugin.getMany.read(keys.map((key, i) => resourceContext(key, metas[i]!)));
  assert.deepEqual(
    fake.requests.slice(before).map((seen) => `${seen.method} ${seen.path}`),
    ['GET jobs', 'GET job/101'],
  );
  assert.deepEqual(
    outcomes.map((outcome) => outcome.status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  const [a, b] = outcomes;
  assert.ok(a?.status === 'fulfilled');
  assert.equal(plugin.status({ resourceMeta: metas[0]!, resource: a.value }).phase, 'RUNNING');
  assert.ok(b?.status === 'rejected' && b.reason instanceof NotFoundError);
});

test('a job that took over the number after Slurm lost its state is not mistaken for ours', async (t) => {
  const { fake, plugin, createContext, resourceContext } = await setUp(t);
  const { resourceMeta } = await plugin.create(createContext('a', SCRIPT));
  fake.add({ job_id: resourceMeta.jobId, comment: 'another', job_state: 'RUNNING', standard_output: '/x/y.out' });
  await assert.rejects(plugin.get(resourceContext('a', resourceMeta)), NotFoundError);
  await assert.rejects(plugin.delete(resourceContext('a', resourceMeta)), NotFoundError);
  assert.equal(fake.jobs.get(resourceMeta.jobId)?.job_state, 'RUNNING', 'and is not cancelled');
});

test('delete cancels what runs, calls nothing for what is over and is NotFound for what is gone', async (t) => {
  const { fake, plugin, createContext, resourceContext } = await setUp(t);
  const { resourceMeta } = await plugin.create(createContext('a', SCRIPT));
  await plugin.delete(resourceContext('a', resourceMeta));
  assert.equal(fake.jobs.get(resourceMeta.jobId)?.job_state, 'CANCELLED');
  await plugin.delete(resourceContext('a', resourceMeta));
  assert.equal(fake.count('DELETE'), 1);
  fake.jobs.clear();
  await assert.rejects(plugin.delete(resourceContext('a', resourceMeta)), NotFoundError);
});

test('a job that Slurm has dropped is judged by the exit code it left, and lost without one', async (t) => {
  const { fake, dir, plugin, createContext, resourceContext } = await setUp(t);
  const { resourceMeta } = await plugin.create(createContext('a', SCRIPT));
  fake.jobs.clear();
  const ctx = resourceContext('a', resourceMeta);
  await assert.rejects(plugin.get(ctx), NotFoundError);
  writeFileSync(`${dir}/jobs/a.exit`, '3\n');
  const info = plugin.status({ resourceMeta, resource: await plugin.get(ctx) });
  assert.equal(info.phase, 'RETRYABLE_FAILURE');
  assert.match(info.error?.message ?? '', /exit code 3/);
  writeFileSync(`${dir}/jobs/a.exit`, '0\n');
  assert.equal(plugin.status({ resourceMeta, resource: await plugin.get(ctx) }).phase, 'SUCCESS');
  writeFileSync(`${dir}/jobs/a.exit`, 'rubbish');
  await assert.rejects(plugin.get(ctx), NotFoundError);
});

test('an exit code file that is a link is not followed', async (t) => {
  const { fake, dir, plugin, createContext, resourceContext } = await setUp(t);
  const { resourceMeta } = await plugin.create(createContext('a', SCRIPT));
  fake.jobs.clear();
  writeFileSync(`${dir}/secret`, '0\n');
  symlinkSync(`${dir}/secret`, `${dir}/jobs/a.exit`);
  await assert.rejects(plugin.get(resourceContext('a', resourceMeta)), PermanentError);
});

test('outputs: the file that the job wrote, awaited for the grace, then a clear failure', async (t) => {
  let nowMs = 1_000_000_000_000;
  const { fake, dir, plugin, createContext, resourceContext } = await setUp(t, { outputGraceSeconds: 10 }, () => nowMs);
  const template = templateFor({ script: 'true\n' }, { outputNames: ['x'] });
  const { resourceMeta } = await plugin.create(createContext('a', template));
  Object.assign(fake.jobs.get(resourceMeta.jobId) as object, { job_state: 'COMPLETED', end_time: nowMs / 1000 });
  const phase = async () =>
    plugin.status({ resourceMeta, resource: await plugin.get(resourceContext('a', resourceMeta)) });
  const awaited = await phase();
  assert.equal(awaited.phase, 'RUNNING');
  assert.ok(awaited.nextPollAfterMs !== undefined && awaited.nextPollAfterMs < 10_000);
  nowMs += 10_000;
  const failed = await phase();
  assert.equal(failed.phase, 'PERMANENT_FAILURE');
  assert.match(failed.error?.message ?? '', /neither outputs\.pb nor outputs\.json/);
  mkdirSync(`${dir}/out/a`, { recursive: true });
  writeFileSync(`${dir}/out/a/error.pb`, '');
  assert.equal((await phase()).error?.code, 'ErrorFile');
  writeFileSync(`${dir}/out/a/outputs.json`, '{"x": [1, "two"]}');
  assert.deepEqual((await phase()).outputs, { x: [1, 'two'] });
  for (const bad of ['[1]', '{"x": ', '{"x": 9007199254740993}']) {
    writeFileSync(`${dir}/out/a/outputs.json`, bad);
    assert.equal((await phase()).error?.code, 'OutputsUnusable', bad);
  }
  writeFileSync(`${dir}/out/a/outputs.pb`, '');
  assert.equal((await phase()).outputs, 'at-prefix');
});

test('a success without declared outputs needs no output prefix', async (t) => {
  const { fake, plugin, createContext, resourceContext } = await setUp(t);
  const { resourceMeta } = await plugin.create(createContext('a', SCRIPT));
  Object.assign(fake.jobs.get(resourceMeta.jobId) as object, { job_state: 'COMPLETED' });
  const resource = await plugin.get({ ...resourceContext('a', resourceMeta), outputPrefix: '' });
  const info = plugin.status({ resourceMeta, resource });
  assert.equal(info.phase, 'SUCCESS');
  assert.equal(info.outputs, undefined);
});

test('an array is over when all elements are, also those whose records Slurm dropped meanwhile', async (t) => {
  const { fake, dir, plugin, createContext, resourceContext } = await setUp(t);
  const template = templateFor({ script: 'true\n', array: '0-3%2' }, { outputNames: ['x'] });
  const { resourceMeta } = await plugin.create(createContext('a', template));
  const id = resourceMeta.jobId;
  const own = { comment: 'a', array_job_id: id };
  const phase = async () =>
    plugin.status({ resourceMeta, resource: await plugin.get(resourceContext('a', resourceMeta)) });

  fake.jobs.clear();
  fake.add({ ...own, job_id: id, array_task_string: '0-3%2', state_reason: 'Priority' });
  assert.equal((await phase()).phase, 'QUEUED');
  fake.add({ ...own, job_id: id + 1, array_task_id: 0, job_state: 'COMPLETED' });
  fake.add({ ...own, job_id: id + 2, array_task_id: 1, job_state: 'RUNNING' });
  fake.add({ ...own, job_id: id, array_task_string: '2-3%2', state_reason: 'JobArrayTaskLimit' });
  const running = await phase();
  assert.equal(running.phase, 'RUNNING');
  assert.equal(running.reason, 'array of 4: 1 COMPLETED, 1 RUNNING, 2 not started (JobArrayTaskLimit)');
  assert.deepEqual(
    running.externalResources?.map((element) => [element.externalId, element.index, element.phase]),
    [
      [`${id}_0`, 0, 'SUCCESS'],
      [`${id}_1`, 1, 'RUNNING'],
    ],
  );

  fake.jobs.clear();
  fake.add({ ...own, job_id: id, array_task_id: 3, job_state: 'COMPLETED' });
  await assert.rejects(phase(), { name: 'NotFoundError', message: /elements 0-2 of array job/ });
  for (const index of [0, 1, 2]) writeFileSync(`${dir}/jobs/a-${index}.exit`, '0\n');
  for (const index of [0, 1, 2, 3]) {
    mkdirSync(`${dir}/out/a/${index}`, { recursive: true });
    writeFileSync(`${dir}/out/a/${index}/outputs.json`, JSON.stringify({ x: index * 10 }));
  }
  const over = await phase();
  assert.equal(over.phase, 'SUCCESS');
  assert.deepEqual(over.outputs, { x: [0, 10, 20, 30] });
  writeFileSync(`${dir}/out/a/2/outputs.json`, '{}');
  assert.match((await phase()).error?.message ?? '', /element 2 has no 'x'/);
  writeFileSync(`${dir}/jobs/a-2.exit`, '5\n');
  const failed = await phase();
  assert.equal(failed.phase, 'RETRYABLE_FAILURE');
  assert.match(failed.error?.message ?? '', new RegExp(`${id}_2 FAILED.*exit code 5`));
});

test('log pages follow one another to the end of the file, and through the elements of an array', async (t) => {
  const { dir, plugin, createContext, logsContext } = await setUp(t);
  const { resourceMeta } = await plugin.create(createContext('a', SCRIPT));
  const page = (token: string, lines = 0) => plugin.getLogs(logsContext('a', resourceMeta, token, lines));
  assert.deepEqual(await page(''), { lines: [] }, 'nothing before the job starts');
  const all = Array.from({ length: 25 }, (_, i) => `line ${i} äöü`);
  writeFileSync(`${dir}/jobs/a.out`, `${all.join('\n')}\nno end`);
  const seen: string[] = [];
  let pages = 0;
  for (let token: string | undefined = ''; token !== undefined; pages++) {
    const answer: Awaited<ReturnType<typeof page>> = await page(token, 10);
    seen.push(...answer.lines.map((line) => line.message));
    token = answer.token;
  }
  assert.deepEqual(seen, [...all, 'no end']);
  assert.equal(pages, 3);
  writeFileSync(`${dir}/jobs/a.out`, 'x'.repeat(600_000));
  const long = await page('');
  assert.ok(
    long.token !== undefined && (long.lines[0]?.message.length ?? 0) > 100_000,
    'a line longer than a page is cut',
  );
  await assert.rejects(page('../etc'), { name: 'PermanentError', code: 'InvalidToken' });

  const array = (await plugin.create(createContext('b', templateFor({ script: 'true\n', array: '3,5' })))).resourceMeta;
  writeFileSync(`${dir}/jobs/b-5.out`, 'five\n');
  const first = await plugin.getLogs(logsContext('b', array, '', 0));
  assert.deepEqual(first, { lines: [], token: '1:0' });
  const second = await plugin.getLogs(logsContext('b', array, '1:0', 0));
  assert.deepEqual(
    second.lines.map((line) => line.message),
    ['[5] five'],
  );
  assert.equal(second.token, undefined);
});

test('logs: a link is refused, and a directory that is not mounted is said', async (t) => {
  const { dir, plugin, createContext, logsContext } = await setUp(t);
  const { resourceMeta } = await plugin.create(createContext('a', SCRIPT));
  symlinkSync('/etc/passwd', `${dir}/jobs/a.out`);
  await assert.rejects(plugin.getLogs(logsContext('a', resourceMeta, '', 0)), { name: 'PermanentError' });
  const elsewhere = { ...resourceMeta, stem: `${dir}/nowhere/a` };
  await assert.rejects(plugin.getLogs(logsContext('a', elsewhere, '', 0)), { code: 'LogsNotMounted' });
});

test("a refusal of Slurm is the user's and permanent, a wrong key names itself", async (t) => {
  const { fake, plugin, createContext } = await setUp(t);
  await assert.rejects(plugin.create(createContext('a', templateFor({ script: 'true\n', partition: 'nope' }))), {
    name: 'PermanentError',
    faultKind: 'USER',
    code: 'Slurm2000',
    message: /Invalid partition name/,
  });
  const before = fake.requests.length;
  const wrong = [
    [{ script: 'true\n', partitoin: 'x' }, /partitoin/],
    [{ script: 'true\n', cluster: 'other' }, /'other' is not configured; known are main/],
    [{ script: 'true\n', array: '5-1' }, /not in Slurm's syntax/],
    [{ script: 'true\n', array: '0-99999' }, /at most 1000/],
    [{ script: 'true\r\n' }, /CRLF/],
    [{ script: 'true\n', memoryMb: 5, memoryPerCpuMb: 5 }, /exclude each other/],
    [{ script: 'true\n', args: ['{{.inputs.gone}}'] }, /input 'gone'/],
    [{ script: 'true\n', environment: { 'A B': 'x' } }, /variable name/],
    [{}, /nothing to run/],
    [{ script: 'true\n', environment: { BIG: 'x'.repeat(140_000) } }, /BIG has 140004 bytes/],
  ] as const;
  for (const [custom, message] of wrong) {
    await assert.rejects(
      plugin.create(createContext('b', templateFor(structuredClone(custom) as Record<string, never>))),
      { name: 'PermanentError', faultKind: 'USER', code: 'InvalidTask', message },
    );
  }
  assert.equal(fake.requests.length, before, 'nothing reached Slurm');
});

test('one quota namespace a cluster, and none by the word of a task', async (t) => {
  const { plugin, createContext } = await setUp(t);
  for (const custom of [{}, { cluster: 'main' }, { cluster: 'made-up' }, { cluster: 7 }]) {
    assert.deepEqual(plugin.resourceRequirements(createContext('a', templateFor(custom))), { namespace: 'main' });
  }
});
