import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import demo from '../../plugins/demo/index.js';
import { createDemoRemote } from '../../plugins/demo/remote.js';
import demoSync from '../../plugins/demo/sync.js';
import { definePlugin, phases, ThrottledError } from '../../src/index.js';
import { assertPlugin, PluginBench, readLiteralMap, startPluginFile, testPlugin } from '../../src/testing/index.js';

const STEADY = fileURLToPath(new URL('../../../test/fixtures/plugins/steady.mjs', import.meta.url));

/** A plugin with jobs in a map; the parts replace its methods. */
function tiny(parts: object = {}) {
  const reads = new Map<string, number>();
  return definePlugin<Record<string, never>, { job: string }>({
    id: 'tiny',
    apiVersion: 1,
    taskTypes: ['tiny'],
    load: () => ({
      create: async (ctx) => ({ resourceMeta: { job: ctx.idempotencyKey } }),
      get: async ({ resourceMeta: { job } }) => {
        reads.set(job, (reads.get(job) ?? 0) + 1);
        return (reads.get(job) ?? 0) < 3 ? phases.running() : phases.success({ answer: 42 });
      },
      delete: async () => undefined,
      ...parts,
    }),
  });
}

const task = { type: 'tiny', outputs: { answer: 'INTEGER' } };

test('a plugin that keeps the contract passes every check, and its states can be looked at', async () => {
  const report = await assertPlugin(tiny(), { task });
  assert.deepEqual(
    report.states.map(({ phase }) => phase),
    ['RUNNING', 'RUNNING', 'SUCCESS'],
  );
  const { outputs } = report.states.at(-1)!;
  assert.deepEqual(outputs.kind === 'inline' && readLiteralMap(outputs.literalMap), { answer: 42 });
});

let made = 0;
const BROKEN: Record<string, { parts: object; says: RegExp }> = {
  'makes a second job': {
    parts: { create: async () => ({ resourceMeta: { job: `job-${made++}` } }) },
    says: /same idempotency key finds its job: it answered another meta/,
  },
  'has a meta that JSON loses': {
    parts: { create: async () => ({ resourceMeta: { since: new Date(0) } }) },
    says: /RESOURCE_META_INVALID: .*resourceMeta\.since does not survive JSON/,
  },
  'goes back': {
    parts: { get: async () => (made++ % 2 === 0 ? phases.running() : phases.queued()) },
    says: /RUNNING was followed by QUEUED/,
  },
  'never ends': { parts: { get: async () => phases.running() }, says: /after 5 reads it is RUNNING/ },
  'answers too few of a batch': {
    parts: { getMany: { maxBatch: 10, read: async () => [] } },
    says: /getMany.*an empty list; expected a list of 2 settled outcomes/,
  },
  'cannot delete twice': {
    parts: {
      delete: async () => {
        throw new Error('it is over');
      },
    },
    says: /delete\(\) may be repeated: unknown PLUGIN_THREW_UNKNOWN: it is over/,
  },
};

/** A remote that takes no key and can be searched: every submission makes a job. */
function searchable(options: { readonly cancelsOthers: boolean; readonly remembers?: boolean }) {
  const jobs: { readonly id: number; readonly key: string; cancelled: boolean }[] = [];
  const turn = () => new Promise((resolve) => setTimeout(resolve, 1));
  const kept = (key: string) => jobs.filter((job) => job.key === key && !job.cancelled);
  const oldestOf = (key: string) => {
    const [oldest, ...others] = kept(key);
    if (options.cancelsOthers) for (const job of others) job.cancelled = true;
    return oldest;
  };
  const plugin = definePlugin<Record<string, never>, { key: string; id: number }>({
    id: 'searchable',
    apiVersion: 1,
    taskTypes: ['tiny'],
    load: () => {
      const mine = new Map<string, number>();
      return {
        async create({ idempotencyKey: key }) {
          await turn();
          const known = options.remembers === true ? mine.get(key) : oldestOf(key)?.id;
          await turn();
          if (known !== undefined) return { resourceMeta: { key, id: known }, existing: true };
          jobs.push({ id: jobs.length, key, cancelled: false });
          await turn();
          const id = options.cancelsOthers ? oldestOf(key)!.id : jobs.length - 1;
          mine.set(key, id);
          return { resourceMeta: { key, id } };
        },
        async get({ resourceMeta: { key, id } }) {
          oldestOf(key);
          return jobs[id]!.cancelled ? phases.aborted('cancelled') : phases.success({ answer: 42 });
        },
        async delete({ resourceMeta: { id } }) {
          jobs[id]!.cancelled = true;
        },
      };
    },
  });
  return { plugin, keptJobs: (key: string) => kept(key).length };
}

