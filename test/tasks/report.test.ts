import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { HostedPlugin, LoadReport, PluginHost } from '../../src/host/types.js';
import type { QuotaNamespaceSnapshot } from '../../src/limits/types.js';
import type { PluginState } from '../../src/model/events/host.js';
import { DEFAULT_PLUGIN_CONFIG } from '../../src/model/options/plugin.js';
import type { PluginReport } from '../../src/model/plugin-report.js';
import type { PluginRuntime, Runtimes } from '../../src/runtime/runtime.js';
import { LoadReports, type ServedBefore } from '../../src/tasks/report.js';
import { insertTask, liveTask, storeOf } from '../store/make-store.js';
import { identityOf } from '../support/identity.js';
import { FakePlugin } from './harness.js';

const NOBODY: Runtimes = { get: () => undefined, comes: () => false, all: () => [] };

/** A plugin's runtime as far as a report asks for it. */
function runtimeOf(parts: {
  readonly paused?: boolean;
  readonly readsDownMs?: number;
  readonly createsDownMs?: number;
  readonly quotas?: readonly QuotaNamespaceSnapshot[];
}): PluginRuntime {
  return {
    gate: { paused: parts.paused ?? false },
    refresher: { stats: () => ({ remoteDownSinceMs: parts.readsDownMs }) },
    creates: { downSinceMs: parts.createsDownMs },
    quotas: { snapshot: () => parts.quotas ?? [] },
  } as unknown as PluginRuntime;
}

function reportsOf(
  plugins: readonly Partial<HostedPlugin>[],
  {
    runtimes = NOBODY,
    store = storeOf().store,
  }: { runtimes?: Runtimes; store?: ReturnType<typeof storeOf>['store'] } = {},
) {
  const hosted = plugins.map((parts) => Object.assign(new FakePlugin(), parts));
  const host = { plugins: () => hosted } as unknown as PluginHost;
  return new LoadReports({ host, runtimes, store });
}

function only(reports: LoadReports): PluginReport {
  const list = reports.list();
  assert.equal(list.length, 1);
  return list[0]!;
}

const served = (parts: Parameters<typeof runtimeOf>[0]): Runtimes => ({ ...NOBODY, get: () => runtimeOf(parts) });

const EMPTY = {
  version: '',
  kind: undefined,
  taskTypes: [],
  isDefault: false,
  config: undefined,
  quotas: [],
  liveTasks: 0,
  waitingTasks: 0,
  pid: 0,
  restarts: 0,
  rssBytes: 0,
  environment: [],
};

test('a plugin is told with all that is known of it: what it serves, its limits, its tasks, its process', () => {
  const { store } = storeOf();
  for (const key of ['a', 'b', 'c']) liveTask(store, key, 'fake');
  insertTask(store, 'd', { identity: identityOf('d', { plugin: 'fake' }) });
  insertTask(store, 'e', { identity: identityOf('e', { plugin: 'fake' }), stage: 'creating' });
  liveTask(store, 'f', 'other');
  const quotas = [
    { quotaNamespace: 'gpu', total: 4, used: 3, waiting: 2, byProject: [], byNamespace: [] },
    { quotaNamespace: 'default', total: undefined, used: 1, waiting: 0, byProject: [], byNamespace: [] },
  ];
  const plugin = {
    taskTypes: [
      { name: 't', versions: undefined },
      { name: 'u', versions: [1, 2] },
    ],
    isDefault: true,
    pid: 77,
    restarts: 3,
    rssBytes: 9,
    environment: ['HOME'],
  };
  assert.deepEqual(only(reportsOf([plugin], { runtimes: served({ quotas }), store })), {
    id: 'fake',
    version: '1',
    kind: 'async',
    taskTypes: [
      { name: 't', versions: [] },
      { name: 'u', versions: [1, 2] },
    ],
    isDefault: true,
    state: 'SERVING',
    stateReason: '',
    stateCode: '',
    source: 'fake',
    config: DEFAULT_PLUGIN_CONFIG,
    quotas: [
      { namespace: 'gpu', total: 4, used: 3, waiting: 2 },
      { namespace: 'default', total: 0, used: 1, waiting: 0 },
    ],
    liveTasks: 3,
    waitingTasks: 2,
    pid: 77,
    restarts: 3,
    rssBytes: 9,
    environment: ['HOME'],
  });
});

