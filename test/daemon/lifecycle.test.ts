import assert from 'node:assert/strict';
import net from 'node:net';
import { describe, it, type TestContext } from 'node:test';
import { loadConfig } from '../../src/config/index.js';
import { DAEMON_STATES, type DaemonState, Lifecycle, Releasers, within } from '../../src/daemon/lifecycle.js';
import { createDaemon } from '../../src/daemon.js';
import { HostError } from '../../src/errors/index.js';
import { ManualClock } from '../../src/lib/clock.js';
import { tempFolder, writeTree } from '../support/temp.js';
import { captureLog } from '../telemetry/support.js';

/** States by the moves that lead there. */
const WAYS: Readonly<Record<DaemonState, readonly DaemonState[]>> = {
  created: [],
  starting: ['starting'],
  ready: ['starting', 'ready'],
  draining: ['starting', 'ready', 'draining'],
  stopped: ['stopped'],
  failed: ['starting', 'failed'],
};

const ALLOWED = new Set([
  'created starting',
  'created stopped',
  'starting ready',
  'starting draining',
  'starting failed',
  'ready draining',
  'draining stopped',
  'draining failed',
]);

describe('lifecycle', () => {
  it('makes the moves of its table, logging each and telling who listens, and refuses all others by name', () => {
    for (const from of DAEMON_STATES) {
      for (const to of DAEMON_STATES) {
        const { log, lines } = captureLog();
        const lifecycle = new Lifecycle(log);
        for (const state of WAYS[from]) lifecycle.to(state);
        const seen: DaemonState[] = [];
        lifecycle.onChange(() => seen.push(lifecycle.state));
        const before = lines.length;
        if (ALLOWED.has(`${from} ${to}`)) {
          lifecycle.to(to);
          assert.deepEqual([lifecycle.state, seen], [to, [to]]);
          assert.deepEqual([lines.at(-1)?.state, lines.at(-1)?.previous], [to, from]);
        } else {
          assert.throws(() => lifecycle.to(to), { code: 'DAEMON_STATE', message: new RegExp(`${from}.*${to}`) });
          assert.deepEqual([lifecycle.state, seen, lines.length], [from, [], before]);
        }
      }
    }
  });
});

describe('releasers', () => {
  const make = () => {
    const { log, lines } = captureLog({ level: 'debug' });
    return { releasers: new Releasers(new ManualClock(), log), lines };
  };

  it('undo what was started last first, one after the other, also what is pushed meanwhile, and nothing twice', async () => {
    const { releasers, lines } = make();
    const done: string[] = [];
    releasers.push('first', () => done.push(`first, ${releasers.current}`));
    releasers.push('second', async () => {
      await new Promise((resolve) => setImmediate(resolve));
      done.push(`second, ${releasers.current}`);
      releasers.push('late', () => done.push('late'));
    });
    await releasers.unwind();
    assert.deepEqual(done, ['second, second', 'late', 'first, first']);
    assert.equal(releasers.current, '');
    assert.deepEqual(
      lines.map(({ event, step }) => [event, step]),
      [
        ['daemon.stop_step', 'second'],
        ['daemon.stop_step', 'late'],
        ['daemon.stop_step', 'first'],
      ],
    );
    await releasers.unwind();
    assert.equal(done.length, 3);
  });

  it('go on after a step that fails, log it, and throw what failed at the end', async () => {
    for (const failing of [1, 2]) {
      const { releasers, lines } = make();
      const done: string[] = [];
      for (const name of ['a', 'b', 'c']) {
        releasers.push(name, () => {
          done.push(name);
          if (name <= 'abc'[failing - 1]!) throw new Error(`no ${name}`);
        });
      }
      const error = await releasers.unwind().then(
        () => assert.fail('nothing was thrown'),
        (thrown: unknown) => thrown,
      );
      assert.deepEqual(done, ['c', 'b', 'a']);
      if (failing === 1) assert.match(String(error), /no a/);
      else assert.deepEqual((error as AggregateError).errors.map(String), ['Error: no b', 'Error: no a']);
      assert.equal(lines.filter(({ event }) => event === 'daemon.stop_failed').length, failing);
    }
  });
});

it('a bounded wait ends with the work, or without it, and leaves no timer', async () => {
  await within(2 ** 30, Promise.resolve());
  await assert.rejects(within(2 ** 30, Promise.reject(new Error('its own business'))), /business/);
  await within(0, new Promise(() => {}));
});

const GOOD = `
import { definePlugin, phases } from 'webapi-plugin-host';
export default definePlugin({
  id: 'one', apiVersion: 1, taskTypes: ['one'],
  load: () => ({ create: () => ({ resourceMeta: {} }), get: () => phases.running(), delete: () => {} }),
});
`;
const HANGS = 'await new Promise(() => setInterval(() => {}, 1000));';

/** A daemon in this process with one plugin. */
function build(t: TestContext, plugin: string, grpcPort = 0) {
  const { log, lines } = captureLog();
  const cwd = tempFolder(t);
  writeTree(cwd, { 'one.mjs': plugin });
  const config = loadConfig({
    cwd,
    flags: Object.entries({
      'grpc.port': String(grpcPort),
      'admin.host': '127.0.0.1',
      'admin.port': '0',
      'shutdown.drainDelay': '0ms',
      'state.engine': 'none',
      'plugins.one.source': './one.mjs',
    }).map(([key, text]) => ({ flag: '--set', key, text })),
  });
  const daemon = createDaemon({ config, version: '1', log, baseDir: cwd, env: {}, processMetrics: false });
  t.after(() => daemon.stop());
  const states = () => lines.filter(({ event }) => event === 'daemon.state').map(({ state }) => state);
  return { daemon, lines, states };
}

describe('daemon', () => {
  it('unwinds a start that fails, is failed, and says why; a stop has nothing left to do', async (t) => {
    const taken = net.createServer().listen(0, '127.0.0.1');
    t.after(() => taken.close());
    await new Promise((resolve) => taken.once('listening', resolve));
    const { daemon, states } = build(t, GOOD, (taken.address() as net.AddressInfo).port);
    await assert.rejects(daemon.start(), { code: 'LISTEN_FAILED' });
    assert.deepEqual(states(), ['starting', 'failed']);
    assert.equal(daemon.running(), '');
    await daemon.stop();
    assert.equal(daemon.state, 'failed');
    assert.throws(() => daemon.start(), { code: 'DAEMON_STATE', message: /failed.*starting/ });
  });

  it('is stopped, not failed, when it is stopped while it starts', async (t) => {
    const { daemon, states } = build(t, HANGS);
    const started = daemon.start();
    const [error] = await Promise.all([started.catch((thrown: unknown) => thrown), daemon.stop(), daemon.stop()]);
    assert.equal(HostError.is(error) && error.code, 'DAEMON_STATE');
    assert.deepEqual(states(), ['starting', 'draining', 'stopped']);
  });

  it('is stopped when it never started, and starts only once', async (t) => {
    const never = build(t, GOOD);
    await never.daemon.stop();
    assert.equal(never.daemon.state, 'stopped');
    assert.throws(() => never.daemon.start(), { code: 'DAEMON_STATE' });
    const { daemon, states } = build(t, GOOD);
    await daemon.start();
    assert.throws(() => daemon.start(), { code: 'DAEMON_STATE', message: /ready.*starting/ });
    await daemon.stop();
    assert.deepEqual(states(), ['starting', 'ready', 'draining', 'stopped']);
  });
});