test('a plugin that searches and then submits passes where the oldest of several jobs stays, whoever looks', async () => {
  const { plugin, keptJobs } = searchable({ cancelsOthers: true });
  const report = await assertPlugin(plugin, { task, keptJobs });
  assert.ok(report.checks.some(({ name }) => /pass each other/.test(name)));
  await assertPlugin(searchable({ cancelsOthers: true }).plugin, { task });
});

test('a plugin that keeps two jobs of creates that pass each other fails the check that is about it', async () => {
  const { plugin, keptJobs } = searchable({ cancelsOthers: false });
  const { checks } = await testPlugin(plugin, { task, maxReads: 5, readEveryMs: 1, keptJobs });
  const failed = checks.filter(({ ok }) => !ok);
  assert.deepEqual(
    failed.map(({ name }) => name),
    ['of two create() of one key that pass each other one job is kept'],
  );
  assert.match(failed[0]?.detail ?? '', /the remote keeps 2 jobs of the key/);
});

test('of several metas of one key nobody but the remote can tell how many jobs there are, so the kit asks for it', async () => {
  const { plugin } = searchable({ cancelsOthers: false });
  const { checks } = await testPlugin(plugin, { task, maxReads: 5, readEveryMs: 1 });
  assert.match(checks.find(({ name }) => /pass each other/.test(name))?.detail ?? '', /only keptJobs/);
});

test('a plugin that finds its jobs in its own memory alone fails for an answer that was lost with its process', async () => {
  const { plugin } = searchable({ cancelsOthers: false, remembers: true });
  const { checks } = await testPlugin(plugin, { task, maxReads: 5, readEveryMs: 1 });
  const lost = checks.find(({ name }) => /answer was lost/.test(name));
  assert.match(lost?.detail ?? '', /a second job was made/);
});

test('of a plugin that cannot find by key no repeat is asked', async () => {
  const report = await assertPlugin(
    tiny({ findsByKey: false, create: async () => ({ resourceMeta: { job: `job-${made++}` } }) }),
    { task },
  );
  assert.ok(!report.checks.some(({ name }) => /same idempotency key|pass each other|was lost/.test(name)));
});

for (const [what, { parts, says }] of Object.entries(BROKEN)) {
  test(`a plugin that ${what} fails the check that is about it`, async () => {
    await assert.rejects(assertPlugin(tiny(parts), { task, maxReads: 5, readEveryMs: 1 }), { message: says });
  });
}

test('a load() that works once is a failed check, and those before it are kept', async () => {
  let loads = 0;
  const good = tiny();
  const report = await testPlugin(
    { ...good, load: (setup: never) => (++loads > 1 ? assert.fail('no second time') : good.load(setup)) },
    { task },
  );
  const failed = report.checks.filter(({ ok }) => !ok).map(({ name, detail }) => `${name}: ${detail}`);
  assert.ok(
    failed.some((line) => /^load\(\) works in a second process: .*no second time/s.test(line)),
    failed.join('\n'),
  );
  assert.ok(report.checks.some(({ ok }) => ok));
});

test('an output of the sync demo that its inputs lack is missing, whatever objects inherit', async (t) => {
  const remote = createDemoRemote();
  const url = await remote.start();
  t.after(() => remote.stop());
  const bench = await PluginBench.load(demoSync, { settings: { url } });
  t.after(() => bench.close());
  const outcome = await bench.do({ type: 'demo_sync', outputs: { constructor: 'INTEGER' }, inputs: {} });
  assert.ok(outcome.ok, JSON.stringify(outcome));
  assert.deepEqual(outcome.value.outputs.kind === 'inline' && readLiteralMap(outcome.value.outputs.literalMap), {});
});

test('what is no plugin is a report, not an exception', async () => {
  const report = await testPlugin({ id: 'x' }, { task });
  assert.equal(report.ok, false);
  assert.match(report.checks[0]!.detail, /apiVersion is missing/);
});