test('each state of the host has its word, and one that was never loaded has neither kind nor limits', () => {
  const states: Record<PluginState, readonly [told: string, known: boolean]> = {
    starting: ['STARTING', true],
    serving: ['SERVING', true],
    restarting: ['RESTARTING', true],
    quarantined: ['QUARANTINED', true],
    failed: ['FAILED', false],
    skipped: ['SKIPPED', false],
    stopped: ['STOPPED', true],
  };
  for (const [state, [word, known]] of Object.entries(states)) {
    const parts = { state: state as PluginState, stateReason: 'why', pid: undefined };
    for (const runtimes of [NOBODY, served({})]) {
      const told = only(reportsOf([parts], { runtimes }));
      assert.deepEqual([told.state, told.stateReason, told.pid], [word, 'why', 0]);
      assert.deepEqual([told.kind, told.config !== undefined], [known ? 'async' : undefined, known], state);
    }
    const { kind, config } = only(reportsOf([{ ...parts, kind: undefined }]));
    assert.deepEqual([kind, config], [undefined, undefined]);
  }
});

test('a plugin that serves is told as paused, or its remote as down with what fails and since when', () => {
  const told = (parts: Parameters<typeof runtimeOf>[0], plugin: Partial<HostedPlugin> = {}) => {
    const { state, stateReason } = only(reportsOf([plugin], { runtimes: served(parts) }));
    return [state, stateReason];
  };
  const [reads, creates] = ['1970-01-01T00:00:01.000Z', '1970-01-01T00:00:02.000Z'];
  const down = 'the remote is taken to be down: ';
  assert.deepEqual(told({}), ['SERVING', '']);
  assert.deepEqual(told({ paused: true, readsDownMs: 1_000 }), ['PAUSED', 'paused by an operator']);
  assert.deepEqual(told({ readsDownMs: 1_000 }), ['REMOTE_DOWN', `${down}reads fail since ${reads}`]);
  assert.deepEqual(told({ createsDownMs: 2_000 }), ['REMOTE_DOWN', `${down}creates fail since ${creates}`]);
  const both = `${down}reads fail since ${reads}, creates fail since ${creates}`;
  assert.deepEqual(told({ readsDownMs: 1_000, createsDownMs: 2_000 }), ['REMOTE_DOWN', both]);
  const crashed = { state: 'restarting', stateReason: 'it crashed' } as const;
  assert.deepEqual(told({ paused: true, readsDownMs: 1_000 }, crashed), ['RESTARTING', 'it crashed']);
});

test('what was configured and never got an id is told by its label, with what became of it', () => {
  const reports = reportsOf([{}]);
  const error = { code: 'PLUGIN_IMPORT_FAILED', message: 'no such module' };
  const result = { source: './x.js', config: undefined, required: false };
  reports.loaded = {
    fatal: [],
    results: [
      { ...result, label: 'fake', pluginId: 'fake', outcome: 'loaded', error: undefined },
      { ...result, label: 'plugins[1]', pluginId: undefined, outcome: 'failed', error },
      { ...result, label: 'plugins[2]', pluginId: undefined, outcome: 'skipped', error: undefined },
      { ...result, label: 'plugins[3]', pluginId: 'gone', outcome: 'starved', error },
      { ...result, label: 'plugins[4]', pluginId: undefined, outcome: 'loaded', error: undefined },
    ],
  } as unknown as LoadReport;
  const nameless = { ...EMPTY, source: './x.js' };
  const why = { stateReason: 'no such module', stateCode: 'PLUGIN_IMPORT_FAILED' };
  assert.deepEqual(reports.list().slice(1), [
    { ...nameless, id: 'plugins[1]', state: 'FAILED', ...why },
    { ...nameless, id: 'plugins[2]', state: 'SKIPPED', stateReason: '', stateCode: '' },
    { ...nameless, id: 'plugins[3]', state: 'RESTARTING', ...why },
    { ...nameless, id: 'plugins[4]', state: 'FAILED', stateReason: '', stateCode: '' },
  ]);
});

