import assert from 'node:assert/strict';
import { type TestContext, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { createClient } from '../../src/client/index.js';
import { loadPluginHost } from '../../src/idl/load.js';
import { configOf, FIXTURE_PLUGINS, startServe, until } from '../daemon/support.js';
import { compiled } from '../support/paths.js';
import { start } from '../support/spawn.js';
import { Honest, MIB, memoryOf } from './support.js';

/**
 * What honest callers see while a peer misuses the gRPC port: one that is connected, and ones that come new. The figures are
 * printed; asserted is that every honest call is answered, that no turn of the daemon's event loop has more than some tens of
 * milliseconds of work, and that its memory stays bounded.
 * ATTACKS=resets,half looks at these alone.
 */

const BASE_MS = 2_000;
const AFTER_MS = 3_000;
/** About twice what was seen: the collector of a busy machine is late. */
const MOST_GROWTH_MIB = {
  resets: 1_024,
  headersOnly: 512,
  bursts: 512,
  leaving: 512,
  half: 512,
  untaken: 512,
  idle: 512,
};
const NAMES = Object.keys(MOST_GROWTH_MIB) as (keyof typeof MOST_GROWTH_MIB)[];
/** Several times what a turn takes on a quiet machine; without bounds it is up to a second. */
const MOST_TURN_MS = 300;
/** Of an honest call; one that comes later counts as not answered. */
const HONEST_MS = 20_000;

async function play(t: TestContext, attack: keyof typeof MOST_GROWTH_MIB): Promise<void> {
  const turns = pathToFileURL(compiled('test/attacks/turns.ts')).href;
  const config = configOf({ steady: { source: `${FIXTURE_PLUGINS}/steady.mjs` } });
  const daemon = await startServe(t, config, undefined, { NODE_OPTIONS: `--import=${turns}` });
  /** Of the longest turn since the last time. */
  const turnMs = async () => {
    const told = daemon.running.output().length;
    daemon.running.child.kill('SIGUSR2');
    const line = () =>
      daemon.running
        .output()
        .slice(told)
        .match(/"longestTurnMs":(\d+)/);
    return Number((await until('the longest turn', () => line() ?? undefined))[1]);
  };
  const { handle } = await daemon.client.create({ generatedName: 'honest', template: { type: 'steady_task' } });
  const idl = loadPluginHost();
  const newcomer = async () => {
    const client = createClient({ address: daemon.grpc, deadlineMs: HONEST_MS, idl });
    try {
      await client.status(handle);
    } finally {
      client.close();
    }
  };
  const known = new Honest(() => daemon.client.status(handle, { deadlineMs: HONEST_MS }));
  const newcomers = new Honest(newcomer, 100);
  await sleep(BASE_MS);
  const base = { known: known.take(), newcomers: newcomers.take() };
  await turnMs();
  const before = memoryOf(daemon.pid, 'VmRSS');

  const peer = start(t, process.execPath, [compiled('test/attacks/peer.ts'), attack, daemon.grpc]);
  const [done] = await peer.waitFor(/\{"done".*\}/);
  await sleep(AFTER_MS);
  const during = { known: known.take(), newcomers: newcomers.take(), turnMs: await turnMs() };
  await Promise.all([known.stop(), newcomers.stop()]);
  const growth = memoryOf(daemon.pid, 'VmHWM') - before;
  peer.child.stdin.end();
  await peer.finished;
  console.log(JSON.stringify({ attack, base, during, growthMiB: Math.round(growth / MIB), peer: JSON.parse(done) }));

  assert.equal(daemon.running.child.exitCode, null, 'the daemon lives');
  assert.deepEqual([...known.errors, ...newcomers.errors], []);
  assert.ok(growth < MOST_GROWTH_MIB[attack] * MIB, `the daemon took ${growth} bytes more`);
  assert.ok(during.turnMs < MOST_TURN_MS, `a turn had ${during.turnMs} ms of work`);
  await daemon.client.create({ generatedName: 'afterwards', template: { type: 'steady_task' } });
}

const wanted = process.env.ATTACKS?.split(',');
for (const attack of NAMES) {
  if (wanted !== undefined && !wanted.includes(attack)) continue;
  test(`honest callers are answered while a peer plays "${attack}"`, { timeout: 180_000 }, (t) => play(t, attack));
}