test('the bench gives contexts with inputs, secrets, a data store, logs and metrics', async () => {
  const plugin = tiny({
    create: async (ctx: Parameters<Parameters<typeof definePlugin>[0]['load']>[0] & Record<string, never>) => {
      const { inputReader, secretManager, outputWriter, logger, metrics, taskReader } = ctx as never as {
        inputReader: { get(): Promise<{ n: number }> };
        secretManager: { get(group: string, key: string): Promise<string> };
        outputWriter: { put(values: object): Promise<void> };
        logger: { info(message: string): void };
        metrics: { count(name: string): void };
        taskReader: { read(): { custom: { script: string }; outputNames: string[] } };
      };
      const { n } = await inputReader.get();
      const secret = await secretManager.get('vault', 'key');
      logger.info(`${taskReader.read().custom.script} with ${secret}`);
      metrics.count('creates');
      await outputWriter.put({ answer: n });
      return { resourceMeta: {}, resource: phases.success() };
    },
  });
  const bench = await PluginBench.load(plugin, { secrets: { 'vault/key': 'swordfish' } });
  const outcome = await bench.create({ ...task, custom: { script: 'run' }, inputs: { n: 5 } });
  assert.equal(outcome.ok && outcome.value.state?.outputs.kind, 'prefix');
  assert.deepEqual(readLiteralMap(bench.store.objects.get('s3://test/outputs/outputs.pb')!), { answer: 5 });
  assert.deepEqual(bench.logs, [{ level: 'info', message: 'run with [redacted]', fields: {} }]);
  assert.equal(bench.metrics.get('creates'), 1);
  await bench.close();
});

test('what a plugin throws is an outcome of the bench, by its brand and not its class', async () => {
  const bench = await PluginBench.load(
    tiny({
      get: async () => {
        throw new ThrottledError('slow', { retryAfterMs: 5 });
      },
    }),
  );
  const outcome = await bench.get(Buffer.from('{}'));
  assert.deepEqual(!outcome.ok && [outcome.failure.kind, outcome.failure.retryAfterMs], ['throttled', 5]);
});

test('a plugin file runs in a process of its own', async (t) => {
  const started = await startPluginFile({ source: STEADY }, { env: {} });
  t.after(() => started.stop());
  assert.notEqual(started.plugin.pid, process.pid);
  assert.equal(started.plugin.state, 'serving');
  await assert.rejects(startPluginFile({ source: './not-there.mjs' }), { code: 'PLUGIN_SOURCE_NOT_FOUND' });
});

test('the demo plugins keep the contract', async (t) => {
  const remote = createDemoRemote();
  const url = await remote.start();
  t.after(() => remote.stop());
  const settings = { url };
  const inputs = { answer: 1 };
  await assertPlugin(demo, { settings, task: { ...task, type: 'demo_sleep', custom: { seconds: 0.05 }, inputs } });
  await assertPlugin(demoSync, { settings, task: { ...task, type: 'demo_sync', inputs } });
  assert.equal(remote.created, 3, 'one to its end, one whose answer was lost, one of two that passed each other');
});

test('names that nothing reads and that resemble one of the contract are warned of, and helpers of the author are not', async () => {
  class Own {
    closed = false;
    getmany = { maxBatch: 1, read: async () => [] };
    getLog() {}
    stat() {}
    getMetricsOf() {}
    get resourceRequirement(): never {
      throw new Error('a getter that was run');
    }
    async create() {
      return { resourceMeta: {} };
    }
    async get() {
      return phases.running();
    }
    async delete() {}
  }
  const definition = { id: 'own', apiVersion: 1, taskTypes: ['own'], enviroment: [], confg: {}, load: () => new Own() };
  const bench = await PluginBench.load(definition as never, {});
  const warned = bench.logs.filter(({ level }) => level === 'warn').map(({ message }) => message);
  assert.deepEqual(warned.sort(), [
    'nothing reads "confg"; did you mean "config"?',
    'nothing reads "enviroment"; did you mean "environment"?',
    'nothing reads "getLog"; did you mean "getLogs"?',
    'nothing reads "getmany"; did you mean "getMany"?',
  ]);
  await bench.close();
});