test('until the plugins are loaded those of the last run are told as it served them, but for one that has come or is gone', () => {
  const { store } = storeOf();
  liveTask(store, 'a', 'before');
  insertTask(store, 'b', { identity: identityOf('b', { plugin: 'before' }) });
  insertTask(store, 'c', { identity: identityOf('c', { plugin: 'before' }), stage: 'creating' });
  const before = (id: string): ServedBefore => ({
    id,
    kind: 'async',
    isDefault: id === 'before',
    taskTypes: [
      { name: `${id}-t`, versions: undefined },
      { name: `${id}-u`, versions: [3] },
    ],
  });
  const plugins = [
    { id: 'come', source: './come.js' },
    { id: 'before', kind: undefined, state: 'starting', source: './before.js' },
    { id: 'new', kind: undefined, state: 'starting' },
  ] as unknown as Partial<HostedPlugin>[];
  const runtimes = { ...NOBODY, comes: (id: string) => id !== 'gone' };
  const reports = reportsOf(plugins, { runtimes, store });
  reports.lastRun = { route: () => '', served: () => ['come', 'before', 'unseen', 'gone'].map(before) };
  reports.loaded = { fatal: [], results: [{ pluginId: undefined, label: 'x', outcome: 'failed' }] } as never;
  const list = reports.list();
  assert.deepEqual(
    list.map(({ id, state }) => [id, state]),
    [
      ['come', 'SERVING'],
      ['new', 'STARTING'],
      ['before', 'STARTING'],
      ['unseen', 'STARTING'],
    ],
  );
  const stateReason = 'the daemon starts; its task types are those of the last run';
  const told = { ...EMPTY, kind: 'async', state: 'STARTING', stateReason, stateCode: '' };
  assert.deepEqual(list[2], {
    ...told,
    id: 'before',
    isDefault: true,
    taskTypes: [
      { name: 'before-t', versions: [] },
      { name: 'before-u', versions: [3] },
    ],
    source: './before.js',
    liveTasks: 1,
    waitingTasks: 2,
  });
  assert.equal(list[3]?.source, '', 'what nobody has found yet has no source');
  reports.lastRun = undefined;
  assert.deepEqual(
    reports.list().map(({ id }) => id),
    ['come', 'before', 'new', 'x'],
  );
});

test('of more than a thousand quota namespaces all with a total are told, and of the rest those most used or waited for', () => {
  const row = (i: number, total: number | undefined, used: number, waiting = 0) => ({
    quotaNamespace: `q${i}`,
    total,
    used,
    waiting,
    byProject: [],
    byNamespace: [],
  });
  const told = (quotas: readonly QuotaNamespaceSnapshot[]) =>
    only(reportsOf([{}], { runtimes: served({ quotas }) })).quotas.map(({ namespace }) => namespace);
  const all = Array.from({ length: 1_000 }, (_, i) => row(i, undefined, i));
  assert.deepEqual(
    told(all),
    all.map(({ quotaNamespace }) => quotaNamespace),
    'as many as fit stay in their order',
  );
  const busy = row(2_000, undefined, 1, 1_000_000);
  const limited = row(2_001, 5, 0);
  const more = told([...all, busy, limited]);
  assert.deepEqual([more.length, more.slice(0, 3)], [1_000, ['q2001', 'q2000', 'q999']]);
  assert.deepEqual(more.slice(-1), ['q2']);
  const bounded = Array.from({ length: 1_005 }, (_, i) => row(i, 1, 0));
  assert.equal(told([busy, ...bounded]).length, 1_005, 'none with a total is left out');
});
