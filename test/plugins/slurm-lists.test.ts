import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { type TestContext, test } from 'node:test';
import { NotFoundError } from 'webapi-plugin-host';
import { MOST_LONE_READS } from '../../plugins/slurm/lone-reads.js';
import type { SlurmMeta } from '../../plugins/slurm/meta.js';
import { FakeSlurm } from './slurm-fake.js';
import { benchFor, scratch, settingsFor, templateFor } from './slurm-support.js';

const SCRIPT = templateFor({ script: 'echo hello\n' });

async function setUp(t: TestContext, now?: () => number) {
  const fake = await FakeSlurm.start();
  t.after(() => fake.stop());
  const dir = scratch(t);
  mkdirSync(`${dir}/jobs`);
  const bench = benchFor(settingsFor(fake.url, `${dir}/jobs`), dir, now);
  const start = async (...keys: string[]) => {
    const metas: SlurmMeta[] = [];
    for (const key of keys) metas.push((await bench.plugin.create(bench.createContext(key, SCRIPT))).resourceMeta);
    const contexts = keys.map((key, at) => bench.resourceContext(key, metas[at] as SlurmMeta));
    const read = async () =>
      (await bench.plugin.getMany.read(contexts)).map((outcome, at) =>
        outcome.status === 'rejected'
          ? (outcome.reason as Error).name
          : bench.plugin.status({ resourceMeta: metas[at] as SlurmMeta, resource: outcome.value }).phase,
      );
    return { metas, contexts, read };
  };
  /** Answers every list with `text`. */
  const lists = (text: (whole: string) => string) => {
    fake.override = (seen, response) => {
      if (seen.path !== 'jobs') return false;
      const whole = JSON.stringify({ errors: [], jobs: [...fake.jobs.values()] });
      response.writeHead(200, { 'content-type': 'application/json' }).end(text(whole));
      return true;
    };
  };
  return { fake, dir, ...bench, start, lists };
}

test('a list that lacks jobs, all or some, loses none of them', async (t) => {
  const { fake, start, lists } = await setUp(t);
  const { read } = await start('a', 'b', 'c');
  for (const job of fake.jobs.values()) job.job_state = 'RUNNING';
  for (const text of [
    () => '{"jobs": []}',
    () => '{"jobs": [], "errors": [], "warnings": [{"description": "x"}]}',
    () => JSON.stringify({ jobs: [fake.jobs.get(101)] }),
  ]) {
    lists(text);
    assert.deepEqual(await read(), ['RUNNING', 'RUNNING', 'RUNNING']);
  }
  fake.jobs.delete(102);
  lists(() => '{"jobs": []}');
  assert.deepEqual(await read(), ['RUNNING', 'RUNNING', 'NotFoundError']);
});

test('only so many jobs of a batch are asked for alone, in turn, and the others are not lost meanwhile', async (t) => {
  const { fake, contexts, plugin, lists } = await (async () => {
    const bench = await setUp(t);
    const { metas } = await bench.start('k0');
    const meta = metas[0] as SlurmMeta;
    const dirOf = meta.stem.slice(0, -2);
    const contexts = Array.from({ length: MOST_LONE_READS + 30 }, (_, at) => {
      const stem = `${dirOf}k${at}`;
      bench.fake.add({ job_id: 100 + at, comment: `k${at}`, standard_output: `${stem}.out`, job_state: 'RUNNING' });
      return bench.resourceContext(`k${at}`, { ...meta, stem, jobId: 100 + at });
    });
    return { ...bench, contexts };
  })();
  lists(() => '{"jobs": []}');
  const alone = () => fake.requests.filter((seen) => /^job\/\d+$/.test(seen.path)).map((seen) => seen.path);
  const first = await plugin.getMany.read(contexts);
  assert.equal(first.filter((outcome) => outcome.status === 'fulfilled').length, MOST_LONE_READS);
  for (const outcome of first) {
    if (outcome.status === 'rejected') assert.equal((outcome.reason as Error).name, 'TransientError');
  }
  assert.equal(alone().length, MOST_LONE_READS);
  await plugin.getMany.read(contexts);
  assert.equal(new Set(alone()).size, contexts.length, 'who was not asked for comes first the next time');
});

