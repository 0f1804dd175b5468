import assert from 'node:assert/strict';
import { test } from 'node:test';
import { KeptState } from '../../src/daemon/state.js';
import type { PluginHost } from '../../src/host/types.js';
import { ManualClock } from '../../src/lib/clock.js';
import { ReplayCache } from '../../src/store/replay-cache.js';
import { load } from '../config/support.js';
import { CrashEngine, Disk } from '../state/engines.js';
import { storeOf } from '../store/make-store.js';

interface Served {
  readonly id: string;
  readonly taskTypes: readonly { readonly name: string; readonly versions: readonly number[] | undefined }[];
  readonly isDefault?: boolean;
  readonly state?: string;
}

const serves = (id: string, ...names: string[]): Served => ({
  id,
  taskTypes: names.map((name) => ({ name, versions: undefined })),
});

const hostOf = (...plugins: Served[]) =>
  ({
    plugins: () => plugins.map((plugin) => ({ kind: 'async', isDefault: false, state: 'serving', ...plugin })),
  }) as unknown as PluginHost;

/** A run of the daemon over a disk, by its configuration. */
async function run(disk: Disk, plugins: object, defaultForTaskTypes: object = {}) {
  const clock = new ManualClock();
  const { config } = load({ 'a.json': JSON.stringify({ plugins, defaultForTaskTypes }) });
  const engine = new CrashEngine(disk);
  const state = new KeptState({ config, env: {}, clock, random: () => 0.5, events: {}, engine });
  const opened = state.open(storeOf().store, new ReplayCache({ clock, ttlMs: 1, max: 1, maxBytes: 1 }));
  await clock.advance(1_000);
  await opened;
  const stop = async () => {
    const closed = state.close();
    await clock.advance(1_000);
    await closed;
  };
  const route = (type: string): string => {
    try {
      return state.lastRoute(type, 0);
    } catch (error) {
      return (error as { code: string }).code;
    }
  };
  return { state, engine, clock, stop, route };
}

const P = { source: './p.mjs' };

test('before plugins are loaded tasks go to who served their type when it was last seen, also after a reload', async () => {
  const disk = new Disk();
  const first = await run(disk, { a: P, b: P });
  first.state.keepRoutes(hostOf(serves('a', 't'), { ...serves('b', 'u'), state: 'failed' }));
  first.state.keepRoutes(hostOf(serves('a', 't', 'new'), serves('b', 'u')));
  await first.stop();
  const second = await run(disk, { a: P, b: P });
  assert.deepEqual(['t', 'new', 'u', 'unknown'].map(second.route), ['a', 'a', 'b', 'PLUGIN_NOT_SERVING']);
  await second.stop();
});

test('a plugin that was removed or disabled is given nothing, and the operator’s choice of this run decides', async () => {
  const disk = new Disk();
  const first = await run(disk, { a: P, b: P, c: P }, { t: 'a' });
  first.state.keepRoutes(hostOf(serves('a', 't', 'x'), serves('b', 't'), serves('c', 'y')));
  await first.stop();
  const second = await run(disk, { a: P, b: P, c: { ...P, enabled: false } }, { t: 'b' });
  assert.deepEqual(['t', 'x', 'y'].map(second.route), ['b', 'a', 'PLUGIN_NOT_SERVING']);
  assert.deepEqual(
    second.state.lastServed().map(({ id }) => id),
    ['a', 'b'],
  );
  await second.stop();
  const third = await run(disk, { b: P });
  assert.deepEqual(['t', 'x'].map(third.route), ['b', 'PLUGIN_NOT_SERVING']);
  await third.stop();
});

test('a plugin that fails keeps what it served over any number of starts, and nobody else is given it meanwhile', async () => {
  const disk = new Disk();
  const config = { a: P, b: P, c: P, rest: P };
  const rest = { ...serves('rest'), isDefault: true };
  const first = await run(disk, config);
  first.state.keepRoutes(hostOf(serves('a', 't'), serves('b', 'u'), serves('c', 'x'), rest));
  await first.stop();
  for (let again = 0; again < 3; again++) {
    const next = await run(disk, config);
    const claimed = next.state.lastClaims().map(({ id, taskTypes }) => `${id}: ${taskTypes.map(({ name }) => name)}`);
    assert.deepEqual(claimed, ['a: t', 'b: u', 'c: x', 'rest: ']);
    // It failed in the run before, so nothing is accepted for it; the default plugin is not given it either.
    const refused = again === 0 ? 'a' : 'PLUGIN_NOT_SERVING';
    assert.deepEqual(['t', 'u', 'x', 'anything'].map(next.route), [refused, again === 0 ? 'b' : refused, 'c', 'rest']);
    // One told nothing, one failed after that, and for one the machine was short of something.
    const [a, b] = [serves('a'), serves('b', 'u')].map((one) => ({ ...one, state: 'failed' }));
    next.state.keepRoutes(hostOf(a!, b!, { ...serves('c'), state: 'restarting' }, rest));
    await next.stop();
  }
  const skips = await run(disk, config);
  skips.state.keepRoutes(hostOf({ ...serves('a'), state: 'skipped' }, rest));
  await skips.stop();
  const last = await run(disk, config);
  assert.deepEqual(['t', 'u'].map(last.route), ['rest', 'rest'], 'what skipped itself claims nothing');
  await last.stop();
});

test('a plugin for unknown task types has them before it is loaded, too', async () => {
  const disk = new Disk();
  const first = await run(disk, { a: P, rest: P });
  first.state.keepRoutes(hostOf(serves('a', 't'), { ...serves('rest'), isDefault: true }));
  await first.stop();
  const second = await run(disk, { a: P, rest: P });
  assert.deepEqual(['t', 'anything'].map(second.route), ['a', 'rest']);
  await second.stop();
});

test('what is served is written when it changed, and not each time that it may have', async () => {
  const disk = new Disk();
  const { state, engine, clock, stop } = await run(disk, { a: P });
  state.keepRoutes(hostOf(serves('a', 't')));
  await clock.advance(1_000);
  const before = engine.asked;
  for (let i = 0; i < 5; i++) state.keepRoutes(hostOf(serves('a', 't')));
  await clock.advance(1_000);
  assert.equal(engine.asked, before);
  state.keepRoutes(hostOf(serves('a', 't', 'u')));
  await clock.advance(1_000);
  assert.ok(engine.asked > before);
  await stop();
});