test('a cluster that answers no single job is not asked for all of them', async (t) => {
  const { fake, start } = await setUp(t);
  const { read } = await start(...Array.from({ length: 30 }, (_, at) => `k${at}`));
  const before = fake.requests.length;
  fake.override = (_seen, response) => {
    response.writeHead(200).end('{"jobs": []}');
    return true;
  };
  assert.deepEqual([...new Set(await read())], ['TransientError']);
  assert.ok(fake.requests.length - before < 12, `${fake.requests.length - before} requests`);
});

test('an array whose elements a list lacks is asked for alone before they are lost', async (t) => {
  const { fake, plugin, createContext, resourceContext, lists } = await setUp(t);
  const template = templateFor({ script: 'true\n', array: '0-1' });
  const { resourceMeta } = await plugin.create(createContext('a', template));
  const own = { comment: 'a', array_job_id: 100, standard_output: `${resourceMeta.stem}-%a.out` };
  fake.add({ ...own, job_id: 100, array_task_id: 1, job_state: 'COMPLETED' });
  fake.add({ ...own, job_id: 101, array_task_id: 0, job_state: 'RUNNING' });
  lists(() => JSON.stringify({ jobs: [fake.jobs.get(100)] }));
  const [outcome] = await plugin.getMany.read([resourceContext('a', resourceMeta)]);
  assert.ok(outcome?.status === 'fulfilled');
  assert.equal(plugin.status({ resourceMeta, resource: outcome.value }).phase, 'RUNNING');
});

test('records of others, whatever they hold, stop neither reads nor creates', async (t) => {
  const { fake, plugin, createContext, start, lists } = await setUp(t);
  const { read } = await start('a', 'b');
  for (const job of fake.jobs.values()) job.job_state = 'RUNNING';
  const foreign = [
    '{"job_id":1,"billable_tres":NaN,"job_state":["RUNNING"]}',
    '{"job_id":1,"x":-Infinity,"y":[1,2,],"job_state":"RUNNING",}',
    '{"job_id":1,"name":"a\tb\\x"}',
    '{"job_id":1,"x":undefined}',
    '{"job_id":{"set":true,"number":"x"},"job_state":[],"comment":7,"standard_output":{}}',
    'null',
    '"text"',
    `{"job_id":1,"name":"${'x'.repeat(1 << 20)}"}`,
    `{"job_id":1,"x":${'['.repeat(50_000)}${']'.repeat(50_000)}}`,
    '{"job_id":1,"job_id":2,"__proto__":{"comment":"a"},"constructor":1,"job_state":"RUNNING"}',
  ];
  let made = 0;
  for (const record of foreign) {
    for (const whole of [(text: string) => text.replace('"jobs":[', `"jobs":[${record},`)]) {
      lists(whole);
      const before = fake.requests.length;
      assert.deepEqual(await read(), ['RUNNING', 'RUNNING'], record.slice(0, 80));
      assert.equal(fake.requests.length, before + 1, 'no job was asked for alone');
      await plugin.create(createContext(`new-${made++}`, SCRIPT));
    }
  }
  assert.equal(fake.submitted.length, 2 + made);
});

test('a record of ours that cannot be read fails its own task alone, and its key is not submitted again', async (t) => {
  const { fake, plugin, createContext, start, lists } = await setUp(t);
  const { read } = await start('key-a', 'key-b');
  for (const job of fake.jobs.values()) job.job_state = 'RUNNING';
  for (const broken of ['"job_state":undefined', '"job_state":{}', '"job_state":null']) {
    fake.override = (seen, response) => {
      if (seen.method !== 'GET') return false;
      const jobs = [...fake.jobs.values()].filter((job) => seen.path === 'jobs' || seen.path === `job/${job.job_id}`);
      const text = JSON.stringify({ errors: [], jobs });
      response.writeHead(200).end(text.replace('"job_state":"RUNNING"', broken));
      return true;
    };
    assert.deepEqual(await read(), ['TransientError', 'RUNNING'], broken);
    await assert.rejects(plugin.create(createContext('key-a', SCRIPT)), { name: 'TransientError' });
    assert.equal((await plugin.create(createContext('key-b', SCRIPT))).existing, true);
  }
  assert.equal(fake.submitted.length, 2);
  lists((text) => text);
  assert.deepEqual(await read(), ['RUNNING', 'RUNNING']);
});

test('a list that cannot be read at all, or is too large, is made up for by asking for the jobs', async (t) => {
  const {
    fake,
    dir,
    start,
    lists,
    plugin,
    createContext,
    contexts: small,
  } = await (async () => {
    const bench = await setUp(t);
    const settings = settingsFor(bench.fake.url, `${bench.dir}/jobs`, { maxResponseBytes: 1 << 16 });
    const { contexts } = await bench.start('a');
    return { ...bench, contexts, plugin: benchFor(settings, bench.dir).plugin };
  })();
  assert.ok(dir !== '' && start !== undefined);
  for (const job of fake.jobs.values()) job.job_state = 'RUNNING';
  for (const text of [
    '{"jobs": [{"job_id": 1, "name": "no end',
    '{"jobs": [{"job_id": 1]}',
    `{"jobs": ["${'x'.repeat(1 << 17)}"]}`,
  ]) {
    lists(() => text);
    assert.equal((await plugin.getMany.read(small))[0]?.status, 'fulfilled', text.slice(0, 40));
    await assert.rejects(plugin.create(createContext('b', SCRIPT)), { name: 'TransientError' }, 'but no create');
  }
  lists(() => '<html>login</html>');
  await assert.rejects(plugin.getMany.read(small), { name: 'TransientError' });
});

test('a list that lacks a job which is alive does not prove that a key has none', async (t) => {
  let now = 1_000_000;
  const { fake, plugin, createContext, start, lists } = await setUp(t, () => now);
  const { read } = await start('a');
  for (const job of fake.jobs.values()) job.job_state = 'RUNNING';
  lists(() => '{"jobs": []}');
  await assert.rejects(plugin.create(createContext('a', SCRIPT)), { code: 'SlurmListIncomplete' });
  await assert.rejects(plugin.create(createContext('b', SCRIPT)), { code: 'SlurmListIncomplete' });
  assert.equal(fake.submitted.length, 1);
  lists((text) => text);
  assert.equal((await plugin.create(createContext('a', SCRIPT))).existing, true);
  assert.deepEqual(await read(), ['RUNNING']);
  fake.jobs.clear();
  await plugin.create(createContext('c', SCRIPT));
  assert.equal(fake.submitted.length, 2, 'a cluster that lost its state is believed once it says so');
  now += 600_000;
  fake.jobs.clear();
  const before = fake.count('GET', /^job\//);
  await plugin.create(createContext('d', SCRIPT));
  assert.equal(fake.count('GET', /^job\//), before, 'what was alive long ago is not asked for');
});

test('where a site rewrites comments, a job is found by the path of its log', async (t) => {
  for (const array of [undefined, '0-3']) {
    const { fake, plugin, createContext, resourceContext } = await setUp(t);
    const template = templateFor({ script: 'true\n', ...(array === undefined ? {} : { array }) });
    let cut = true;
    fake.override = async (seen, response) => {
      if (seen.method !== 'POST') return false;
      const { job } = seen.body as { job: Record<string, string> };
      fake.submitted.push(seen.body);
      fake.add({
        job_id: 7,
        comment: 'site: rewritten',
        standard_output: String(job.standard_output),
        job_state: 'RUNNING',
      });
      if (cut) response.destroy();
      else response.writeHead(200).end('{"job_id": 7, "errors": []}');
      cut = false;
      return true;
    };
    await assert.rejects(plugin.create(createContext('key-1', template)), { name: 'TransientError' });
    const { resourceMeta, existing } = await plugin.create(createContext('key-1', template));
    assert.deepEqual([resourceMeta.jobId, existing, fake.submitted.length], [7, true, 1]);
    const other = await plugin.create(createContext('key-1', template));
    assert.equal(other.resourceMeta.jobId, 7);
    const [outcome] = await plugin.getMany.read([resourceContext('key-1', resourceMeta)]);
    assert.equal(outcome?.status, 'fulfilled');
  }
});

test('a key that begins like another one is not taken for it', async (t) => {
  const { fake, plugin, createContext, resourceContext } = await setUp(t);
  const { resourceMeta } = await plugin.create(createContext('key-1', SCRIPT));
  for (const [id, name] of [
    [501, 'key-10.out'],
    [502, 'key-1.out.bak'],
    [503, 'key-1-x.out'],
  ] as const) {
    fake.add({
      job_id: id,
      comment: 'other',
      standard_output: resourceMeta.stem.replace('key-1', name),
      job_state: 'RUNNING',
    });
  }
  await plugin.getMany.read([resourceContext('key-1', resourceMeta)]);
  const { resourceMeta: tenth, existing } = await plugin.create(createContext('key-10', SCRIPT));
  assert.deepEqual([tenth.jobId, existing], [501, true]);
  assert.equal(fake.count('DELETE'), 0);
  fake.add({
    job_id: resourceMeta.jobId,
    comment: 'x',
    standard_output: resourceMeta.stem.replace('key-1', 'key-10.out'),
  });
  await assert.rejects(plugin.get(resourceContext('key-1', resourceMeta)), NotFoundError);
});

test('of several jobs of one key the oldest stays, whoever looks and whichever handle it has', async (t) => {
  for (const by of ['create', 'getMany', 'getMany of the other', 'get', 'delete'] as const) {
    const { fake, plugin, createContext, resourceContext } = await setUp(t);
    const { resourceMeta } = await plugin.create(createContext('a', SCRIPT));
    const own = fake.jobs.get(100)!;
    own.job_state = 'RUNNING';
    // made by a create that no list showed
    const older = fake.add({ job_id: 50, standard_output: own.standard_output, job_state: 'RUNNING', comment: 'gone' });
    const oldest = { ...resourceMeta, jobId: 50 };
    const context = resourceContext('a', by === 'getMany of the other' ? oldest : resourceMeta);
    if (by === 'create') assert.equal((await plugin.create(createContext('a', SCRIPT))).resourceMeta.jobId, 50);
    else if (by.startsWith('getMany')) await plugin.getMany.read([context]);
    if (by === 'get' || by === 'delete') own.job_state = 'CANCELLED';
    if (by === 'delete') {
      await plugin.delete(context);
      assert.equal(older.job_state, 'CANCELLED', 'no job of the key outlives the task');
      continue;
    }
    assert.deepEqual([own.job_state, older.job_state], ['CANCELLED', 'RUNNING'], by);
    const resource = await plugin.get(resourceContext('a', resourceMeta));
    const info = plugin.status({ resourceMeta, resource });
    assert.equal(info.phase, 'RUNNING', by);
    assert.equal((info.customInfo as { jobId: number }).jobId, 50, 'what is shown is the job that runs');
    older.job_state = 'COMPLETED';
    const [outcome] = await plugin.getMany.read([resourceContext('a', resourceMeta)]);
    assert.ok(outcome?.status === 'fulfilled');
    assert.equal(plugin.status({ resourceMeta, resource: outcome.value }).phase, 'SUCCESS');
  }
});

test('a job that ended in a state that is not known is judged by the exit code it left', async (t) => {
  const { fake, dir, plugin, createContext, resourceContext } = await setUp(t);
  const { resourceMeta } = await plugin.create(createContext('a', SCRIPT));
  Object.assign(fake.jobs.get(100)!, { job_state: 'EXPIRED', end_time: 1_600_000_000 });
  const phase = async () =>
    plugin.status({ resourceMeta, resource: await plugin.get(resourceContext('a', resourceMeta)) });
  assert.equal((await phase()).error?.code, 'UnknownState');
  writeFileSync(`${dir}/jobs/a.exit`, '0\n');
  assert.equal((await phase()).phase, 'SUCCESS');
  writeFileSync(`${dir}/jobs/a.exit`, '4\n');
  assert.match((await phase()).error?.message ?? '', /exit code 4/);
});

test('outputs have their grace also where the clock of the cluster goes behind', async (t) => {
  let now = Date.now();
  const { fake, plugin, createContext, resourceContext } = await setUp(t, () => now);
  const template = templateFor({ script: 'true\n' }, { outputNames: ['x'] });
  const { resourceMeta } = await plugin.create(createContext('a', template));
  const phase = async () =>
    plugin.status({ resourceMeta, resource: await plugin.get(resourceContext('a', resourceMeta)) });
  Object.assign(fake.jobs.get(100)!, { job_state: 'COMPLETED', end_time: Math.floor(now / 1000) - 3_600 });
  assert.equal((await phase()).phase, 'RUNNING');
  now += 10_000;
  assert.equal((await phase()).error?.code, 'OutputsUnusable');
});

test('a revoked job is cancelled by a delete: it may run on another cluster of the federation', async (t) => {
  const { fake, plugin, createContext, resourceContext } = await setUp(t);
  const { resourceMeta } = await plugin.create(createContext('a', SCRIPT));
  fake.jobs.get(100)!.job_state = 'REVOKED';
  await plugin.delete(resourceContext('a', resourceMeta));
  assert.equal(fake.count('DELETE'), 1);
});
